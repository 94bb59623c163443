"""Folders and several sources: everything that is known is read, and everything else is told."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stages import tasks
from stages.errors import BadConfig, BadInput
from stages.file_kinds import TEXT_SUFFIXES
from stages.records.jsonl import Reject, to_json
from stages.records.record import Record
from stages.sources.datasets import folders
from stages.sources.datasets.folders import Omission
from tests.invented import a_line, a_task, an_edit
from tests.sources.bad_input import row

GRIDS = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]], "output": [[4]]}]}


def fill(folder: Path, files: dict[str, Any]) -> Path:
    """The folder, with these files: bytes, text, or JSON."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes | str) else json.dumps(content)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def read(*sources: object, **options: Any) -> tuple[list[Record], list[Reject], list[Omission]]:
    """The records, the rejects, what is left out."""
    rejects: list[Reject] = []
    left: list[Omission] = []
    found = list(tasks.run(*map(str, sources), refuse=rejects.append, leave_out=left.append, **options))
    return found, rejects, left


def titles(records: list[Record]) -> list[str]:
    return [record.task.name for record in records]


def kinds(left: list[Omission]) -> list[tuple[str, str]]:
    return [(Path(omission.path).name, omission.kind) for omission in left]


def test_a_folder_is_read_to_any_depth_in_the_order_of_the_names(tmp_path: Path) -> None:
    own = {"title": "Own", "context": "An own task.", "questions": []}
    fill(tmp_path, {"b.md": "B", "a/z.TXT": "Z", "a/y/x.rst": "X", "c.markdown": "C", "a/own.JSONL": own})
    fill(tmp_path, {"d/0a1b.json": GRIDS, "e.json": [{**own, "title": "Listed", "context": "More."}]})
    found, rejects, left = read(tmp_path)
    assert titles(found) == ["Own", "a/y/x", "a/z", "b", "c", "0a1b", "Listed"]
    assert (rejects, left) == ([], [])


def test_what_is_not_read_is_left_out_by_kind_and_costs_nothing_else(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": "A", "table.csv": "x,y", "deep/more.CSV": "x", "t.npy": "x", "run.bat": "ls"})
    fill(
        tmp_path,
        {".git/config": "x", ".hidden.md": "H", "LICENSE": "free", "x.jsonl.manifest.json": {"stage": "tasks"}},
    )
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects) == (["a"], [])
    assert kinds(left) == [
        (".git", "hidden"),
        (".hidden.md", "hidden"),
        ("LICENSE", "without an ending"),
        ("more.CSV", ".csv without the columns of a task"),
        ("run.bat", ".bat"),
        ("t.npy", ".npy"),
        ("table.csv", ".csv without the columns of a task"),
        ("x.jsonl.manifest.json", "made by seal"),
    ]


def test_pipes_loops_and_links_to_nothing_are_never_opened(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": "A", "sub/b.md": "B"})
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "gone.md").symlink_to("nowhere")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "round.md").symlink_to("round.md")
    (tmp_path / "other.md").symlink_to("a.md")
    found, rejects, left = read(tmp_path)
    assert titles(found) == ["a", "sub/b"]
    assert kinds(left) == [
        ("gone", "link to nothing"),
        ("other.md", "twice"),
        ("pipe.md", "pipe or device"),
        ("up", "folder that is there twice"),
    ]
    assert [(Path(reject.source).name, reject.reason[:15]) for reject in rejects] == [
        ("gone.md", "cannot be read "),
        ("round.md", "cannot be read "),
    ]


@pytest.mark.parametrize(
    "content", [b"", b" \n\t\r\n", b"\xef\xbb\xbf", b"\x00\x01\x1b", "\u200b\u2060\ufeff".encode()]
)
@pytest.mark.parametrize("name", ["e.txt", "e.rst"])
def test_a_text_with_nothing_to_be_seen_is_never_a_task(tmp_path: Path, content: bytes, name: str) -> None:
    found, (reject,), _ = read(fill(tmp_path, {"a.md": "A", name: content}))
    assert titles(found) == ["a"]
    assert reject == Reject(str(tmp_path / name), 0, 0, "empty: there is nothing in it to learn", content)


