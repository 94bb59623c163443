"""The bounds within which a document is converted."""

import os
import resource
import signal
import threading
import time
from contextlib import suppress
from typing import NoReturn

MOST_SECONDS = 120  # for one document
_GRACE = 5  # seconds: who asked for the conversion ends it before the system does
_LOOK_S = 0.5
MOST_MEMORY = 768 * 2**20  # bytes of address space, of each process
MOST_TEXT = 32 * 2**20  # bytes of UTF-8 that come of it
MOST_MEMBERS = 10_000  # files in an archive
MOST_UNPACKED = 64 * 2**20  # bytes of the texts in an archive


def limit_process() -> None:
    """Bound the memory of this process and of those that it starts, as far as the system can; no core is dumped."""
    for kind, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def limit_time(spent: float = 0) -> None:
    """Bound the processor time that this process may take from now on; `spent`: seconds that it has taken already.

    It holds where nobody is left to end a conversion that does not come to its end.
    """
    most, (_, hard) = int(spent) + MOST_SECONDS + _GRACE, resource.getrlimit(resource.RLIMIT_CPU)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def end_with_parent() -> None:
    """End this process group as soon as the process that started it is gone, however that ended."""
    parent = os.getppid()

    def watch() -> NoReturn:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os.killpg(0, signal.SIGKILL)
        raise SystemExit

    threading.Thread(target=watch, daemon=True).start()
