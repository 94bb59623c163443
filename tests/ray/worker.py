"""Ray's worker processes without their start-up: forked, as commands are, from a process that has its imports.

A node of the tests starts this file in place of Ray's own set-up of a worker. Where the run's folder has a folder
`strikes`, a worker notes there each record that it begins, and kills itself where a file says how often it still must.
"""

import os
import runpy
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests import fork_client

SERVER = "SEAL_TEST_WORKERS"  # the variable with the fork server's socket
PROGRAM = "ray-worker"  # as the fork server knows it
STRIKES, BEGUN = Path("strikes"), Path("strikes/begun")


def main() -> None:
    """Be a worker: sys.argv[2] is Ray's program, and the rest are its arguments."""
    from stages.cluster import workers

    class Mortal(workers._Forwarder):
        """Tells the driver all that it told, and of what is in work the folder too."""

        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            usual = self.begin_work
            self.begin_work = lambda names: begin(list(names), usual)  # type: ignore[method-assign]

    workers._Forwarder = Mortal  # type: ignore[misc]
    _, _, program, *arguments = sys.argv
    sys.argv = [program, *(each for each in arguments if not each.startswith(("--serialized-runtime", "--language")))]
    runpy.run_path(program, run_name="__main__")


def begin(names: Sequence[str], tell: Callable[[Sequence[str]], None]) -> None:
    """Note that these records are in work, and be struck by one of them."""
    tell(names)
    if not STRIKES.exists():
        return
    with BEGUN.open("a") as begun:
        begun.writelines(f"{os.getpid()} {name}\n" for name in names)
    for name in names:
        strike = STRIKES / name.replace("/", "_")
        if strike.exists() and (left := int(strike.read_text())):
            strike.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.argv[1:1] = [os.environ[SERVER], PROGRAM]
    fork_client.main()
