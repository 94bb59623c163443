"""A rehearsal runs a stage's own code without its model, and writes down what it asks for."""

from pathlib import Path

import pytest

from stages.adapt import Adapt
from stages.engines.local import LocalEngine
from stages.eval import Eval
from stages.generate import Generate
from stages.interfaces import Request
from stages.judges.factory import LocalJudge
from stages.planning.forecast import count_demand
from stages.planning.rehearsal import Demand, Speech, Supposition, get_kind, rehearse
from stages.records.record import Record
from stages.settings import Sampling
from stages.trainers.local import LocalTrainer
from stages.work import Work
from tests.invented import a_task, an_edit

TASK = a_task()


def play(stage: object, records: list[Record], demand: Demand, said: Supposition) -> list[Record]:
    work = rehearse(stage, demand, said).prepare(records)
    assert isinstance(work, Work)
    return list(work.open([]).make(dict.fromkeys(work.plan.wanted)))


def test_generate_asks_for_every_sample_and_makes_its_lines(model_dir: Path) -> None:
    demand, request = Demand(), Request("a", "b", Sampling(max_tokens=9))
    said = Supposition({get_kind(request): [Speech("Ada is from Velm.", 5, "stop")]})
    stage = Generate(LocalEngine(str(model_dir)), samples=3, sampling={"max_tokens": 9})
    lines = play(stage, [Record(task=TASK)], demand, said)
    assert [line.edit.completion for line in lines if line.edit] == ["Ada is from Velm."] * 3
    counts = count_demand(demand, len(lines))
    assert (counts["requests"], counts["most_tokens_out"], demand.model) == (3, 27, str(model_dir))


def test_adapt_trains_every_seed_and_leaves_nothing(model_dir: Path, tmp_path: Path) -> None:
    demand, line = Demand(), Record(task=TASK, edit=an_edit(TASK))
    stage = Adapt(out=tmp_path / "ad", seeds=2, trainer=LocalTrainer(str(model_dir)), fit={"epochs": 3})
    lines = play(stage, [line], demand, Supposition())
    counts = count_demand(demand, len(lines))
    rows = len(demand.jobs[0].lesson.examples)
    assert (counts["trainings"], counts["steps"]) == (2, 2 * 3 * rows)
    assert not (tmp_path / "ad").exists()


def test_a_sequence_is_rehearsed_step_by_step(model_dir: Path, tmp_path: Path) -> None:
    demand, other = Demand(), a_task("Bo")
    lines = [Record(task=task, edit=an_edit(task)) for task in (TASK, other)]
    stage = Adapt(out=tmp_path / "ad", sequential=True, trainer=LocalTrainer(str(model_dir)))
    assert len(play(stage, lines, demand, Supposition())) == 2
    assert [len(call) for call in demand.fitted] == [1, 1]
    assert demand.written == 1 + 2  # a step writes those before it once more


def test_eval_asks_each_question_once_without_an_adapter(model_dir: Path) -> None:
    demand = Demand()
    lines = play(Eval(LocalEngine(str(model_dir)), LocalJudge()), [Record(task=TASK)], demand, Supposition())
    assert len(demand.requests) == len(demand.cases) == len(TASK.questions)  # type: ignore[attr-defined]
    assert lines[0].score is not None


def test_a_kind_tells_what_lengths_and_speed_follow_from() -> None:
    drawn, greedy = Request("a", "b", Sampling(max_tokens=9)), Request("a", "b", Sampling(0.0, 1.0, 7), Path("x"))
    cut = Request("a", "b", Sampling(0.0, 1.0, 7, stop=("\n", "Q")))
    assert [get_kind(each) for each in (drawn, greedy, cut)] == [
        *("drawn 9", "greedy 7 adapter", r"greedy 7 until '\n' until 'Q'"),
    ]


@pytest.mark.fast
def test_without_a_calibration_every_completion_has_all_its_tokens() -> None:
    found = Supposition().answer(Request("a", "b", Sampling(max_tokens=9)))
    assert (found.tokens, found.finish) == (9, "stop")