@pytest.mark.parametrize(
    "content",
    [
        {"title": "T", "context": " ", "questions": []},
        [{"title": "T", "context": "\ufeff", "questions": []}],
        {"data": [{"title": "T", "paragraphs": [{"context": "\n", "qas": []}]}]},
        {**row("T"), "context": ""},
        to_json(Record(task=a_task("T").model_copy(update={"context": "\t"}))),
    ],
)
def test_a_passage_with_nothing_in_it_is_rejected_in_every_layout(tmp_path: Path, content: Any) -> None:
    found, (reject,), _ = read(fill(tmp_path, {"empty.json": content}))
    assert (found, reject.reason.rpartition(": ")[2]) == ([], "there is nothing in it to learn")


def test_bad_files_of_a_folder_cost_themselves_alone(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": "A", "b.json": "{broken", "c.jsonl": "", "d.json": {"rows": 1}, "e.jsonl": b"caf\xe9\n"})
    fill(tmp_path, {"f.txt": "A text\n".encode("utf-16"), "g.txt": b"\x1f\x8b\x08", "h.jsonl": '{\n "a": 1'})
    found, rejects, left = read(tmp_path)
    assert titles(found) == ["a"]
    assert [(Path(reject.source).name, reject.reason[:30]) for reject in rejects] == [
        ("b.json", "not JSON: Expecting property n"),
        ("c.jsonl", "empty"),
        ("d.json", "an object with rows; known are"),
        ("e.jsonl", "not UTF-8 (byte 3); if it is L"),
        ("f.txt", "not UTF-8 (byte 0) but UTF-16;"),
        ("h.jsonl", "not JSON: Expecting ',' delimi"),
    ]
    assert kinds(left) == [("g.txt", "gzip file")]


def test_a_file_that_cannot_be_opened_or_is_gone_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"a.md": "A", "b.md": "B", "c.jsonl": {"title": "C", "context": "C"}, "sub/d.md": "D"})
    whole, listing = Path.open, folders.list_names

    def opened(path: Path, *arguments: Any) -> Any:
        if path.name == "b.md":
            raise PermissionError(13, "Permission denied", str(path))
        if path.name == "c.jsonl":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return whole(path, *arguments)

    def listed(folder: Path) -> list[str]:
        if folder.name == "sub":
            raise PermissionError(13, "Permission denied", str(folder))
        return listing(folder)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(folders, "list_names", listed)
    found, rejects, left = read(tmp_path)
    assert (titles(found), left) == (["a"], [])
    assert [(Path(reject.source).name, reject.reason) for reject in rejects] == [
        ("b.md", "cannot be read (Permission denied)"),
        ("c.jsonl", "cannot be read (No such file or directory)"),
        ("sub", "cannot be read (Permission denied)"),
    ]


def test_files_are_read_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {f"{n:03}.md": f"text {n}" for n in range(50)})
    opened: list[str] = []
    whole = Path.open
    monkeypatch.setattr(Path, "open", lambda path, *mode: (opened.append(path.name), whole(path, *mode))[1])
    found = tasks.run(str(tmp_path))
    assert [next(found).task.name for _ in range(3)] == ["000", "001", "002"]
    assert len(opened) < 5


def test_several_sources_of_different_kinds_are_read_in_their_order_and_the_same_content_once(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"a.md": "A", "folder/b.txt": "B", "folder/copy.md": "A", "folder/again.jsonl": to_json(Record(task=a_task()))},
    )
    lines = [a_line(a_task("Two"), [True, False], sample=n) for n in range(2)]
    fill(tmp_path, {"lines.jsonl": "\n".join(map(to_json, [Record(task=a_task()), *lines, lines[0]]))})
    found, rejects, left = read(tmp_path / "lines.jsonl", tmp_path / "a.md", tmp_path / "folder", tmp_path / "a.md")
    assert titles(found) == [a_task().title, "Two", "Two", "Two", "a", "b"]  # lines of one file stay as they are
    assert rejects == []
    assert kinds(left) == [("again.jsonl", "twice"), ("copy.md", "twice"), ("a.md", "twice")]
    assert left[1].reason == f"copy is in {tmp_path / 'a.md'} already"


