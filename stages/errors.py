"""The two kinds of failure, never mixed.

*The model's* failures are data: `BadEdit` is caught by the stage, written on the line, and counts as value 0.
*Ours* are errors. `Untrainable` concerns one line alone, which says so and stays unscored; every `SealError` ends the
run with its message and the shell's exit code for its class.
"""

from collections.abc import Mapping

LONGEST_REASON = 300  # characters


class BadEdit(ValueError):
    """A self-edit that cannot be turned into training data. The model's failure: recorded, value 0, the run goes on."""


class Untrainable(ValueError):
    """A job that cannot be trained as it is. Our failure: its line says so and stays unscored; the others go on."""


class SealError(Exception):
    """Our failure. The message names the value that was found and the next move."""


class BadInput(SealError):
    """A line or file that exists but is not what the stage reads."""


class BadLine(BadInput):
    """What is wrong with one line or entry, without its place. Its reader makes a Reject of it."""


class MissingInput(SealError):
    """A file or directory that does not exist."""


class BadConfig(SealError):
    """Options that contradict each other, or that name something unknown."""


class Unavailable(SealError):
    """A service or device that this run needs and cannot reach."""


class Denied(SealError):
    """A service that answers but refuses us: no key, a bad one, or no credit left."""


class OutOfMemory(SealError):
    """The smallest piece of work does not fit into the device's memory."""


class ExistingOutput(SealError):
    """The output exists already; results are never overwritten without being asked to."""


class NoSpace(SealError):
    """The disk cannot hold what is about to be written."""


class Locked(SealError):
    """Another process works on the same output."""


class Crashed(SealError):
    """The worker process was killed, and no record can be blamed for it."""


def refuse_given(flags: Mapping[str, object], why: str) -> None:
    """Raise BadConfig for the first of these flags that was given: it would have no effect."""
    for flag, value in flags.items():
        if value not in (None, ()):
            told = repr(value[0]) if isinstance(value, tuple) else value
            raise BadConfig(f"{flag if value is True else f'{flag} {told}'}: {why}")


def one_line(text: str) -> str:
    """Make text from a bad file fit to be shown: one line, printable, not too long."""
    cut = text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in cut)
