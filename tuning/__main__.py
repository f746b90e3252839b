"""`python -m tuning ...` is `ugts tune ...`."""

import runpy
import sys

if __name__ == "__main__":
    sys.argv[1:1] = ["tune"]
    runpy.run_module("ugts_dist", run_name="__main__")  # this package must not import the command line
