"""How a command ends: its exit code, and one line with the reason."""

from __future__ import annotations

import errno
import logging
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from ugts_dist.errors import (
    TRY_AGAIN,
    InputError,
    InterruptedRunError,
    LostRankError,
    RankInputError,
    StoppedError,
)

_log = logging.getLogger(__name__)

_MAIN_RANK_FIRST = 1.0  # seconds: torchrun ends all ranks with the first one, possibly before that has printed why
_INTERRUPTED = 130  # 128 plus the number of SIGINT
_UNREAD = 141  # a shell's exit code for SIGPIPE: 128 plus the number of the signal
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAMES = (errno.ENAMETOOLONG, errno.ELOOP)  # only names that a user gave are so


@contextmanager
def report_errors() -> Iterator[None]:
    """Report whatever ends a command within the block in one escaped line, and set its exit code.

    2: a mistake in the input. 75: stopped by a signal, to be started again. 130: interrupted. 141: nobody reads the
    output any more. 1: a failure; without a known message, its traceback is printed.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where errors can be reported
    except InputError as error:
        _end(str(error), 2, every_rank=isinstance(error, RankInputError))
    except FloatingPointError as error:
        _end(str(error), 1)
    except LostRankError as error:
        _end(str(error), 1, every_rank=True)
    except InterruptedRunError as stop:
        _end(str(stop), _INTERRUPTED)
    except StoppedError as stop:
        _end(str(stop), TRY_AGAIN)
    except BrokenPipeError:
        if _is_read():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        sys.exit(_UNREAD)
    except OSError as error:
        if error.errno not in (*_FULL, *_NAMES):
            raise
        _end(f"{error.filename or 'output'}: {error.strerror}", 2 if error.errno in _NAMES else 1)
    except KeyboardInterrupt:
        _end("interrupted", _INTERRUPTED)


def _is_read() -> bool:
    """Whether somebody still reads the output; `ugts ... | head` stops after some lines."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are always reported
    return not poll.poll(0)


def _end(message: str, code: int, every_rank: bool = False) -> NoReturn:
    """End with one line, printed by the main rank or, with `every_rank`, by each rank."""
    if every_rank or os.environ.get("RANK", "0") == "0":
        _log.error(message)
    else:
        time.sleep(_MAIN_RANK_FIRST)
    sys.exit(code)
