"""Talking with a program: JSON objects with ids go in, a line each, and answers with these ids come out.

It is started once, may answer line by line or all at the end, in any order, and ends by itself with code 0 at the end
of its input.
"""

import json
import os
import select
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from shutil import which
from typing import IO, Any, Generic, TypeVar, cast

from stages.errors import BadConfig, Unavailable
from stages.records.strict_json import parse_json

_T = TypeVar("_T")
TIMEOUT_S = 600.0  # without any answer while something waits for one; a program may load a model first
GRACE_S = 5.0  # to end by itself after its last answer: it may write a summary
MOST_SHOWN = 200  # characters of what a program wrote
_POLL_S = 0.05  # between two looks at whether the program still runs
_LINGER_S = 1.0  # after the program's end and its last line: a child of it may hold its output open for ever
_TERM_S = 1.0  # between being asked to end and being killed
_MOST_BYTES = 10_000_000  # of a line
_CHUNK = 1 << 16  # bytes read at once


@dataclass(frozen=True)
class Terms(Generic[_T]):
    """What is asked of a program, in the words of its errors. `read` reads an answer; two that `agree` are one."""

    flag: str  # --judge command:./grade.py
    noun: str  # verdict
    waiting: str  # answers
    done: str  # graded
    case: str  # case
    key: str  # correct
    read: Callable[[Mapping[str, Any]], _T]
    agree: Callable[[_T, _T], bool]


def split_command(line: str, flag: str, example: str) -> list[str]:
    """Split a program and its arguments as a shell does. Raises BadConfig where there is none that can be run."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise BadConfig(f"{flag}: {error}") from None
    if not words:
        raise BadConfig(f"{flag} names no program; give it as in {example}")
    if which(words[0]) is None:
        raise BadConfig(f"{flag}: no program {words[0]} that can be run (chmod +x?)")
    return words


def ask_program(
    words: Sequence[str], cases: Iterable[Mapping[str, Any]], terms: Terms[_T], timeout_s: float
) -> Iterator[_T]:
    """Yield one answer per case, in order; each case is given an id.

    Raises Unavailable where the program ends before it has given them, gives none for `timeout_s`, or says with its
    exit code that something is wrong; BadConfig where what it writes are no answers to these cases.
    """
    talk = None
    try:
        for case in cases:
            talk = talk or _Talk(words, terms, timeout_s)  # where there is no case, no program is started
            yield from talk.ask(case)
        if talk:
            yield from talk.finish()
    finally:
        if talk:
            talk.program.kill()


class _Talk(Generic[_T]):
    """One run of the program: numbered cases go in, numbered answers come out."""

    def __init__(self, words: Sequence[str], terms: Terms[_T], timeout_s: float) -> None:
        self.terms, self.timeout_s = terms, timeout_s
        self.answers: list[tuple[_T] | None] = []  # (cases asked,)
        self.given = 0
        self.stirred = time.monotonic()  # when the program last gave an answer, or we began to wait
        try:
            self.program = _Program(words)
        except OSError as error:
            raise BadConfig(f"{terms.flag}: cannot be started: {error.strerror}") from None

    def ask(self, case: Mapping[str, Any]) -> Iterator[_T]:
        """Send one more case; yield the answers that have come meanwhile."""
        line = json.dumps({"id": str(len(self.answers)), **case}, ensure_ascii=False)
        self.stirred = time.monotonic()
        if self._listen(0) is None:
            raise self._gone()
        self.answers.append(None)
        self.program.unsent = line.encode("utf-8", "replace") + b"\n"
        yield from self.take(wait=False)
        while self.program.unsent:
            self._wait()
            yield from self.take(wait=False)

    def take(self, *, wait: bool) -> Iterator[_T]:
        """Yield the answers that are next in order: those that are there, or all that were asked for."""
        while self.given < len(self.answers):
            if answer := self.answers[self.given]:
                self.given += 1
                yield answer[0]
                self.stirred = time.monotonic()
            elif wait:
                self._wait()
            elif not self._listen(0):
                return

    def finish(self) -> Iterator[_T]:
        """Close the input and yield the remaining answers. Raises Unavailable if the program ends badly."""
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
            noun = self.terms.noun
            advice = f"see what it says, and let it end with 0 if its {noun}s are good"
            raise Unavailable(f"{self.terms.flag}: {_describe_exit(code)} after its last {noun}; {advice}")

    def _gone(self) -> Unavailable:
        code = self.program.wait(GRACE_S)
        how = "closed its output" if code is None else _describe_exit(code)
        what = f"before it had {self.terms.done} all {self.terms.waiting}"
        return Unavailable(f"{self.terms.flag}: {how} {what}; the same command goes on")

    def _wait(self) -> None:
        """Take the next line. Raises Unavailable if none can come any more."""
        if self._listen(_POLL_S) is None:
            raise self._gone()

    def _listen(self, wait_s: float) -> bytes | None:
        """Take the next line, if one comes in this time. None: none will come any more.

        Raises Unavailable if cases have waited too long for a new answer, whatever else is written.
        """
        line = self.program.read(wait_s)
        if line and not line.isspace():
            self._take(line)
        if self.given < len(self.answers) and time.monotonic() - self.stirred > self.timeout_s:
            told = f"gave no {self.terms.noun} for {self.timeout_s:g} s while {self.terms.waiting} waited"
            raise Unavailable(f"{self.terms.flag}: {told}; see whether it hangs; the same command goes on")
        return line

    def _take(self, line: bytes) -> None:
        number, answer = self._parse(line)
        known = self.answers[number]
        if known is None:
            self.answers[number], self.stirred = (answer,), time.monotonic()
        elif not self.terms.agree(known[0], answer):
            told = f'gave two {self.terms.noun}s for the id "{number}" that contradict each other'
            raise BadConfig(f"{self.terms.flag}: {told}")

    def _parse(self, line: bytes) -> tuple[int, _T]:
        try:
            found = parse_json(line)
            name = found["id"]
        except (ValueError, TypeError, KeyError):
            shown = line[:MOST_SHOWN].decode("utf-8", "replace").strip()
            needs = f'{{"id", "{self.terms.key}"}}'
            raise BadConfig(f"{self.terms.flag}: wrote {shown!r}, which is no {needs}") from None
        if isinstance(name, str) and name.isdecimal() and len(name) <= len(str(len(self.answers))):
            number = int(name)
            if str(number) == name and number < len(self.answers):
                return number, self.terms.read(found)
        told = f"gave a {self.terms.noun} for the id {json.dumps(name, ensure_ascii=False)[:MOST_SHOWN]}"
        way = f"which no {self.terms.case} has; write each id as it came, a string"
        raise BadConfig(f"{self.terms.flag}: {told}, {way}")


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

    def __init__(self, words: Sequence[str]) -> None:
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
