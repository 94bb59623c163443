"""ARC as people have it: challenges with their solutions, single tasks, folders of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.arc_records import ArcTask
from stages.documents import KNOWN
from stages.failures import BadConfig, BadInput, MissingInput
from stages.lines import Reject
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
            "swap: train.0.input: the rows of a",
        ),
        (
            {**SWAP, "train": [{"input": [[1, 10]], "output": [[1]]}]},
            "swap: train.0.input: the colours of a",
        ),
        (
            {**SWAP, "train": [{"input": [[0] * 31], "output": [[1]]}]},
            "swap: train.0.input: the sides of a",
        ),
        (trained({"input": [[1]]}), "swap: train.0.output: field required"),
        (trained({"input": [[1]], "output": None}), "swap: train.0.output: a grid is a list"),
        ({**SWAP, "train": []}, "swap: train: tuple should have at least 1 item"),
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
