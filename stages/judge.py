"""score → score: stored answers graded by another judge. No model runs."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from stages.domains.base import load_domain
from stages.errors import BadInput, BadLine
from stages.interfaces import NullProgress, Progress
from stages.judges.base import Case, Judge, Verdict, is_cached
from stages.records.frozen import content_id
from stages.records.record import Record, Section
from stages.records.score import Answer, Score, make_score
from stages.records.stored.by_key import RecordsByKey
from stages.records.thoughts import BROKEN_OFF, CUT_OFF, extract_answer, remove_thoughts
from stages.scoring.agreement import Agreement, compare_judges
from stages.scoring.grading import AnswerItem, get_owner_id, grade_groups, is_empty
from stages.services.base import report_judge
from stages.sources.repeats import UniqueLines
from stages.work import WHOLE_INPUT, JudgeSource, Plan, Source, WholeSource, Work

_UNSAID = "the model thought until --max-tokens (of `seal eval`)"


@dataclass(frozen=True)
class Regrade:
    """Grades stored answers with another judge; no model runs."""

    judge: JudgeSource
    name: str = "judge"
    needs: tuple[Section, ...] = ("score",)

    def prepare(self, records: Sequence[Record], source: Source | None = None) -> Work:
        lines = (source or WholeSource(records)).sift(records, Gradable())
        by_key = RecordsByKey(lines, lambda line: (key_of(line),))
        return Work(
            plan=_plan(by_key),
            settings=lambda: {"judge": self.judge.settings(), **WHOLE_INPUT},
            summary=f"grade {len(lines)} lines with {self.judge.text}; {json.dumps(self.judge.limits())}",
            open=lambda finished: _Grader(by_key, self.judge.load()),
            calls=lambda: self.judge.calls(all_cases(lines)),
            conclude=lambda made: describe_agreement(lines, made),
            leased=by_key,
        )


@dataclass(frozen=True)
class _Grader:
    lines: Mapping[str, Record]  # by their keys
    judge: Judge

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Record]:
        return run([self.lines[key] for key in keys], self.judge, progress=progress)

    def report(self) -> Iterable[str]:
        return report_judge(self.judge)


def plan(records: Iterable[Record]) -> Plan:
    """Plan a line for each line that was read. A line that the judge could not grade completely is graded again."""
    return _plan(RecordsByKey(records, lambda line: (key_of(line),)))


def _plan(lines: RecordsByKey) -> Plan:
    return Plan("score", lines.change_with(partial(Record.grow, score=None)), key_of, _is_graded)


def key_of(line: Record) -> str:
    """Return the key of a line: whose answers to which task, and these. Others of the adapter are another line.

    So are the same answers of other files of it.
    """
    score = _score_of(line)
    said: list[object] = [[answer.id, answer.prediction, answer.baseline_prediction] for answer in score.answers]
    said += [score.fingerprint] if score.fingerprint else []
    return f"{_whose(line)}/{content_id(line.task.id, said)}"


def _whose(line: Record) -> str:
    """The adapter's id; of a line by hand that names none, the self-edit's; else the task's."""
    return line.edit.id if line.edit and not line.adapter else get_owner_id(line)


def _is_graded(line: Record) -> bool:
    """True if every answer that there is has its verdict."""
    return not any(
        (answer.prediction is not None and answer.correct is None)
        or (answer.baseline_prediction is not None and answer.baseline_correct is None)
        for answer in _score_of(line).answers
    )


class Gradable:
    """Checks one line after another: raises BadLine for one whose answers cannot be graded, or that comes twice."""

    def __init__(self) -> None:
        self.distinct = UniqueLines()

    def __call__(self, line: Record) -> None:
        owner, score, task = _whose(line), _score_of(line), line.task
        domain = load_domain(task.domain)
        asked = [question_id for question_id, _ in domain.get_cases(task)]
        if domain.judge:
            raise BadLine(
                f"task {task.id}: its domain grades answers itself ({domain.judge}); there is nothing to judge"
            )
        if score.kind != "accuracy":
            raise BadLine(f"task {task.id}: its score is a {score.kind}; nothing was answered that a judge could grade")
        if not score.answers:
            raise BadLine(f"task {task.id}: its score is a mean without answers; there is nothing to grade")
        if len(set(asked)) < len(asked):
            raise BadLine(f"task {task.id}: two of its questions have one id; give each its own")
        strange = next((answer.id for answer in score.answers if answer.id not in asked), None)
        if strange is not None:
            raise BadLine(f"task {task.id}: an answer to {strange}, which is none of its questions")
        if any(_is_right_unsaid(answer) for answer in score.answers):
            raise BadLine(f"task {task.id}: an answer that was never given is graded as right")
        given = {answer.id for answer in score.answers}
        if missing := next((question_id for question_id in asked if question_id not in given), None):
            raise BadLine(f"task {task.id}: no answer to {missing}, one of its questions; run `seal eval` again")
        kind = "adapter" if line.adapter else "self-edit" if line.edit else "task"
        self.distinct.add(task, (owner, task.id), f"{kind} {owner} occurs twice")  # one adapter may answer many tasks


