"""The gate of a sequence: an update that costs too much of what was known is refused, and a failure decides nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages.adapt import Adapt
from stages.domains.qa import QA
from stages.errors import BadConfig, BadInput, BadLine, MissingInput, SealError, Unavailable
from stages.gate import GateRule, UpdateGate, read_gate
from stages.judges.base import Case, Verdict
from stages.judges.factory import LocalJudge
from stages.records.jsonl import encode_line
from stages.records.record import Gate, Record
from stages.sequence import SequenceWorker
from stages.settings import ANSWERING
from stages.trainers.local import LocalTrainer
from stages.work import WholeSource, Work, resume
from tests.invented import Backwards, Lost, Notes, a_task, numbered
from tests.stages.test_sequence import SMALL, Stopped, edits, weights
from tests.trainers.exact import FLOAT32

ANCHOR = numbered("Velm", 4)


@dataclass
class Script:
    """A judge, and the source of it, that finds so many of the four answers right, one time after the other."""

    right: Sequence[int | None]  # None: it fails
    name: str = "script"
    text: str = "script"
    offline: bool = True
    asked: int = 0

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        count = self.right[self.asked]
        self.asked += 1
        for place, _ in enumerate(cases):
            yield Verdict(None, "api_error: 500") if count is None else Verdict(place < count)

    def settings(self) -> str:
        return self.name

    def limits(self) -> dict[str, Any]:
        return {}

    def probe(self) -> None: ...

    def load(self) -> "Script":
        return self

    def calls(self, cases: Iterable[Case]) -> Iterator[Any]:
        yield from ()


@pytest.fixture
def anchors(tmp_path: Path) -> Path:
    (tmp_path / "anchors.jsonl").write_bytes(encode_line(Record(task=ANCHOR)))
    return tmp_path / "anchors.jsonl"


def gated(model: Path, out: Path, anchors: Path, judge: Script, limit: float = 0.3) -> Adapt:
    trainer = LocalTrainer(str(model), device=FLOAT32)
    return Adapt(out, sequential=True, gate=limit, retain=anchors, judge=judge, trainer=trainer, fit=SMALL)


def gates(lines: Iterable[Record]) -> list[Gate]:
    steps = [line.adapter.step for line in lines if line.adapter]
    return [step.gate for step in steps if step and step.gate]


def test_an_update_is_refused_by_what_is_lost_since_the_beginning_and_the_next_is_trained_on_the_kept_model(
    model_dir: Path, tmp_path: Path, anchors: Path
) -> None:
    judge = Script([4, 3, 2, 3])  # before, and after each step: the second costs as little as the first
    stage = gated(model_dir, tmp_path / "steps", anchors, judge)
    first, second, third = lines = resume(stage, edits(), tmp_path / "lines.jsonl")
    found = [(gate.fall, gate.refused, gate.retention.value, gate.retention.baseline) for gate in gates(lines)]
    assert found == [(0.25, False, 0.75, 1.0), (0.5, True, 0.5, 1.0), (0.25, False, 0.75, 1.0)]
    assert second.adapter and second.adapter.train and (second.adapter.fault, second.adapter.error) == (None, None)
    kept, after_refusal, grown = weights([first, second, third])
    assert kept == after_refusal != grown
    assert third.adapter and third.adapter.step and third.adapter.step.before == second.adapter.id
    fewer = [edits()[0], edits()[2]]  # the same model as one that never saw the second self-edit
    again = resume(gated(model_dir, tmp_path / "two", anchors, Script([4, 3, 3])), fewer, tmp_path / "two.jsonl")
    assert weights(again)[1] == grown


def test_a_stopped_run_asks_nothing_twice(model_dir: Path, tmp_path: Path, anchors: Path) -> None:
    judge, parts = Script([4, 3, 1, 3]), tmp_path / "parts.jsonl"
    with pytest.raises(KeyboardInterrupt):
        resume(gated(model_dir, tmp_path / "steps", anchors, judge), edits(), parts, Stopped())
    assert (judge.asked, len(parts.read_bytes().splitlines())) == (3, 2)
    lines = resume(gated(model_dir, tmp_path / "steps", anchors, judge), edits(), parts)
    assert judge.asked == 4
    assert [gate.refused for gate in gates(lines)] == [False, True, False]
    assert [gate.retention.baseline for gate in gates(lines)] == [1.0] * 3
    assert not list((tmp_path / "steps").glob("*.part"))


def test_a_judge_that_fails_refuses_nothing_and_the_same_command_goes_on(
    model_dir: Path, tmp_path: Path, anchors: Path
) -> None:
    stage = gated(model_dir, tmp_path / "steps", anchors, Script([4, 3, None, 3, 3]))
    with pytest.raises(Unavailable, match=r"anchor 'Velm', question .*: unscored, .* \(api_error: 500\)"):
        resume(stage, edits(), tmp_path / "lines.jsonl")
    assert len((tmp_path / "lines.jsonl").read_bytes().splitlines()) == 1
    lines = resume(stage, edits(), tmp_path / "lines.jsonl")
    assert [gate.refused for gate in gates(lines)] == [False] * 3


def opened(judge: Script, engine: Backwards, limit: float = 0.1) -> tuple[UpdateGate, Notes]:
    gate = UpdateGate(GateRule(limit, (ANCHOR,), QA(), judge, ANSWERING, chat=False), engine, judge)
    heard = Notes()
    gate.open([], heard)
    return gate, heard


def test_anchors_that_nobody_knows_are_told() -> None:
    _, heard = opened(Script([0]), Backwards(lambda request: "Velm"))
    assert heard.notes[0].startswith("the gate can refuse nothing: before the first step the model knows 0.0 % of")
    assert opened(Script([1]), Backwards(lambda request: "Velm"), 0.25)[1].notes
    assert not opened(Script([2]), Backwards(lambda request: "Velm"), 0.25)[1].notes


def test_a_worker_that_makes_one_sequence_after_the_other_asks_the_base_once() -> None:
    judge = Script([4, 4, 4])
    gate = UpdateGate(GateRule(0.1, (ANCHOR,), QA(), judge, ANSWERING, chat=False), Backwards(lambda _: "Velm"), judge)
    nobody: Any = None
    worker = SequenceWorker({}, nobody, [], gate)
    assert [*worker.make(["one"]), *worker.make(["two"])] == []
    assert judge.asked == 1


def test_an_answer_that_the_engine_did_not_give_decides_nothing() -> None:
    def lose(request: Any) -> str:
        if request.adapter:
            raise Lost("no room")
        return "Velm"

    gate, _ = opened(Script([4, 4]), Backwards(lose))
    with pytest.raises(BadInput, match=r"unscored, so that the gate cannot decide \(no room\)"):
        gate.try_update(Path("adapter"))


def test_a_fall_of_exactly_the_limit_is_let_through() -> None:
    gate, _ = opened(Script([4, 3, 3]), Backwards(lambda request: "Velm"), 0.25)
    assert not gate.try_update(Path("adapter")).refused
    gate.rule = GateRule(0.24, gate.rule.anchors, gate.rule.domain, gate.rule.judge, ANSWERING, chat=False)
    assert gate.try_update(Path("adapter")).refused


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sequential": False}, BadConfig, "--gate 0.3: only the updates of a sequence are refused; give --sequential"),
        ({"retain": None}, BadConfig, "--gate 0.3: needs anchors"),
        ({"gate": None}, BadConfig, "the anchors of a gate: give --gate X, too"),
        ({"gate": None, "retain": None, "judge_given": "exact"}, BadConfig, "--judge exact: it grades the anchors"),
        ({"gate": 1.0}, BadConfig, "--gate 1: take 0 .no loss. or more, and less than 1"),
        ({"gate": -0.1}, BadConfig, "--gate -0.1: take 0"),
        ({"gate": float("nan")}, BadConfig, "--gate nan: take 0"),
        ({"retain": Path("nowhere.jsonl")}, MissingInput, "--retain nowhere.jsonl: no such file"),
    ],
)
def test_a_gate_without_its_parts_is_refused(
    change: dict[str, Any], error: type[SealError], words: str, tmp_path: Path, anchors: Path
) -> None:
    trainer = LocalTrainer(str(tmp_path))
    given: dict[str, Any] = {"sequential": True, "gate": 0.3, "retain": anchors, "trainer": trainer, **change}
    with pytest.raises(error, match=words):
        Adapt(tmp_path, **given).prepare(edits())


def test_anchors_without_questions_or_of_another_domain_are_refused(tmp_path: Path, anchors: Path) -> None:
    def read(*tasks: Any) -> None:
        anchors.write_bytes(b"".join(encode_line(Record(task=task)) for task in tasks))
        read_gate(0.1, anchors, LocalJudge(), QA(), chat=False, sequential=True)

    with pytest.raises(BadInput, match="line 2: task 'Bo' has no questions"):
        read(ANCHOR, a_task("Bo", []))
    with pytest.raises(BadInput, match="no tasks in it"):
        read()


def test_another_gate_makes_other_adapters_and_a_known_anchor_is_told(
    model_dir: Path, tmp_path: Path, anchors: Path
) -> None:
    def prepared(limit: float) -> Work:
        work = gated(model_dir, tmp_path, anchors, Script([]), limit).prepare(edits())
        assert isinstance(work, Work)
        return work

    one, other = prepared(0.1), prepared(0.2)
    assert not set(one.plan.wanted) & set(other.plan.wanted)
    assert (
        one.summary.startswith("train 3 self-edits onto") and "the anchors (1) falls by more than 0.1;" in one.summary
    )
    assert one.settings()["gate"]["limit"] == 0.1
    assert not list(one.notes)
    anchors.write_bytes(encode_line(Record(task=edits()[0].task)))
    assert "1 of the anchors are passages of the sequence" in next(iter(prepared(0.1).notes))
    anchors.write_bytes(encode_line(Record(task=edits()[0].task.model_copy(update={"context": "Another."}))))
    with pytest.raises(BadLine):
        prepared(0.1)


class Sieve(WholeSource):
    """A source that leaves out the lines that cannot be used, as the shell's does."""

    def sift(self, records: Sequence[Record], check: Callable[[Record], object]) -> list[Record]:
        return [record for record in records if is_good(record, check)]


def is_good(record: Record, check: Callable[[Record], object]) -> bool:
    try:
        check(record)
    except BadLine:
        return False
    return True


def test_a_rejected_line_is_no_task_that_an_anchor_could_be_mistaken_for(
    model_dir: Path, tmp_path: Path, anchors: Path
) -> None:
    (line,) = edits(["Velm"])
    anchors.write_bytes(encode_line(Record(task=line.task)))
    twin = line.grow(task=line.task.model_copy(update={"context": "Another."}))
    work = gated(model_dir, tmp_path, anchors, Script([])).prepare([line, twin], Sieve([line, twin]))
    assert isinstance(work, Work)
    assert [each.task for each in work.plan.wanted.values()] == [line.task]


def test_a_verdict_of_the_gate_that_its_answers_do_not_bear_out_is_no_record() -> None:
    gate, _ = opened(Script([4, 3]), Backwards(lambda request: "Velm"))
    found = gate.try_update(Path("adapter")).model_dump(mode="json")
    assert Gate.model_validate(found).refused
    for change in ({"refused": False}, {"fall": 0.5}, {"limit": 0.5}):
        with pytest.raises(ValueError, match="must be what the answers to the anchors come to"):
            Gate.model_validate({**found, **change})
