"""A judge that is a program: it reads {"id", "question", "gold", "prediction"} and writes {"id", "correct", "reason"}.

One JSON object a line, in any order; `correct` is true, false or null for an answer that it leaves unscored. It is
started once and may answer line by line or all at the end.
"""

import json
import queue
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from shutil import which
from typing import IO

from stages.failures import BadConfig, Unavailable
from stages.judges.base import Case, Verdict
from stages.strict_json import parse_json

MOST_SHOWN = 200  # characters of what a program wrote


class Command:
    """The program with its arguments, as in a shell but without one: command:./grade.py --strict"""

    def __init__(self, line: str) -> None:
        self.name = f"command:{line}"
        try:
            self.words = shlex.split(line)
        except ValueError as error:
            raise BadConfig(f"--judge {self.name}: {error}") from None
        if not self.words:
            raise BadConfig("--judge command: names no program; give it as in command:./grade.py")
        if which(self.words[0]) is None:
            raise BadConfig(f"--judge {self.name}: no program {self.words[0]} that can be run (chmod +x?)")

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """One verdict per case, in order. Raises Unavailable where the program ends before it has given them."""
        talk = Talk(self.name, self.words)
        asked, given = 0, 0
        try:
            for case in cases:
                talk.ask(asked, case)
                asked += 1
                while (verdict := talk.answer(given, wait=False)) is not None:
                    given += 1
                    yield verdict
            talk.end()
            for number in range(given, asked):
                verdict = talk.answer(number, wait=True)
                if verdict is not None:
                    yield verdict
        finally:
            talk.close()


class Talk:
    """One run of the program: cases go in by number, verdicts come out by number."""

    def __init__(self, name: str, words: list[str]) -> None:
        self.name = name
        self.verdicts: dict[int, Verdict] = {}
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            self.program = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise BadConfig(f"--judge {name}: cannot be started: {error.strerror}") from None
        threading.Thread(target=_read, args=(self.program.stdout, self.lines), daemon=True).start()

    def ask(self, number: int, case: Case) -> None:
        said = {"id": str(number), "question": case.question, "gold": case.gold, "prediction": case.prediction}
        data = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        assert self.program.stdin is not None  # noqa: S101
        try:
            self.program.stdin.write(data)
            self.program.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def end(self) -> None:
        """There are no more cases."""
        assert self.program.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError):
            self.program.stdin.close()

    def answer(self, number: int, *, wait: bool) -> Verdict | None:
        """The verdict on a case; None where it has not come. Raises Unavailable where it cannot come any more."""
        while number not in self.verdicts and (wait or not self.lines.empty()):
            line = self.lines.get()
            if line is None:
                raise self._gone()
            self._take(line)
        return self.verdicts.pop(number, None)

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            found = parse_json(line)
            number = int(found["id"])
        except (ValueError, TypeError, KeyError):
            shown = line[:MOST_SHOWN].decode("utf-8", "replace").strip()
            raise BadConfig(f'--judge {self.name}: wrote {shown!r}, which is no {{"id", "correct"}}') from None
        correct, reason = found.get("correct", ""), found.get("reason")
        if correct is None:
            self.verdicts[number] = Verdict(None, str(reason or "the judge gave no reason")[:MOST_SHOWN])
        elif isinstance(correct, bool):
            self.verdicts[number] = Verdict(correct, str(reason)[:MOST_SHOWN] if reason else None)
        else:
            self.verdicts[number] = Verdict(None, f"unparsable: correct is {str(correct)[:60]!r}")

    def _gone(self) -> Unavailable:
        code = self.program.wait()
        how = f"ended with code {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
        return Unavailable(f"--judge {self.name}: {how} before it had graded all answers; the same command goes on")

    def close(self) -> None:
        self.program.kill()
        self.program.wait()


def _read(file: IO[bytes], lines: "queue.SimpleQueue[bytes | None]") -> None:
    """In a thread of its own, so that the program can always write."""
    with suppress(OSError, ValueError):
        for line in file:
            lines.put(line)
    lines.put(None)
