"""A file and a stream as a source: JSON or text, or what else it is; and paths that are not there."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages import tasks
from stages.errors import BadConfig, BadInput, MissingInput
from stages.records.jsonl import to_json
from stages.records.record import Record
from tests.invented import a_line, a_task
from tests.sources.test_folders import GRIDS, fill, read, titles


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"one": [[[4]]]},
            "source.json: ARC's solutions; give the challenges: `seal tasks CHALLENGES.json --solutions ",
        ),
        ('{"prompt": "p", "completion": "c"}', "source.json: an object with prompt, completion; known are"),
        (
            '{\n"a": 1\n}\n{\n"a": 2\n}',
            "source.json: not JSON: Extra data at line 4, column 1; several documents become",
        ),
        ('{"a": 1}{"a": 2}', "source.json: not JSON: Extra data at column 9; several objects in a line become lines w"),
        ({"model_type": "x"}, "source.json: the configuration of a model; a model is given by its folder"),
        (b"PAR1", "source.json: not a whole parquet file: cut off or damaged ("),
        ([], "source.json: no task in it; give another source, or --allow-empty where none is right"),
    ],
)
def test_a_file_that_is_no_source_is_called_by_its_name(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(fill(tmp_path, {"source.json": content}) / "source.json")
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(words)


def test_a_prompt_template_and_training_pairs_are_called_so(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {"t.txt": "Read.\n{title}\n{context}\n", "sft.jsonl": {"prompt": "p", "completion": "c"}, "a.csv": "1"},
    )
    for name, words in (
        ("t.txt", "a prompt template, with"),
        ("sft.jsonl", "training pairs; train"),
        ("a.csv", "no column title, context, question, answers; it has 1; --column title=NAME says which"),
    ):
        with pytest.raises(BadInput, match=f"{name}: {words}"):
            read(tmp_path / name)


def test_a_document_over_several_lines_is_read_whatever_its_ending(tmp_path: Path) -> None:
    own = {"title": "T", "context": "C", "questions": []}
    record = json.loads(to_json(a_line(a_task("R"), [True, None])))
    for name, content in (("a.jsonl", own), ("b.json", own), ("c.jsonl", record), ("d.jsonl", [own, record["task"]])):
        path = fill(tmp_path, {name: json.dumps(content, indent=1)}) / name
        assert titles(read(path)[0])[0] in ("T", "R")


@pytest.mark.parametrize(
    "name", ["notes/adda.md", "notes/", "nots/ada.md", "notes/ada.txt", "nowhere.csv", "a b", "~/x"]
)
def test_a_path_that_is_not_there_is_missing_and_its_neighbours_are_named(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path, {"notes/ada.md": "A"}))
    near = {"notes/adda.md": "notes/ada.md", "nots/ada.md": "notes", "notes/ada.txt": "notes/ada.md"}.get(name)
    if name == "notes/":
        assert titles(read(name)[0]) == ["ada"]
        return
    with pytest.raises(MissingInput) as caught:
        read(name)
    assert str(caught.value) == f"{name}: no such file or folder" + (f"; did you mean {near}?" if near else "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("note", "; did you mean notes?; a dataset is called OWNER/NAME"),
        ("READM.md", "; did you mean README.md?"),
        ("gone.md", ", but a link to nothing"),
        ("x" * 300, ""),
        ("", " (is a variable of the shell not set?)"),
    ],
)
def test_a_name_that_is_like_one_here_is_no_dataset(
    tmp_path: Path, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path, {"notes/ada.md": "A", "README.md": "R"}))
    (tmp_path / "gone.md").symlink_to("nowhere")
    with pytest.raises(MissingInput) as caught:
        read(name)
    assert str(caught.value) == f"{name or repr(name)}: no such file or folder{words}"


def test_what_may_be_the_name_of_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fill(tmp_path, {"notes/ada.md": "A"}))
    named = (
        "squad",
        "rajpurkar/squad",
        "o/data-v1.1",
        "notes/x",
        "o/x.csv",
        "a/b/c",
        "./x",
        "o/x ",
        "squad.json",
        "notes",
    )
    assert [name for name in named if tasks.is_hub_name(name)] == ["squad", "rajpurkar/squad", "o/data-v1.1"]


def test_an_address_is_to_be_fetched_first() -> None:
    with pytest.raises(
        MissingInput, match=r"https://host/a\.json: an address; fetch it first: curl -LO https://host/a"
    ):
        read("https://host/a.json")


def test_one_missing_source_of_several_is_told_before_any_is_read(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"nowhere\.md: no such file or folder"):
        tasks.run(str(fill(tmp_path, {"a.md": "A"})), "nowhere.md")


PIECES = b'\n|}|]|{|[|,|\0|"title": "T"|"context": "C"|"question": 1|"train": [|"data": [|# H\n|\x1f\x8b|PAR1|\xff\xfe'
PARTS = st.binary(max_size=9) | st.sampled_from([*PIECES.split(b"|"), b"{title}{context}"])


@given(st.lists(PARTS, max_size=12))
@example([b"[" * 70_000, b"\n", b"["])
@example([b'{"a": ' * 70_000])
@settings(deadline=None, max_examples=60)
def test_any_bytes_in_any_file_or_stream_are_records_rejects_omissions_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any-bytes"
    names = ("any.json", "any.JSONL", "any.md", "any.csv", "any")
    fill(folder, dict.fromkeys(names, b"".join(parts)) | {"good.md": "good"})
    assert "good" in titles(read(folder)[0])
    for name in names:
        try:
            assert all(isinstance(record, Record) for record in read(folder / name)[0])
        except BadInput as error:
            assert str(error).startswith(f"{folder / name}: ") and str(error).isprintable()
    for title in (None, "T"):
        with contextlib.suppress(BadInput, BadConfig), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", Stdin(b"".join(parts)))
            assert all(isinstance(record, Record) for record in read("-", title=title)[0])


# ---- streams


class Stdin:
    """A stdin that is no terminal."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)

    def isatty(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("content", "title", "context"),
    [
        (b"# Ada #\n\nShe built it.", "Ada", "# Ada #\n\nShe built it."),
        (b"Intro\n\n## Bo\nx", "Bo", "Intro\n\n## Bo\nx"),
        (b"\xef\xbb\xbfAda\n===\ntext", "Ada", "Ada\n===\ntext"),
        (b"===\nAda\n===\ntext", "Ada", "===\nAda\n===\ntext"),
        (b"Ada B.\n---\ntext", "Ada B.", "Ada B.\n---\ntext"),
        (b"\n---\nAda\n---\ntext", "Ada", "---\nAda\n---\ntext"),
        (b"[a link](x) # no\n# Yes\n", "Yes", "[a link](x) # no\n# Yes"),
    ],
)
def test_a_text_on_stdin_has_its_first_heading_as_title(
    content: bytes, title: str, context: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(content))
    ((record,), rejects, _) = read("-")
    assert (record.task.name, record.task.context, rejects) == (title, context, [])  # type: ignore[union-attr]
    monkeypatch.setattr(sys, "stdin", Stdin(content))
    assert titles(read("-", title="Mine")[0]) == ["Mine"]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"no heading", BadConfig, "stdin: a text without a heading (# …): give --title TITLE"),
        (b"---\ntitle: x\n---\ntext", BadConfig, "stdin: a text without a heading"),
        (b"", BadInput, "stdin: no task in it; give another source, or --allow-empty where none is right"),
        (b"\n \n", BadInput, "stdin: no task in it"),
        (b"\x1f\x8b\x08", BadInput, "stdin: a gzip file; unpack it first: gunzip -k FILE"),
        (json.dumps(GRIDS).encode(), BadConfig, "stdin: an ARC task has no name there; give --title ID"),
        (b'{"model_type": 1}', BadInput, "stdin: the configuration of a model"),
    ],
)
def test_what_stdin_lacks_is_said(
    content: bytes, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(content))
    with pytest.raises(error) as caught:
        read("-")
    assert str(caught.value).startswith(words)


