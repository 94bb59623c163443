"""A judge that is a program: it reads {"id", "question", "gold", "golds", "prediction"} and writes verdicts.

A verdict is {"id", "correct", "reason"}. `golds` are all gold answers, any of which counts; `gold` is the first. One
JSON object a line, in any order; `id` as it came, `correct` is true, false or null for an answer that it leaves
unscored. It is started once, may answer line by line or all at the end, and ends by itself at the end of its input.
"""

import json
import shlex
import signal
import time
from collections.abc import Iterable, Iterator
from shutil import which
from typing import Any

from stages.errors import BadConfig, Unavailable
from stages.judges.base import Case, Verdict
from stages.judges.program import Program
from stages.records.strict_json import parse_json

TIMEOUT_S = 600.0  # without any verdict while answers wait; a program may load a model first
GRACE_S = 5.0  # to end by itself after its last verdict: it may write a summary
_POLL_S = 0.05  # between two looks at whether the program still runs
_MOST_SHOWN = 200  # characters of what a program wrote


class CommandJudge:
    """Grades with a program and its arguments, written as in a shell, run without one: command:./grade.py --strict"""

    def __init__(self, line: str, *, timeout_s: float | None = None) -> None:
        self.name = f"command:{line}"
        self.timeout_s = TIMEOUT_S if timeout_s is None else timeout_s
        try:
            self.words = shlex.split(line)
        except ValueError as error:
            raise BadConfig(f"--judge {self.name}: {error}") from None
        if not self.words:
            raise BadConfig("--judge command: names no program; give it as in command:./grade.py")
        if which(self.words[0]) is None:
            raise BadConfig(f"--judge {self.name}: no program {self.words[0]} that can be run (chmod +x?)")

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order.

        Raises Unavailable where the program ends before it has given them, is silent for `timeout_s`, or says with its
        exit code that something is wrong; BadConfig where what it writes are no verdicts on these cases.
        """
        talk = None
        try:
            for case in cases:
                talk = talk or _Talk(self)  # where there is no case, no program is started
                yield from talk.ask(case)
            if talk:
                yield from talk.finish()
        finally:
            if talk:
                talk.program.kill()


class _Talk:
    """One run of the program: numbered cases go in, numbered verdicts come out."""

    def __init__(self, judge: CommandJudge) -> None:
        self.name, self.timeout_s = judge.name, judge.timeout_s
        self.verdicts: list[Verdict | None] = []  # (cases asked,)
        self.given = 0
        self.stirred = time.monotonic()  # when the program last gave a verdict, or we began to wait
        try:
            self.program = Program(judge.words)
        except OSError as error:
            raise BadConfig(f"--judge {self.name}: cannot be started: {error.strerror}") from None

    def ask(self, case: Case) -> Iterator[Verdict]:
        """Send one more case; yield the verdicts that have come meanwhile."""
        said = {"id": str(len(self.verdicts)), "question": case.question, "gold": case.gold}
        line = json.dumps({**said, "golds": case.golds, "prediction": case.prediction}, ensure_ascii=False)
        if self._listen(0) is None:
            raise self._gone()
        self.verdicts.append(None)
        self.program.unsent = line.encode("utf-8", "replace") + b"\n"
        self.stirred = time.monotonic()
        yield from self.take(wait=False)
        while self.program.unsent:
            self._wait()
            yield from self.take(wait=False)

    def take(self, *, wait: bool) -> Iterator[Verdict]:
        """Yield the verdicts that are next in order: those that are there, or all that were asked for."""
        while self.given < len(self.verdicts):
            if verdict := self.verdicts[self.given]:
                self.given += 1
                yield verdict
                self.stirred = time.monotonic()
            elif wait:
                self._wait()
            elif not self._listen(0):
                return

    def finish(self) -> Iterator[Verdict]:
        """Close the input and yield the remaining verdicts. Raises Unavailable if the program ends badly."""
        self.program.input.close()
        self.stirred = time.monotonic()
        yield from self.take(wait=True)
        limit = time.monotonic() + GRACE_S
        while time.monotonic() < limit and self._listen(_POLL_S) is not None:
            pass
        code = self.program.wait(max(0.0, limit - time.monotonic()))
        if code is None:
            self.program.stop()
        elif code:
            advice = "see what it says, and let it end with 0 if its verdicts are good"
            raise Unavailable(f"--judge {self.name}: {_describe_exit(code)} after its last verdict; {advice}")

    def _gone(self) -> Unavailable:
        code = self.program.wait(GRACE_S)
        how = "closed its output" if code is None else _describe_exit(code)
        return Unavailable(f"--judge {self.name}: {how} before it had graded all answers; the same command goes on")

    def _wait(self) -> None:
        """Take the next line. Raises Unavailable if none can come any more, or if it takes too long."""
        if self._listen(_POLL_S) is None:
            raise self._gone()
        if time.monotonic() - self.stirred > self.timeout_s:
            told = f"gave no verdict for {self.timeout_s:g} s while answers waited"
            raise Unavailable(f"--judge {self.name}: {told}; see whether it hangs; the same command goes on")

    def _listen(self, wait_s: float) -> bytes | None:
        """Take the next line, if one comes in this time. None: none will come any more."""
        line = self.program.read(wait_s)
        if line and not line.isspace():
            self._take(line)
            self.stirred = time.monotonic()
        return line

    def _take(self, line: bytes) -> None:
        number, verdict = self._parse(line)
        known = self.verdicts[number] = self.verdicts[number] or verdict
        if known.correct is not verdict.correct:
            raise BadConfig(f'--judge {self.name}: gave two verdicts for the id "{number}" that contradict each other')

    def _parse(self, line: bytes) -> tuple[int, Verdict]:
        try:
            found = parse_json(line)
            name = found["id"]
        except (ValueError, TypeError, KeyError):
            shown = line[:_MOST_SHOWN].decode("utf-8", "replace").strip()
            raise BadConfig(f'--judge {self.name}: wrote {shown!r}, which is no {{"id", "correct"}}') from None
        if isinstance(name, str) and name.isdecimal() and len(name) <= len(str(len(self.verdicts))):
            number = int(name)
            if str(number) == name and number < len(self.verdicts):
                return number, _read_verdict(found)
        told = f"gave a verdict for the id {json.dumps(name, ensure_ascii=False)[:_MOST_SHOWN]}"
        raise BadConfig(f"--judge {self.name}: {told}, which no case has; write each id as it came, a string")


def _read_verdict(found: dict[str, Any]) -> Verdict:
    correct, reason = found.get("correct", ""), found.get("reason")
    if correct is None:
        return Verdict(None, str(reason or "the judge gave no reason")[:_MOST_SHOWN])
    if isinstance(correct, bool):
        return Verdict(correct, str(reason)[:_MOST_SHOWN] if reason else None)
    return Verdict(None, f"unparsable: correct is {str(correct)[:60]!r}")


def _describe_exit(code: int) -> str:
    """Describe in words how a process ended."""
    if code >= 0:
        return f"ended with code {code}"
    named = {number.value: number.name for number in signal.Signals}
    return f"was killed by {named.get(-code, f'signal {-code}')}"
