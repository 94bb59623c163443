"""ARC as people have it: challenges with their solutions, single tasks, folders of them."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from stages.errors import BadConfig, BadInput, MissingInput
from stages.records.arc import ArcTask
from stages.records.jsonl import Reject
from stages.sources.documents import KNOWN
from stages.tasks import Sample, run
from tests.conftest import ROOT

ARC = ROOT.parent / "shared" / "data" / "arc"
SWAP = {"train": [{"input": [[1, 2]], "output": [[2, 1]]}], "test": [{"input": [[3, 4]]}, {"input": [[5, 6]]}]}
FLIP = {"train": [{"input": [[1], [2]], "output": [[2], [1]]}], "test": [{"input": [[3], [4]], "output": [[4], [3]]}]}
SOLVED = {"swap": [[[4, 3]], [[6, 5]]]}


def written(folder: Path, name: str, document: Any) -> str:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def read(source: str, **options: Any) -> dict[str, ArcTask]:
    found = [line.task for line in run(source, **options)]
    assert all(isinstance(task, ArcTask) for task in found)
    return {task.id: task for task in found if isinstance(task, ArcTask)}


def trained(pair: Any) -> Any:
    """A task with this one demonstration."""
    return {**SWAP, "train": [pair]}


def outputs(task: ArcTask) -> list[Any]:
    return [pair.output for pair in task.test]


def test_solutions_that_lie_beside_the_challenges_are_found(tmp_path: Path) -> None:
    source = written(tmp_path, "my_challenges.json", {"swap": SWAP, "flip": FLIP})
    assert outputs(read(source)["swap"]) == [None, None]
    written(tmp_path, "my_solutions.json", SOLVED)
    found = read(source)
    assert list(found) == ["swap", "flip"]
    assert outputs(found["swap"]) == [((4, 3),), ((6, 5),)]
    assert outputs(found["flip"]) == [((4,), (3,))]  # its own, and none beside it
    assert found["swap"].train[0].output == ((2, 1),)


def test_solutions_may_be_named(tmp_path: Path) -> None:
    source, other = written(tmp_path, "a.json", {"swap": SWAP}), written(tmp_path, "b.json", SOLVED)
    assert outputs(read(source, solutions=Path(other))["swap"]) == [((4, 3),), ((6, 5),)]
    with pytest.raises(MissingInput, match=r"--solutions .*none\.json: no such file"):
        read(source, solutions=tmp_path / "none.json")
    with pytest.raises(BadInput, match=r"list\.json: not ARC solutions"):
        read(source, solutions=Path(written(tmp_path, "list.json", [1])))
    with pytest.raises(BadConfig, match=r"only for ARC tasks in a \.json file or a folder"):
        read(written(tmp_path, "c.txt", "text"), solutions=Path(other))
    with pytest.raises(BadConfig, match="does not hold ARC tasks"):
        read(written(tmp_path, "d.json", []), solutions=Path(other))


def test_a_task_in_a_file_of_its_own_is_called_as_the_file(tmp_path: Path) -> None:
    assert read(written(tmp_path, "0a1b2c3d.json", FLIP)).keys() == {"0a1b2c3d"}


def test_a_folder_gives_a_task_for_each_file_and_rejects_what_is_none(tmp_path: Path) -> None:
    for name, document in (("b.json", FLIP), ("a.json", SWAP), ("c.json", {"train": 3}), ("d.json", "{broken")):
        written(tmp_path, name, document)
    rejects: list[Reject] = []
    assert list(read(str(tmp_path), refuse=rejects.append)) == ["a", "b"]
    assert [Path(reject.source).name for reject in rejects] == ["c.json", "d.json"]
    assert [reject.reason for reject in rejects] == [
        f"an object with train; {KNOWN}",
        "not JSON: Expecting property name enclosed in double quotes at column 2",
    ]


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (
            {**SWAP, "train": [{"input": [[1, 2], [3]], "output": [[1]]}]},
            "swap: train[0].input: the rows of a",
        ),
        (
            {**SWAP, "train": [{"input": [[1, 10]], "output": [[1]]}]},
            "swap: train[0].input: the colours of a",
        ),
        (
            {**SWAP, "train": [{"input": [[0] * 31], "output": [[1]]}]},
            "swap: train[0].input: the sides of a",
        ),
        (trained({"input": [[1]]}), "swap: train[0]: has no output"),
        (trained({"input": [[1]], "output": None}), "swap: train[0]: has no output"),
        ({**SWAP, "train": []}, "swap: train is empty: a task has one pair"),
        ({**SWAP, "test": 3}, "swap: test must be a list of pairs"),
        ({**SWAP, "test": SWAP["test"][:1]}, "swap: has 1 tests, but its solutions are not 1 grids"),
        ({**SWAP, "test": [{"input": [[3, 4]], "output": [[9]]}, SWAP["test"][1]]}, "swap: a test has another output"),
        ([1, 2], "swap: not an ARC task: train and test must be lists of pairs"),
    ],
)
def test_a_bad_task_is_rejected_alone(tmp_path: Path, task: Any, reason: str) -> None:
    written(tmp_path, "x_solutions.json", SOLVED)
    source = written(tmp_path, "x_challenges.json", {"swap": task, "flip": FLIP})
    rejects: list[Reject] = []
    assert list(read(source, refuse=rejects.append)) == ["flip"]
    (reject,) = rejects
    assert reject.reason.startswith(reason), reject.reason


PAIR = {"input": [[5]], "output": [[6]]}
TABLE = pa.Table.from_pylist([{"id": "flip", **FLIP}])


@pytest.mark.parametrize(
    ("name", "content", "ids"),
    [
        ("lines.jsonl", f"{json.dumps({'id': 'a', **FLIP})}\n{json.dumps({'task_id': 7, **SWAP})}\n", ["a", "7"]),
        ("lines.json", f"{json.dumps({'id': 'a', **FLIP})}\n{json.dumps({'task': 'b', **SWAP})}\n", ["a", "b"]),
        ("texts.jsonl", json.dumps({"id": "a", **{part: json.dumps(pairs) for part, pairs in FLIP.items()}}), ["a"]),
        ("list.json", [{"name": "a", **FLIP}, {"name": "b", **SWAP}], ["a", "b"]),
        ("one.txt", FLIP, ["one"]),
        ("one.json", {**FLIP, "name": "x", "description": "d", "test": [{**PAIR, "note": 1}]}, ["one"]),
        ("AboveBelow/one.json", FLIP, ["one"]),
        ("columns.json", {"train": {"input": [[[1]], [[2]]], "output": [[[2]], [[3]]]}, "test": PAIR}, ["columns"]),
    ],
)
def test_tasks_are_read_in_every_shape_that_people_keep_them_in(
    tmp_path: Path, name: str, content: Any, ids: list[str]
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    written(tmp_path, name, content)
    assert list(read(str(tmp_path / name))) == ids
    assert list(read(str(tmp_path))) == ids


def test_a_table_of_tasks_is_read_and_its_columns_may_have_other_names(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(TABLE, tmp_path / "a.parquet")
    pyarrow.parquet.write_table(TABLE.rename_columns(["number", "fewshots", "question"]), tmp_path / "b.parquet")
    first = read(str(tmp_path / "a.parquet"))
    own = {"id": "number", "train": "fewshots", "test": "question"}
    with (tmp_path / "c.csv").open("w", newline="") as file:
        csv.writer(file).writerows([TABLE.column_names, ["flip", json.dumps(FLIP["train"]), str(FLIP["test"])]])
    assert read(str(tmp_path / "c.csv")) == first
    assert read(str(tmp_path / "b.parquet"), columns=own) == first == read(written(tmp_path, "flip.json", FLIP))


def test_a_line_without_an_id_is_called_after_its_grids(tmp_path: Path) -> None:
    first = read(written(tmp_path, "a.jsonl", json.dumps(FLIP)))
    again = read(written(tmp_path, "b.jsonl", f"{json.dumps(SWAP)}\n{json.dumps(FLIP)}\n"))
    assert list(again)[1:] == list(first)


def test_named_solutions_are_those_of_lines_too(tmp_path: Path) -> None:
    lines = written(tmp_path, "a.jsonl", json.dumps({"id": "swap", **SWAP}))
    found = read(lines, solutions=Path(written(tmp_path, "s.json", SOLVED)))
    assert outputs(found["swap"]) == [((4, 3),), ((6, 5),)]


@pytest.mark.parametrize(
    ("grid", "rows"),
    [
        ([[0]], ((0,),)),
        ([[0] * 30] * 30, ((0,) * 30,) * 30),
        ([[1.0, 2.0]], ((1, 2),)),
        ([["1", "2"]], ((1, 2),)),
        (["012", "345"], ((0, 1, 2), (3, 4, 5))),
        (["0 1 2", "3,4, 5"], ((0, 1, 2), (3, 4, 5))),
        ("012\n345\n", ((0, 1, 2), (3, 4, 5))),
        ("[[0, 1], [2, 3]]", ((0, 1), (2, 3))),
    ],
)
def test_a_grid_is_the_same_however_it_is_written(tmp_path: Path, grid: Any, rows: Any) -> None:
    pair = {"input": grid, "output": grid}
    for test in ([pair], pair):
        (found,) = read(written(tmp_path, "a.json", {"train": [PAIR], "test": test}))["a"].test
        assert (found.input, found.output) == (rows, rows)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ([[0] * 31] * 3, "the sides of a grid are 1 to 30 long (found 3 rows of 31)"),
        ([[0]] * 31, "the sides of a grid are 1 to 30 long (found 31 rows of 1)"),
        ([], "the sides of a grid are 1 to 30 long (found none)"),
        ([[]], "the sides of a grid are 1 to 30 long (found 1 rows of 0)"),
        ([[1, 2], [3]], "the rows of a grid are equally long (found 1 and 2 colours)"),
        ([[10]], "the colours of a grid are whole numbers from 0 to 9 (found 10)"),
        (["10 2"], 'the colours of a grid are whole numbers from 0 to 9 (found "10")'),
        ([[-1]], "the colours of a grid are whole numbers from 0 to 9 (found -1)"),
        ([[1.5]], "the colours of a grid are whole numbers from 0 to 9 (found 1.5)"),
        ([[True]], "the colours of a grid are whole numbers from 0 to 9 (found true)"),
        ([[None]], "the colours of a grid are whole numbers from 0 to 9 (found null)"),
        (["a b"], 'the colours of a grid are whole numbers from 0 to 9 (found "a")'),
        (3, "a grid is a list of rows (found 3)"),
        ("[[0, 1", "not JSON: "),
    ],
)
def test_a_grid_that_is_none_is_named_with_its_place(tmp_path: Path, grid: Any, words: str) -> None:
    task = trained({"input": grid, "output": [[1]]})
    for name, content in (("a.json", task), ("a.jsonl", {"id": "x", **task})):
        with pytest.raises(BadInput) as caught:
            read(written(tmp_path, name, content))
        assert f"train[0].input: {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([PAIR] * 5, "pairs of grids without a test, as re-arc has them; say which are shown and which asked: jq "),
        ({"a": [{"attempt_1": [[0]], "attempt_2": [[1]]}]}, "ARC answers (attempts), not tasks; give the challenges "),
        ({"a": [[[0]]]}, "ARC's solutions; give the challenges: `seal tasks CHALLENGES.json --solutions "),
    ],
)
def test_what_is_about_arc_and_no_task_is_called_what_it_is(tmp_path: Path, content: Any, words: str) -> None:
    source = written(tmp_path, "a.json", content)
    for name in (source, str(tmp_path)):
        with pytest.raises(BadInput) as caught:
            read(name)
        assert f"{source}: {words}" in str(caught.value)
    with pytest.raises(BadInput):
        read(written(tmp_path, "b.jsonl", json.dumps(content[0] if isinstance(content, list) else content)))


def test_a_grid_in_a_text_is_no_passage(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"a\.txt: rows of numbers, no text; an ARC task is JSON: "):
        read(written(tmp_path, "a.txt", "0 1 0\n1,1,1\n"))
    assert [line.task.name for line in run(written(tmp_path, "b.txt", "1874\nwas the year.\n"))] == ["b"]


def test_the_way_out_for_pairs_without_a_test_works(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read(written(tmp_path, "a b.json", [PAIR] * 5))
    command = str(caught.value).rpartition(": jq ")[2]
    done = subprocess.run(f"jq {command}", shell=True, cwd=tmp_path, check=False)  # noqa: S602
    if done.returncode == 127:
        pytest.skip("there is no jq here")
    task = read(str(tmp_path / "NEW.json"))["NEW"]
    assert (len(task.train), len(task.test)) == (3, 1)


def test_training_and_evaluation_of_one_folder_are_told_and_a_split_takes_one(tmp_path: Path) -> None:
    for name, task in (("training/a", FLIP), ("training/b", SWAP), ("evaluation/a", SWAP), ("evaluation/b", SWAP)):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True, parents=True)
        written(tmp_path / "data", f"{name}.json", task)
    rejects: list[Reject] = []
    told: list[str] = []
    assert list(read(str(tmp_path), refuse=rejects.append, note=told.append)) == ["a", "b"]
    assert told == [f"{tmp_path} has files of test and train, and all are read; --split NAME takes one"]
    assert [reject.reason for reject in rejects] == [
        f"a: another task is called so in {tmp_path}/data/evaluation/a.json; rename one of them"
    ]
    assert read(str(tmp_path), split="training")["a"].train[0].input == ((1,), (2,))


def test_tasks_are_picked_by_their_ids(tmp_path: Path) -> None:
    source = written(tmp_path, "x.json", {"swap": SWAP, "flip": FLIP, "more": FLIP})
    assert list(read(source, ids=["more", "swap"])) == ["swap", "more"]
    with pytest.raises(BadConfig, match=r"--ids nope: no task has this id \(seal tasks SOURCE"):
        read(source, ids=["swap", "nope"])
    assert list(read(source, ids=["more", "swap"], sample=Sample(2))) == ["swap", "more"]


def test_the_papers_tasks_are_read_whole() -> None:
    if not ARC.is_dir():
        pytest.skip("the ARC tasks are not beside the project")
    training = read(str(ARC / "arc-agi_training_challenges_filtered_1B_training_set.json"))
    evaluation = read(str(ARC / "arc-agi_evaluation_challenges_filtered_1B_eval_set.json"))
    every = read(str(ARC / "arc-agi_training_challenges.json"))
    assert (len(training), len(evaluation), len(every)) == (12, 10, 400)
    solutions = json.loads((ARC / "arc-agi_training_solutions.json").read_text())
    for name, task in every.items():
        assert [[list(row) for row in output] for output in outputs(task)] == solutions[name]
    assert [name for name, task in (training | evaluation).items() if len(task.test) > 1] == ["44f52bb0", "b1fc8b8e"]
    assert training.keys() <= every.keys() and all(every[name] == training[name] for name in training)
