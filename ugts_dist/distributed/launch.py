"""torchrun with an exit code that tells a batch system whether to start the job again.

    ugts-launch --standalone --nproc_per_node=8 -m ugts_dist train --preset products-sage --run.folder runs/mine

takes torchrun's own options. Torchrun always fails with exit code 1. This command exits with 75 (EX_TEMPFAIL, "try
again") if the run was stopped by SIGTERM or SIGUSR1 and has saved a checkpoint; the same command then resumes it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser
from torch.distributed.run import main as torchrun

from ugts_dist.errors import TRY_AGAIN

_SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"  # torchrun forwards all but the last of these by default


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point. Exits with 75 if the run is to be started again, otherwise with torchrun's own exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if "--signals-to-handle" in get_args_parser().format_help():
        args.insert(0, f"--signals-to-handle={_SIGNALS}")
    os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", _SIGNALS)  # torch versions without the option read this
    try:
        torchrun(args)
    except SignalException as stop:
        sys.exit(TRY_AGAIN if stop.sigval in (signal.SIGTERM, signal.SIGUSR1) else 128 + stop.sigval)
    except ChildFailedError as error:
        codes = {failure.exitcode for failure in error.failures.values()}
        sys.exit(TRY_AGAIN if codes == {TRY_AGAIN} else 1)


if __name__ == "__main__":
    main()
