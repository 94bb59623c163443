"""A line that comes twice: one rule for all stages. The first counts, the other is rejected with its place."""

import json
from pathlib import Path

import pytest

from stages import eval, filter, merge
from stages.domains.jobs import LinePlanner
from stages.domains.qa import QA
from stages.errors import BadInput, BadLine
from stages.merge import Shard
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.sft import PairCheck
from stages.sources.training_pairs import read_pair
from tests.cli.inside import run_inside
from tests.invented import a_line, a_task

LINE = a_line(a_task(), [True, False])
OTHER = a_line(a_task(), [True, True], sample=1, completion="Another.")
UNSCORED = a_line(a_task(), [None, False])


def reordered(line: Record) -> str:
    return json.dumps(dict(reversed(json.loads(to_json(line)).items())))


AGAIN = {
    "the same bytes": to_json(LINE),
    "keys in another order": reordered(LINE),
    "other meta": to_json(LINE.grow(meta={"run": 2})),
    "now without a verdict": to_json(UNSCORED),
}


@pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN.keys())
@pytest.mark.parametrize(
    "command", [("filter", "--keep", "best:9"), ("judge", "-j", "exact"), ("report", "--format", "jsonl")]
)
def test_the_second_is_rejected_and_the_first_counts(command: tuple[str, ...], again: str, tmp_path: Path) -> None:
    file = tmp_path / "scores.jsonl"
    file.write_text("\n".join([to_json(LINE), again, to_json(OTHER)]) + "\n")
    alone = run_inside(*command, str(file), cwd=tmp_path).out
    assert run_inside(*command, str(file), cwd=tmp_path).code == 3
    told = run_inside(*command, str(file), "--rejects", "bad.jsonl", cwd=tmp_path).err
    assert "scores.jsonl:2: " in told and "each line must be another" in told
    assert json.loads((tmp_path / "bad.jsonl").read_text())["line"] == 2
    file.write_text("\n".join([to_json(LINE), to_json(OTHER)]) + "\n")
    assert run_inside(*command, str(file), cwd=tmp_path).out == alone


def test_the_stages_that_load_models_refuse_it_alike(tmp_path: Path) -> None:
    scorable = eval.Scorable(QA())
    scorable(LINE)
    pieces = LinePlanner("student", domain=QA(), out=tmp_path)
    pieces.add(Record(task=LINE.task, edit=LINE.edit))
    (kept,) = filter.run([LINE]).examples
    pair, check = read_pair(json.loads(to_json(kept))), PairCheck("examples/tiny/model", counts=False)
    check(pair)
    for refuse in (
        lambda: scorable(LINE.grow(meta={"run": 2})),
        lambda: pieces.add(Record(task=LINE.task, edit=LINE.edit, meta={"run": 2})),
        lambda: check(pair),
    ):
        with pytest.raises(BadLine, match="occurs twice; each line must be another"):
            refuse()


def test_one_self_edit_may_be_preferred_to_several_but_to_each_once() -> None:
    line = {"prompt": "p", "chosen": "c", "rejected": "r", "task_id": "t", "chosen_id": "best"}
    check = PairCheck("examples/tiny/model", counts=False)
    for worse in ("one", "two"):
        check(read_pair({**line, "rejected_id": worse}, "dpo"))
    with pytest.raises(BadLine, match="self-edit best/one of task t occurs twice"):
        check(read_pair({**line, "rejected_id": "one"}, "dpo"))


def test_pairs_of_others_may_be_repeated() -> None:
    pair, check = read_pair({"prompt": "Velm", "completion": "a town"}), PairCheck("examples/tiny/model", counts=False)
    check(pair)
    check(pair)


def test_a_shard_that_holds_a_line_twice_is_not_merged() -> None:
    shard = Shard("one.jsonl", {"shard": "1/1"}, [LINE, LINE.grow(meta={"run": 2})])
    with pytest.raises(BadInput, match=r"one.jsonl: has a line of task \w+ that is there twice"):
        list(merge.run([shard]))
