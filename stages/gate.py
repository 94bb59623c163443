"""The gate of a sequence: an update that costs too much of what was known before is refused (STABLE, arXiv 2510.16089).

What an update costs is told from the model before the first step, not from the step before: many small losses, each of
them let through, would add up.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.domains.answers import Graded, make_paired_answers, read_baseline
from stages.domains.base import Domain
from stages.errors import BadConfig, BadInput, Unavailable, refuse_given
from stages.interfaces import Engine, NullProgress, PartialProgress, Progress, Request, sample_all
from stages.judges.base import Judge
from stages.records.frozen import content_id
from stages.records.record import Gate, Record, compute_fall, is_too_far
from stages.records.score import AnchorAnswers, compute_accuracy, make_retention
from stages.records.task import Task
from stages.scoring.exams import identify_tasks, read_exam
from stages.scoring.grading import grade_groups, grade_without_judge
from stages.settings import Sampling
from stages.work import JudgeSource


@dataclass(frozen=True)
class GateRule:
    """How far accuracy on the anchors may fall, who says what it is, and how they are asked."""

    limit: float
    anchors: Sequence[Task]
    domain: Domain
    judge: JudgeSource
    sampling: Sampling
    chat: bool

    @property
    def settings(self) -> Mapping[str, Any]:
        """What a run's settings say of it."""
        return {
            **{"limit": self.limit, "retain": identify_tasks(self.anchors)},
            **{"judge": self.domain.judge or self.judge.settings(), "chat": self.chat},
            **{"sampling": self.sampling.settings},
        }

    def load_judge(self) -> Judge:
        """Load the judge. Raises where its server does not answer: later it would cost a training."""
        if not self.domain.judge:
            self.judge.probe()
        return self.judge.load()

    def note_learned(self, lines: Iterable[Record]) -> list[str]:
        """Say how many anchors the sequence itself is about, if any: what they gain hides what is lost."""
        own = {task.id for task in self.anchors} & {line.task.id for line in lines}
        note = f"note: {len(own)} of the anchors are passages of the sequence, too: what they gain hides losses"
        return [note] if own else []

    def describe(self) -> str:
        """Say when an update is refused, as the end of a sentence."""
        return f", refused where accuracy on the anchors ({len(self.anchors)}) falls by more than {self.limit:g}"


def read_gate(
    limit: float | None, retain: Path | None, judge: JudgeSource, domain: Domain, *, chat: bool, sequential: bool
) -> GateRule | None:
    """Read the anchors of a gate; None where none was asked for. Raises BadConfig for flags that would do nothing."""
    if limit is None:
        refuse_given({"--retain": retain}, "the anchors of a gate: give --gate X, too (seal eval --retain only asks)")
        return None
    if not sequential:
        raise BadConfig(f"--gate {limit:g}: only the updates of a sequence are refused; give --sequential, too")
    if not 0 <= limit < 1:
        raise BadConfig(f"--gate {limit:g}: take 0 (no loss) or more, and less than 1: accuracy cannot fall by more")
    if retain is None:
        raise BadConfig(f"--gate {limit:g}: needs anchors, tasks whose answers the model knows; give --retain FILE")
    anchors = read_exam(retain, "--retain", domain.name, domain.check)
    return GateRule(limit, anchors, domain, judge, domain.defaults.answering, chat)


@dataclass
class UpdateGate:
    """Asks the anchors of the model so far, and of the model before the first step once.

    `engine` answers with the network of the trainer: between two trainings it is the base's.
    """

    rule: GateRule
    engine: Engine
    judge: Judge
    baseline: dict[str, Graded] = field(default_factory=dict, init=False)  # by the anchor's id

    def open(self, finished: Iterable[Record], progress: Progress = NullProgress()) -> None:
        """Learn what is known before the first step: of a finished line of this run, else by asking."""
        known = (line.adapter.step.gate for line in finished if line.adapter and line.adapter.step)
        if gate := next(filter(None, known), None):
            self.baseline = {each.task_id: read_baseline(each.answers) for each in gate.retention.anchors}
        else:
            self.baseline = self._ask(None, progress)
        right = [verdict.correct for graded in self.baseline.values() for verdict in graded.verdicts]
        share = compute_accuracy(right) or 0.0
        if share <= self.rule.limit:
            progress.note(
                f"the gate can refuse nothing: before the first step the model knows {100 * share:.1f} % of "
                f"the anchors, which cannot fall by more than --gate {self.rule.limit:g}; give anchors that it knows"
            )

    def try_update(self, adapter: Path, progress: Progress = NullProgress()) -> Gate:
        """Ask the model with an update, and decide."""
        after = self._ask(adapter, progress)
        anchors = [
            AnchorAnswers(task_id=name, answers=tuple(make_paired_answers(own, self.baseline[name])))
            for name, own in after.items()
        ]
        kept, limit = make_retention(anchors, self.rule.domain.judge or self.judge.name), self.rule.limit
        return Gate(limit=limit, fall=float(compute_fall(kept)), refused=is_too_far(kept, limit), retention=kept)

    def _ask(self, adapter: Path | None, progress: Progress) -> dict[str, Graded]:
        """Return the graded answers to each anchor. Raises for one that is unscored: it may not decide anything."""
        rule = self.rule
        progress.set_phase("asking anchors")
        requests = {
            task.id: [
                Request(content_id(task.id, query.id), query.prompt, rule.sampling, adapter)
                for query in rule.domain.queries(task, in_context=False, chat=rule.chat)
            ]
            for task in rule.anchors
        }
        asked = [(name, request) for name, own in requests.items() for request in own]
        told = PartialProgress(progress, "add_usage")  # the step stays in work
        said = {each.id: each for each in sample_all(asked, self.engine, told)}
        answers = {
            task.id: tuple(
                rule.domain.make_answers(task, [said[each.id] for each in requests[task.id]], in_context=False)
            )
            for task in rule.anchors
        }
        groups = ((task, [each.item for each in own]) for task, own in answers.items())
        graded = dict(grade_without_judge(groups) if rule.domain.judge else grade_groups(groups, self.judge))
        found = {task.id: Graded(answers[task.id], graded[task.id]) for task in rule.anchors}
        for task in rule.anchors:
            _require_scored(task, found[task.id])
        return found


def _require_scored(task: Task, graded: Graded) -> None:
    """Raise where an answer to an anchor is unscored."""
    for reply, verdict in zip(graded.replies, graded.verdicts, strict=True):
        if verdict.correct is None:
            kind = BadInput if reply.prediction is None else Unavailable
            raise kind(
                f"anchor {task.name!r}, question {reply.id}: unscored, so that the gate cannot decide "
                f"({verdict.reason}); the same command goes on at this step, --retain takes other anchors"
            )
