"""A prompt on a terminal: questions by hand, with line editing, and a history that ends with the process."""

import signal
import sys
from collections.abc import Callable
from types import FrameType

_PROMPT = "? "
HELP = """A question, and Enter: the answers. Ctrl-C cancels an answer, Ctrl-D leaves.
/title TEXT   what the questions are about, as the title of a task (without TEXT: nothing)
/help         this
"""


def converse(answer: Callable[[str], object], retitle: Callable[[str], object]) -> None:
    """Answer question after question until Ctrl-D. An answer that is interrupted ends alone."""
    import readline  # noqa: F401 — gives input() line editing and a history in memory

    interrupt = _Interrupt()
    before = signal.signal(signal.SIGINT, interrupt)
    try:
        while _take_turn(answer, retitle, interrupt):
            pass
    finally:
        signal.signal(signal.SIGINT, before)


class _Interrupt:
    """Handles Ctrl-C: it breaks off what is `armed`, once; one that comes while that is told of does nothing."""

    armed = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt


def _take_turn(answer: Callable[[str], object], retitle: Callable[[str], object], interrupt: _Interrupt) -> bool:
    """Read a line and do what it says. Returns False at the end."""
    line = ""
    try:
        interrupt.armed = True
        line = input(_PROMPT).strip()
        _take(line, answer, retitle)
        interrupt.armed = False
    except EOFError:
        interrupt.armed = False
        _say("\n")
        return False
    except KeyboardInterrupt:
        _say("(cancelled)\n" if line else "\n")
    return True


def _take(line: str, answer: Callable[[str], object], retitle: Callable[[str], object]) -> None:
    command, _, rest = line.partition(" ")
    if command == "/help":
        _say(HELP)
    elif command == "/title":
        retitle(rest.strip())
    elif command.startswith("/"):
        _say(f"{command} is no command here; see /help\n")
    elif line:
        answer(line)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
