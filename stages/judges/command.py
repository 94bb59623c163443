"""A judge that is a program: it reads {"id", "question", "gold", "golds", "prediction"} and writes verdicts.

A verdict is {"id", "correct", "reason"}. `golds` are all gold answers, any of which counts; `gold` is the first. One
JSON object a line, in any order; `id` as it came, `correct` is true, false or null for an answer that it leaves
unscored. It is started once, may answer line by line or all at the end, and ends by itself at the end of its input.
"""

import json
import os
import select
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from shutil import which
from typing import IO, Any, cast

from stages.errors import BadConfig, Unavailable
from stages.judges.base import Case, Verdict
from stages.records.strict_json import parse_json

TIMEOUT_S = 600.0  # without any verdict while answers wait; a program may load a model first
GRACE_S = 5.0  # to end by itself after its last verdict: it may write a summary
_POLL_S = 0.05  # between two looks at whether the program still runs
_MOST_SHOWN = 200  # characters of what a program wrote
_LINGER_S = 1.0  # after the program's end and its last line: a child of it may hold its output open for ever
_TERM_S = 1.0  # between being asked to end and being killed
_MOST_BYTES = 10_000_000  # of a line
_CHUNK = 1 << 16  # bytes read at once


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

        Raises Unavailable where the program ends before it has given them, gives none for `timeout_s`, or says with its
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
            self.program = _Program(judge.words)
        except OSError as error:
            raise BadConfig(f"--judge {self.name}: cannot be started: {error.strerror}") from None

    def ask(self, case: Case) -> Iterator[Verdict]:
        """Send one more case; yield the verdicts that have come meanwhile."""
        said = {"id": str(len(self.verdicts)), "question": case.question, "gold": case.gold}
        line = json.dumps({**said, "golds": case.golds, "prediction": case.prediction}, ensure_ascii=False)
        self.stirred = time.monotonic()
        if self._listen(0) is None:
            raise self._gone()
        self.verdicts.append(None)
        self.program.unsent = line.encode("utf-8", "replace") + b"\n"
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
        """Take the next line. Raises Unavailable if none can come any more."""
        if self._listen(_POLL_S) is None:
            raise self._gone()

    def _listen(self, wait_s: float) -> bytes | None:
        """Take the next line, if one comes in this time. None: none will come any more.

        Raises Unavailable if answers have waited too long for a new verdict, whatever else is written.
        """
        line = self.program.read(wait_s)
        if line and not line.isspace():
            self._take(line)
        if self.given < len(self.verdicts) and time.monotonic() - self.stirred > self.timeout_s:
            told = f"gave no verdict for {self.timeout_s:g} s while answers waited"
            raise Unavailable(f"--judge {self.name}: {told}; see whether it hangs; the same command goes on")
        return line

    def _take(self, line: bytes) -> None:
        number, verdict = self._parse(line)
        known = self.verdicts[number]
        if known is None:
            self.verdicts[number], self.stirred = verdict, time.monotonic()
        elif known.correct is not verdict.correct:
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


class _Program:
    """A child process, read and written line by line, that ends with all its children: it has a session of its own.

    Its pipes do not block, so nothing that it does can hang us. Raises OSError if it cannot start.
    """

    def __init__(self, words: list[str]) -> None:
        self.process = subprocess.Popen(
            words, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.input, self.output = (cast("IO[bytes]", pipe) for pipe in (self.process.stdin, self.process.stdout))
        os.set_blocking(self.input.fileno(), False)
        os.set_blocking(self.output.fileno(), False)
        self.unsent = b""  # what the program has yet to take
        self.begun = b""  # of a line that is not whole yet
        self.lines: deque[bytes] = deque()
        self.is_listening = True  # it has not closed its input
        self.is_over = False  # no line will come any more
        self.heard_at: float | None = None  # when something last came after the program's end

    def read(self, wait_s: float) -> bytes | None:
        """Return the next line; empty if none came in time, None if none will come any more. Also sends `unsent`."""
        if not self.is_over and (self.unsent or not self.lines):
            self._exchange(0 if self.lines else wait_s)
        if self.lines:
            return self.lines.popleft()
        return None if self.is_over else b""

    def wait(self, wait_s: float) -> int | None:
        """Return the exit code; None if it still runs after this time."""
        with suppress(subprocess.TimeoutExpired):
            return self.process.wait(wait_s)
        return None

    def stop(self) -> None:
        """Ask it and its children to end, and give them a moment."""
        self._signal(signal.SIGTERM)
        self.wait(_TERM_S)

    def kill(self) -> None:
        """End it and its children at once."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.input.close()
        self.output.close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS: of a group in which all have ended
            os.killpg(self.process.pid, number)

    def _exchange(self, wait_s: float) -> None:
        """Send and receive what can be, once either can be or this time is over."""
        pipes = select.poll()
        if not self.lines:  # else it may write no more for now
            pipes.register(self.output, select.POLLIN)
        if self.unsent and self.is_listening:
            pipes.register(self.input, select.POLLOUT)
        ready = [number for number, _ in pipes.poll(1000 * wait_s)]
        if self.unsent and self.input.fileno() in ready:
            self._send()
        if self.output.fileno() in ready:
            self._receive()
        elif not self.lines and self.process.poll() is not None:
            self.heard_at = self.heard_at or time.monotonic()
            self.is_over = time.monotonic() - self.heard_at > _LINGER_S

    def _send(self) -> None:
        try:
            self.unsent = self.unsent[self.input.write(self.unsent) or 0 :]
        except BrokenPipeError:
            self.is_listening = False

    def _receive(self) -> None:
        self.heard_at = None
        chunk = self.output.read(_CHUNK)
        *lines, self.begun = (self.begun + chunk).split(b"\n")
        self.is_over = not chunk
        if self.begun and (self.is_over or len(self.begun) > _MOST_BYTES):
            lines, self.begun = [*lines, self.begun], b""
        self.lines.extend(lines)
