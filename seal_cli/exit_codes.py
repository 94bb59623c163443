"""Exit codes, and how an error leaves the process: one plain line on stderr, never a traceback for a user's mistake."""

import errno
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from seal_cli.terminal.console import say
from stages import errors
from stages.models.device import is_out_of_memory


class UsageError(Exception):
    """A command line that cannot be run as it is; the text is shown with exit code 2."""


class ClosedPipe(Exception):
    """Whoever read our stdout is gone: `| head` has seen enough."""


DONE = 0
USAGE = 2
INCOMPLETE = 3  # finished, but some records failed or stayed unscored
BUG = 70
IO_ERROR = 74
TRY_AGAIN = 75
INTERRUPTED = 128 + signal.SIGINT
CLOSED_PIPE = 128 + signal.SIGPIPE
TERMINATED = 128 + signal.SIGTERM
_AGAIN_S = 0.3  # after which a signal that something has swallowed ends the command all the same
CODES: dict[type[errors.SealError], int] = {
    errors.BadInput: 65,
    errors.MissingInput: 66,
    errors.Unavailable: 69,
    errors.ExistingOutput: 73,
    errors.OutOfMemory: TRY_AGAIN,
    errors.Locked: TRY_AGAIN,
    errors.NoSpace: IO_ERROR,
    errors.Crashed: BUG,
    errors.Denied: 77,
    errors.BadConfig: 78,
}
OURS = {DONE, USAGE, INCOMPLETE, INTERRUPTED, CLOSED_PIPE, TERMINATED, *CODES.values()}


def code_of(error: BaseException) -> int:
    """Return the exit code of an error that ended a command."""
    if isinstance(error, errors.SealError):
        return next(code for kind, code in CODES.items() if isinstance(error, kind))
    if isinstance(error, ClosedPipe | UsageError):
        return CLOSED_PIPE if isinstance(error, ClosedPipe) else USAGE
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, MemoryError) or is_out_of_memory(error):
        return TRY_AGAIN
    return IO_ERROR if isinstance(error, OSError) else BUG


def is_signal(error: BaseException | None) -> bool:
    """True for the ways in which Ctrl-C, SIGTERM and the terminal's end reach us."""
    code = getattr(error, "code", None)
    return isinstance(error, KeyboardInterrupt) or code in (INTERRUPTED, TERMINATED, 128 + signal.SIGHUP)


def report_error(error: BaseException) -> int:
    """Say on stderr what went wrong and return the exit code. A closed pipe is silent."""
    code = code_of(error)
    if code == BUG and not isinstance(error, errors.SealError):
        say("".join(traceback.format_exception(error)).rstrip())
        say("seal: this is a bug in seal; please report the lines above")
    elif code == INTERRUPTED:
        say("seal: interrupted")
    elif code == TRY_AGAIN and not isinstance(error, errors.SealError):
        say(
            "seal: out of memory: lower --slots or --tokens-per-step (adapt), --micro-batch (sft), "
            "--batch (generate, eval)"
        )
    elif code == IO_ERROR and not isinstance(error, errors.SealError):
        say(f"seal: {_io_message(error)}")
    elif code != CLOSED_PIPE:
        say(f"seal: {error}")
    return code


def _io_message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no space left on the device ({error.filename or 'standard output'}); free some and run the same again"
    return str(error)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM, and the terminal's end, unwind like an error, so that files are closed and temporary names go.

    Python drops an error that is raised in a destructor or in a callback: this one is raised again until it ends the
    command.
    """

    def leave(signum: int, frame: FrameType | None) -> NoReturn:
        end = SystemExit(128 + signum)

        def insist(signum: int, frame: FrameType | None) -> None:
            if not _is_handled(end):
                raise end

        signal.signal(signal.SIGALRM, insist)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S, _AGAIN_S)
        raise end

    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # nohup
            signal.signal(signum, leave)
    show, sys.unraisablehook = sys.unraisablehook, lambda lost: None if is_signal(lost.exc_value) else show(lost)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = show


def _is_handled(error: BaseException) -> bool:
    """True if what runs now cleans up behind the error: it is being handled, or one that it led to."""
    current = sys.exception()
    while current and current is not error:
        current = current.__context__
    return current is error