def test_ids_samples_and_solutions_reach_over_all_sources(tmp_path: Path) -> None:
    unsolved = {**GRIDS, "test": [{"input": [[3]]}]}
    fill(tmp_path, {"a/one.json": unsolved, "b.json": {"two": unsolved, "three": unsolved}})
    fill(tmp_path, {"s.json": {"one": [[[1]]], "three": [[[2]]]}, "other.json": {"four": [[[1]]]}})
    sources = (tmp_path / "a", tmp_path / "b.json")
    found, _, _ = read(*sources, ids=["three", "one"], solutions=tmp_path / "s.json")
    outputs = {record.task.id: record.task.test[0].output for record in found}  # type: ignore[union-attr]
    assert outputs == {"one": ((1,),), "three": ((2,),)}
    samples = [titles(read(*sources, sample=tasks.Sample(1, skip=skip))[0]) for skip in range(3)]
    assert sorted(name for sample in samples for name in sample) == ["one", "three", "two"]
    with pytest.raises(
        BadConfig, match=r"--solutions .*other.json: has no solution of one or any other task of .*one.js"
    ):
        read(*sources, solutions=tmp_path / "other.json")
    with pytest.raises(BadConfig, match=r"--ids four: no task has this id"):
        read(*sources, ids=["four"])


@pytest.mark.parametrize("in_folder", [True, False])
def test_rows_of_a_passage_in_several_files_are_one_task(tmp_path: Path, in_folder: bool) -> None:
    fill(
        tmp_path,
        {"a.jsonl": row("Ada"), "b.jsonl": {**row("Ada", "Why?"), "extra": 5}, "c.json": [row("Ada"), row("Bo")]},
    )
    found, _, left = read(*([tmp_path] if in_folder else sorted(tmp_path.iterdir())))
    assert [(record.task.name, len(record.task.questions)) for record in found] == [("Ada", 2), ("Bo", 1)]  # type: ignore[union-attr]
    assert kinds(left) == [("c.json", "twice")]


def test_a_file_of_rows_that_is_given_twice_is_read_once(tmp_path: Path) -> None:
    path = fill(tmp_path, {"a.jsonl": row("Ada")}) / "a.jsonl"
    (record,), _, left = read(path, path)
    assert (len(record.task.questions), kinds(left)) == (1, [("a.jsonl", "twice")])  # type: ignore[union-attr]


