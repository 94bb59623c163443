"""Likelihood instead of answers: how likely gold answers, or the passage, become with an adapter. Nothing is written.

A text's likelihood is the geometric mean of the probabilities of its tokens, so that long ones are worth no less.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, get_args

from stages.domains.answers import (
    Answered,
    add_fingerprint,
    collect_answers,
    list_keyed_requests,
    watch_adapters,
    without_lost_adapter,
)
from stages.domains.base import Domain, Query
from stages.errors import BadConfig, BadLine, refuse_given
from stages.interfaces import Completion, Engine, Example, NullProgress, Progress, sample_all
from stages.judges.several_golds import is_unanswerable
from stages.records.frozen import content_id
from stages.records.record import Record
from stages.records.score import Likelihood, make_likelihood_score
from stages.records.task import Task
from stages.scoring.grading import (
    AnswerKey,
    PendingLines,
    get_adapter_key,
    get_baseline_key,
    get_owner_id,
)
from stages.services.base import report_engine
from stages.settings import ANSWERING

LikelihoodOf = Literal["answers", "passage"]
_PASSAGE = "passage"


@dataclass(frozen=True)
class LikelihoodMeter:
    """What is measured: the gold answers behind their questions (with the passage before them, if `in_context`)."""

    domain: Domain
    of: LikelihoodOf
    in_context: bool = False
    chat: bool = False

    def refuse_flags(self, engine: str, given: Mapping[str, Any], library: Path | None = None) -> None:
        """Raise BadConfig for an engine that tells no likelihoods, and for flags that would do nothing.

        `given`: flags about answers that are written; None for one that was not given. `library`: that of --retrieve.
        """
        if self.of not in get_args(LikelihoodOf):
            raise BadConfig(f"--likelihood {self.of}: take {' or '.join(get_args(LikelihoodOf))}")
        flag = f"--likelihood {self.of}"
        if engine != "hf":
            told = "does not tell how likely a given text is; leave it out: --engine hf does"
            raise BadConfig(f"{flag}: --engine {engine} {told}")
        if self.domain.judge:
            told = "have no gold answers or passages that are texts; leave it out"
            raise BadConfig(f"{flag}: tasks of the domain {self.domain.name} {told}")
        refuse_given(given, f"{flag} writes no answers; leave one of them out")
        if self.of == "passage":
            ways = {"--in-context": self.in_context or None, "--chat": self.chat or None, "--retrieve": library}
            refuse_given(ways, f"{flag} asks no questions; leave one of them out")

    def check(self, task: Task) -> None:
        """Raise BadLine for a task of which nothing can be measured."""
        if self.of == "passage":
            if not task.text.strip():
                raise BadLine(f"task {task.name!r} has no passage to measure")
            return
        self.domain.check(task)
        if any(is_unanswerable(gold) for _, case in self.domain.get_cases(task) for gold in case.golds):
            raise BadLine(f"task {task.name!r} has a question without an answer, whose likelihood says nothing")

    def list_texts(self, task: Task) -> Iterator[tuple[str, Query]]:
        """Yield (id of its question, the text with its prompt); of several gold answers each.

        Behind a prompt that is a text an answer is tried with a blank before it, too: many tokenizers have a word with
        its blank as one token, and then the bare word is what no model would write.
        """
        if self.of == "passage":
            head = f"{task.name}\n" if task.name else ""  # as in a training sequence
            yield _PASSAGE, Query(_PASSAGE, head, task.text.strip())
            return
        cases = dict(self.domain.get_cases(task))
        for query in self.domain.queries(task, in_context=self.in_context, chat=self.chat):
            blanks = ("", " ") if isinstance(query.prompt, str) else ("",)
            for text in dict.fromkeys(blank + gold for gold in cases[query.id].golds for blank in blanks):
                yield query.id, Query(content_id(query.id, text), query.prompt, text)

    def list_examples(self, lines: Iterable[Record]) -> Iterator[Example]:
        """Yield the texts of each task, once, as sequences."""
        for task in {line.task.id: line.task for line in lines}.values():
            yield from (Example(each.prompt, each.continuation or "") for _, each in self.list_texts(task))

    def read(self, each: Answered) -> list[Likelihood]:
        """Read what the engine told of each question: of several gold answers the likeliest."""
        told = zip((name for name, _ in self.list_texts(each.task)), each.completions, strict=True)
        return [
            _choose(name, [completion for _, completion in own], self.of)
            for name, own in groupby(told, key=lambda pair: pair[0])
        ]

    def measure(
        self,
        records: Iterable[Record],
        engine: Engine,
        *,
        known: Iterable[Record] = (),
        lost: Mapping[str, str] = {},
        progress: Progress = NullProgress(),
    ) -> Iterator[Record]:
        """Yield the score of each line as soon as it is known; a task's baseline is measured once.

        `known`: finished lines, whose baselines are not measured again. Of an adapter whose path is `lost`, everything
        stays unscored for the reason that stands there.
        """
        named = {get_owner_id(line): line for line in records}
        lines = [without_lost_adapter(line, lost) for line in named.values()]
        queries = {line.task.id: [query for _, query in self.list_texts(line.task)] for line in lines}
        done = {get_baseline_key(line): found for line in known if (found := _read_baseline(line))}
        watched = watch_adapters(lines)
        completions = sample_all(list(list_keyed_requests(lines, queries, ANSWERING, done)), engine, progress)

        def read_all() -> Iterator[AnswerKey]:
            for each in collect_answers(lines, queries, done, completions):
                done[each.owner] = self.read(each)
                yield each.owner

        for line in PendingLines(lines, done).complete(read_all()):
            score = make_likelihood_score(_combine(line, done), model=engine.model, measure=f"likelihood:{self.of}")
            made = add_fingerprint(line.grow(score=score), watched)
            yield named[get_owner_id(line)].grow(score=made.score)


@dataclass(frozen=True)
class LikelihoodWorker:
    """Measures the lines of a run. It holds the loaded model."""

    meter: LikelihoodMeter
    lines: Mapping[str, Record]  # by their keys
    engine: Engine
    lost: Mapping[str, str]
    finished: Sequence[Record]

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        lines = [self.lines[key] for key in keys]
        return self.meter.measure(lines, self.engine, known=self.finished, lost=self.lost, progress=progress)

    def report(self) -> Iterator[str]:
        return report_engine(self.engine)


def _choose(name: str, told: Sequence[Completion], of: LikelihoodOf) -> Likelihood:
    """The likeliest of several texts; unknown if one of them is. Raises RuntimeError where the engine said nothing."""
    error = next((each.error for each in told if each.error is not None), None)
    if error is not None:
        return Likelihood(id=name, gold=None, value=None, baseline=None, error=error)
    found = [(each.log_probability, each.text) for each in told if each.log_probability is not None]
    if len(found) < len(told):
        raise RuntimeError(f"the engine gave no likelihood of {told[0].text!r}")
    best, text = max(found, key=lambda pair: pair[0])
    gold, value = text.strip() if of == "answers" else None, min(1.0, math.exp(best))
    return Likelihood(id=name, gold=gold, value=value, baseline=None, error=None)


def _read_baseline(line: Record) -> list[Likelihood]:
    """What a finished line knows of the plain model: everything, or nothing."""
    found = line.score.likelihoods if line.score and line.adapter else ()
    if any(each.baseline is None for each in found):
        return []
    return [each.model_copy(update={"gold": None, "value": each.baseline, "error": None}) for each in found]


def _combine(line: Record, done: Mapping[AnswerKey, Sequence[Likelihood]]) -> Sequence[Likelihood]:
    """The likelihoods of a line. Without an adapter the value is the plain model's."""
    baseline, adapter = done[get_baseline_key(line)], line.adapter
    if adapter is None:
        return [each.model_copy(update={"baseline": None}) for each in baseline]
    lost = {"gold": None, "value": 0.0 if adapter.fault == "edit" else None, "error": adapter.error}  # 0: its own fault
    own = done[get_adapter_key(line)] if adapter.path else [each.model_copy(update=lost) for each in baseline]
    return [
        now.model_copy(update={"baseline": before.value, "error": now.error or before.error})
        for now, before in zip(own, baseline, strict=True)
    ]


def is_measured(line: Record) -> bool:
    """Return True if a finished line lacks nothing that the engine could tell."""
    found: Collection[Likelihood] = line.score.likelihoods if line.score else ()
    own, baseline = line.adapter is None or line.adapter.path is not None, line.adapter is not None
    return all(not (own and each.value is None) and not (baseline and each.baseline is None) for each in found)
