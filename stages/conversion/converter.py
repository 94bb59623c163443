"""Documents converted one after the other by a process of their own, which a bad one may take down with it."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from stages.conversion.formats import BadDocument, ConvertedText, Outline
from stages.conversion.limits import MOST_SECONDS, MOST_TEXT

_PACKAGE = Path(__file__).parents[2]  # where `stages` is found, whatever the working folder holds
_MOST_ANSWER = 7 * MOST_TEXT  # bytes: JSON escapes
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")  # of the environment; no keys


class Converter:
    """Converts documents. Its process is started for the first one, and again after one that has ended it."""

    def __init__(self, seconds: float = MOST_SECONDS) -> None:
        self.seconds = seconds
        self.process: subprocess.Popen[bytes] | None = None

    def convert(self, path: Path, name: str) -> ConvertedText:
        """Return what a document of this format says. Raises BadDocument, whatever the document does."""
        with path.open("rb") as file:  # so that one that may not be read is told as any other file
            if not file.read(1):
                raise BadDocument("empty: there is nothing in it to learn")
        process = self.process = self.process if self.process and self.process.poll() is None else _start()
        request = json.dumps({"path": str(path.resolve()), "format": name}).encode() + b"\n"
        try:
            answer = self._ask(request, process.stdin, process.stdout) if process.stdin and process.stdout else b""
        except BrokenPipeError:
            answer = b""
        if not answer.endswith(b"\n"):
            raise BadDocument(self._explain_end(process))
        return _parse(json.loads(answer))

    def _ask(self, request: bytes, questions: IO[bytes], answers: IO[bytes]) -> bytes:
        """The answer's line; less than a line where the process ended, or where time is up."""
        questions.write(request)
        until, pieces, size = time.monotonic() + self.seconds, list[bytes](), 0
        while (left := until - time.monotonic()) > 0 and size <= _MOST_ANSWER:
            if select.select([answers], [], [], left)[0]:
                piece = os.read(answers.fileno(), 2**20)
                pieces.append(piece)
                size += len(piece)
                if not piece or piece.endswith(b"\n"):
                    break
        return b"".join(pieces)

    def _explain_end(self, process: subprocess.Popen[bytes]) -> str:
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
        code = process.poll()
        self.close()
        if code is None:
            return f"its conversion takes longer than {self.seconds:g} seconds"
        return f"its converter crashed ({signal.Signals(-code).name if code < 0 else f'code {code}'})"

    def kill(self) -> None:
        """End the process in the midst of a conversion, and whatever it has started; another thread may call this."""
        process = self.process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process, and whatever it has started."""
        self.kill()
        process, self.process = self.process, None
        if process is None:
            return
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe:
                    pipe.close()


def _start() -> subprocess.Popen[bytes]:
    """Start the process: with no key in its environment, and without the working folder on Python's path."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    command = [sys.executable, "-P", "-c", _run_in(_PACKAGE)]
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )


def _run_in(folder: Path) -> str:
    return f"import sys; sys.path.insert(0, {str(folder)!r}); from stages.conversion.worker import main; main()"


def _parse(answer: dict[str, Any]) -> ConvertedText:
    if "error" in answer:
        raise BadDocument(answer["error"])
    outline = tuple(Outline(**each) for each in answer["outline"])
    pages, unread = tuple(answer["pages"]), tuple(answer["unread"])
    return ConvertedText(answer["text"], answer["is_markdown"], pages, outline, unread)
