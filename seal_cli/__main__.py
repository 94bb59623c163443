"""The console script, and `python -m seal_cli`. Ctrl-C counts from the first import on."""

import os
import signal
import sys


def main() -> None:
    try:
        from seal_cli.app import main as run
    except KeyboardInterrupt:
        sys.stderr.write("seal: interrupted\n")
        os._exit(128 + signal.SIGINT)
    run()


if __name__ == "__main__":
    main()