def _is_right_unsaid(answer: Answer) -> bool:
    """True if a verdict is there, right, for what was not said: it would pass from judge to judge."""
    own = answer.prediction is None and answer.correct is True
    return own or (answer.baseline_prediction is None and answer.baseline_correct is True)


def run(lines: Sequence[Record], judge: Judge, *, progress: Progress = NullProgress()) -> Iterator[Record]:
    """Yield each line with its answers and its baseline's graded again.

    An answer that was never given keeps what the line says of it: wrong for a self-edit that could not be used,
    unscored where the engine failed.
    """
    asked = {case for case in all_cases(lines) if not is_cached(judge, case)}
    progress.expect(len(asked), "verdicts")

    def begun() -> Iterator[tuple[tuple[str, Record], Sequence[AnswerItem]]]:
        for line in lines:
            key = key_of(line)
            progress.begin_work([key])
            yield (key, line), _cases(line)

    for (key, line), verdicts in grade_groups(begun(), judge, lambda case: progress.advance(case in asked)):
        score, half = _score_of(line), len(verdicts) // 2
        pairs = zip(score.answers, verdicts[:half], verdicts[half:], strict=True)
        answers = [_regrade(answer, own, plain) for answer, own, plain in pairs]
        made = make_score(answers, model=score.model, judge=judge.name)
        kept = {"retention": score.retention, "fingerprint": score.fingerprint}  # the anchors' golds are not here
        yield line.grow(score=made.model_copy(update=kept))
        progress.end_work([key])


def _cases(line: Record) -> Sequence[AnswerItem]:
    """The answers of a line behind their thoughts, then those of the plain model.

    Where one was not given, its verdict as it was; one that ends within a thought is unscored.
    """
    cases = dict(load_domain(line.task.domain).get_cases(line.task))
    answers = _score_of(line).answers

    def item(answer: Answer, prediction: str | None, verdict: Verdict) -> AnswerItem:
        if prediction is None or (verdict.correct is None and verdict.reason in (CUT_OFF, BROKEN_OFF)):
            return verdict
        said = remove_thoughts(prediction)
        return Verdict(None, _UNSAID) if said is None else replace(cases[answer.id], prediction=said)

    own = [item(each, each.prediction, Verdict(each.correct, each.reason)) for each in answers]
    return own + [item(each, each.baseline_prediction, _before(each)) for each in answers]


def _before(answer: Answer) -> Verdict:
    """The plain model's verdict as it was. Why it has none the line does not say, but an unsaid answer shows it."""
    unsaid = extract_answer(answer.baseline_prediction or "", "length") is None
    return Verdict(answer.baseline_correct, CUT_OFF if unsaid else None)


def all_cases(lines: Iterable[Record]) -> Iterator[Case]:
    """Yield what a judge would be asked about these lines, each case once."""
    items = (item for line in lines for item in _cases(line))
    return iter(dict.fromkeys(item for item in items if isinstance(item, Case) and not is_empty(item)))


def _score_of(line: Record) -> Score:
    """The line's score. Raises BadInput where there is none."""
    if line.score is None:
        raise BadInput(f"task {line.task.id} has no score (run `seal eval` first)")
    return line.score


def _regrade(answer: Answer, own: Verdict, plain: Verdict) -> Answer:
    update = {"correct": own.correct, "reason": own.reason, "baseline_correct": plain.correct}
    return answer.model_copy(update=update)


def describe_agreement(before: Sequence[Record], after: Sequence[Record]) -> Iterator[str]:
    """Say how far two judges agree on the lines that both have graded."""
    there = {key_of(line) for line in after}
    if not there:
        return
    found = compare_judges([line for line in before if key_of(line) in there], after)
    names = [", ".join(sorted({line.score.judge for line in lines if line.score})) for lines in (before, after)]
    yield f"{names[1]} against {names[0]}: {_describe_verdicts(found)}"
    if found.contexts:
        loss = (
            "" if found.loss is None else f", which forgoes {100 * float(found.loss):.1f} points of {names[0]}'s reward"
        )
        changed = f"in {found.changed} of {found.contexts} contexts another self-edit is the best"
        yield changed + (loss if found.changed else "")


def _describe_verdicts(found: Agreement) -> str:
    """`agreement 88.1 % of 14280 answers (of the right ones 83.2 %, of the wrong ones 90.9 %), κ 0.745`"""
    unscored = f"; unscored {found.unscored_first} before, {found.unscored_second} now"
    by_value = f"of the right ones {_percent(found.on_right)}, of the wrong ones {_percent(found.on_wrong)}"
    kappa = "unknown" if found.kappa is None else f"{found.kappa:.3f}"
    told = f"agreement {_percent(found.overall)} of {found.answers} answers ({by_value}), κ {kappa}"
    return told + (unscored if found.unscored_first or found.unscored_second else "")


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.1f} %"
