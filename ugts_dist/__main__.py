"""`torchrun ... -m ugts_dist train ...` is `ugts train ...` on many ranks."""

from ugts_dist.cli import main

if __name__ == "__main__":
    main()