def test_sources_of_which_one_has_only_rows_without_an_answer_are_read(tmp_path: Path) -> None:
    fill(tmp_path, {"a.jsonl": {**row("Ada"), "answers": []}, "b.jsonl": row("Bo")})
    found, _, left = read(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert (titles(found), len(left)) == (["Bo"], 2)
    with pytest.raises(BadInput, match=r"a.jsonl: no task in it: its one question has no answer; --unanswerable keep"):
        read(tmp_path / "a.jsonl")
    with pytest.raises(BadInput, match=r"b.jsonl: no task in it; give another source"):
        read(tmp_path / "a.jsonl", fill(tmp_path, {"b.jsonl": ""}) / "b.jsonl")


def test_a_row_with_one_answer_keeps_its_question(tmp_path: Path) -> None:
    flat = {"title": "T", "context": "C", "question": "Who?", "answer": "Ada"}
    for name, content in (("flat.json", [flat]), ("one.json", flat), ("lines.jsonl", flat)):
        (record,), _, _ = read(fill(tmp_path, {name: content}) / name)
        assert [(q.question, q.answer) for q in record.task.questions] == [("Who?", "Ada")]  # type: ignore[union-attr]


def test_arc_files_of_a_folder_are_read_with_their_solutions_and_a_name_stands_for_one_task(tmp_path: Path) -> None:
    open_task = {**GRIDS, "test": [{"input": [[3]]}]}
    fill(tmp_path, {"x_challenges.json": {"one": open_task}, "x_solutions.json": {"one": [[[4]]]}, "y/one.json": GRIDS})
    fill(tmp_path, {"z/one.json": open_task, "z/lonely_solutions.json": {"one": [[[4]]]}})
    found, (reject,), left = read(tmp_path)
    assert [to_json(record) for record in found] == [to_json(next(tasks.run(str(tmp_path / "y" / "one.json"))))]
    assert reject.reason == f"one: another task is called so in {tmp_path / 'x_challenges.json'}; rename one of them"
    assert kinds(left) == [("one.json", "twice"), ("lonely_solutions.json", "ARC's solutions")]


def test_self_edits_of_an_arc_task_lie_beside_the_task_itself(tmp_path: Path) -> None:
    (task,), _, _ = read(fill(tmp_path, {"one.json": GRIDS}) / "one.json")
    fill(tmp_path, {"edits.jsonl": to_json(task.grow(edit=an_edit(a_task()))), "zz.jsonl": to_json(task)})
    found, rejects, left = read(tmp_path)
    assert [record.edit is None for record in found] == [False, True]
    assert (rejects, kinds(left)) == ([], [("zz.jsonl", "twice")])


def test_a_split_picks_the_files_that_are_called_so(tmp_path: Path) -> None:
    fill(tmp_path, {"train.jsonl": row("A"), "data/validation-00000.jsonl": row("B"), "training/c.jsonl": row("C")})
    told: list[str] = []
    assert len(read(tmp_path, note=told.append)[0]) == 3
    assert told == [f"{tmp_path} has files of train and validation, and all are read; --split NAME takes one"]
    fill(tmp_path / "arc", {"training.json": GRIDS, "test.json": {"two": GRIDS}})
    read(tmp_path / "arc", note=told.append)
    assert len(told) == 1
    found, _, left = read(tmp_path, split="validation")
    assert (titles(found), [omission.kind for omission in left]) == (["B"], ["not of the split validation"] * 4)
    with pytest.raises(BadConfig, match=r"--split test: only for a dataset or a folder, which .*train.jsonl is not"):
        read(tmp_path / "train.jsonl", split="test")


def test_a_folder_of_a_model_or_an_adapter_is_no_source_nor_part_of_one(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"model/config.json": {"model_type": "x"}, "model/tokenizer.json": "{}", "model/README.md": "A model."},
    )
    fill(tmp_path, {"adapter/adapter_config.json": {"peft_type": "LORA"}, "a.md": "A"})
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects) == (["a"], [])
    assert kinds(left) == [("adapter", "PEFT adapter"), ("model", "model")]
    with pytest.raises(BadInput, match="model: a model; a model is given with --model "):
        read(tmp_path / "model")
    with pytest.raises(BadInput, match="adapter: a PEFT adapter; `seal eval LINES` takes adapters"):
        read(tmp_path / "adapter")


def test_tables_alone_are_a_dataset_and_its_readme_is_none(tmp_path: Path) -> None:
    fill(tmp_path, {"README.md": "# Cards", "data/train-0.parquet": b"PAR1"})
    assert folders.holds_tables(tmp_path)
    fill(tmp_path, {"notes.md": "N"})
    assert not folders.holds_tables(tmp_path)
    assert not folders.holds_tables(fill(tmp_path / "other", {"README.md": "# Read", "prices.csv": "1,2"}))


def test_endings_that_are_told_to_users_are_those_that_are_read(tmp_path: Path) -> None:
    fill(tmp_path, {f"{n}{ending}": f"text {n}" for n, ending in enumerate(TEXT_SUFFIXES)})
    assert len(read(tmp_path)[0]) == len(TEXT_SUFFIXES)
