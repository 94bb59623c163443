"""The questions of `seal ask`: from the command line, a pipe or a terminal, and their answers to whoever reads them."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TextIO

from seal_cli.exit_codes import DONE, INCOMPLETE, UsageError
from seal_cli.runs.stdio import claim_stdout, write_stdout
from seal_cli.terminal.answers import AnswerView, JsonView, choose_view
from seal_cli.terminal.console import note, say
from stages import ask as stage
from stages.ask import NamedAdapter, Wording
from stages.errors import BadInput
from stages.interfaces import Engine
from stages.records.jsonl import read_bounded_lines
from stages.settings import Sampling
from stages.sources.texts import read_flag_file
from stages.work import EngineSource


def read_questions(question: str | None) -> Iterator[str] | None:
    """Return the questions: the given one, or those of a pipe, of which the first is there; None: of a terminal.

    Raises UsageError where there is none, BadInput where one is not text.
    """
    if question is not None:
        stage.check_question(question)
        return iter([question])
    if sys.stdin is not None and sys.stdin.isatty():
        if sys.stdout is not None and sys.stdout.isatty():
            return None
        raise UsageError("no question, and no terminal for the answers: give a question, or pipe some in, one a line")
    lines = _read_lines()
    first = next(lines, None)
    if first is None:
        raise UsageError("no question: give one, pipe some in, one a line, or run it on a terminal")
    return chain([first], lines)


def _read_lines() -> Iterator[str]:
    for number, line in enumerate(read_bounded_lines(sys.stdin.buffer) if sys.stdin else (), 1):
        try:
            text = line.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            raise BadInput(f"stdin:{number}: the question is not UTF-8 text") from None
        if text:
            yield text


def read_shown_passage(name: str | None, *, asked: bool) -> str:
    """Return the text of --in-context; `asked`: a question is given, so stdin is free. Raises UsageError, BadConfig."""
    if name is None:
        return ""
    if name != "-":
        return read_flag_file(Path(name), f"--in-context {name}")
    if not asked or sys.stdin is None or sys.stdin.isatty():
        raise UsageError("--in-context -: reads the passage from a pipe, and then the question must be an argument")
    return sys.stdin.buffer.read().decode("utf-8-sig", "replace")


def check_adapters(source: EngineSource, adapters: Sequence[NamedAdapter], model: str) -> None:
    """Raise for an adapter that cannot be used on the model; note those that were trained on another one."""
    found = {each.path: each.base for each in adapters}
    for error in source.find_unusable(found, model, ()).values():
        raise error
    if others := source.find_foreign(found, model):
        note(f"seal ask: note: asking {model}, but adapters were trained on {', '.join(sorted(others))}")


@dataclass
class Asker:
    """Asks a loaded model with each of its adapters (None: as it is), and shows what comes."""

    engine: Engine
    adapters: Sequence[Path | None]
    wording: Wording
    sampling: Sampling
    as_json: bool
    failed: int = 0

    def __post_init__(self) -> None:
        self.stdout = claim_stdout()
        self.labels = list_labels(self.adapters)

    def answer_all(self, questions: Iterator[str]) -> int:
        """Answer these, and return the exit code."""
        with os.fdopen(os.dup(self.stdout), "w", encoding="utf-8", errors="replace") as out:
            for question in questions:
                self.answer(question, out)
        return INCOMPLETE if self.failed else DONE

    def answer(self, question: str, out: TextIO) -> None:
        """Answer one question."""
        with self._make_view(question, out) as view:
            for place, each in stage.run(
                question, self.engine, self.adapters, wording=self.wording, sampling=self.sampling, hear=view.hear
            ):
                view.end(place, each)
                if each.error is not None:
                    self.failed += 1
                    say(f"seal ask: {each.error}")

    def _make_view(self, question: str, out: TextIO) -> AnswerView:
        if not self.as_json:
            return choose_view(out, self.labels)
        about: dict[str, object] = {"question": question, "title": self.wording.title, "model": self.engine.model}
        return JsonView(lambda text: write_stdout(self.stdout, text.encode()), about, len(self.adapters))

    def retitle(self, title: str) -> None:
        self.wording = replace(self.wording, title=title)

    def converse(self) -> int:
        """Answer what is typed on a terminal."""
        from seal_cli.terminal.conversation import converse

        os.dup2(self.stdout, 1)  # where readline writes
        about = f", about {self.wording.title}" if self.wording.title else ""
        note(f"seal ask: {', '.join(self.labels)}{about}; /help, Ctrl-D leaves")
        converse(lambda question: self.answer(question, sys.stdout), self.retitle)
        return DONE


def list_labels(adapters: Sequence[Path | None]) -> list[str]:
    """Name adapters for people: by their folders, where these tell them apart."""
    names = [path.resolve().name for path in adapters if path]
    short = len(set(names)) == len(names)
    return ["as it is" if path is None else path.resolve().name if short else str(path) for path in adapters]
