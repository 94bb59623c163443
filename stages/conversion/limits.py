"""The bounds within which a document is converted."""

import resource
from contextlib import suppress

MOST_SECONDS = 120  # for one document
MOST_MEMORY = 768 * 2**20  # bytes of address space, of each process
MOST_TEXT = 32 * 2**20  # bytes of UTF-8 that come of it
MOST_MEMBERS = 10_000  # files in an archive
MOST_UNPACKED = 64 * 2**20  # bytes of the texts in an archive


def limit_process() -> None:
    """Bound the memory of this process and of those that it starts, as far as the system can; no core is dumped."""
    for kind, most in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0)):
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))