def test_documents_and_lines_come_on_stdin_beside_other_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"title": "Own", "context": "C", "questions": []}
    path = fill(tmp_path, {"a.md": "A"}) / "a.md"
    for content in (
        json.dumps([own], indent=1),
        json.dumps(own) + "\n" + json.dumps({**own, "title": "Two"}) + "\n",
        json.dumps(own, indent=2),
    ):
        monkeypatch.setattr(sys, "stdin", Stdin(content.encode()))
        assert titles(read(path, "-")[0])[:2] == ["a", "Own"]
    monkeypatch.setattr(sys, "stdin", Stdin(json.dumps(GRIDS).encode()))
    assert titles(read("-", title="0a1b")[0]) == ["0a1b"]
    monkeypatch.setattr(sys, "stdin", Stdin(json.dumps({"id": "0c", **GRIDS}).encode()))  # head -1 of lines
    assert titles(read("-")[0]) == ["0c"]
    with pytest.raises(BadConfig, match="--title T: only for what comes on stdin"):
        read(path, title="T")
    with pytest.raises(BadConfig, match="stdin can be read once"):
        read("-", "-")


def test_a_pipe_with_a_name_is_read_like_stdin() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"# Piped\ntext")
    os.close(theirs)
    try:
        assert titles(read(f"/dev/fd/{ours}")[0]) == ["Piped"]
    finally:
        os.close(ours)
