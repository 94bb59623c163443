"""What a file is that is neither a source nor lines is said with the next command, whatever bytes it holds."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seal_cli.runs.stdio import input_records
from stages.errors import BadInput, MissingInput
from stages.file_kinds import BYTES, KEYS, TEXT_SUFFIXES, check_lines
from stages.records.jsonl import Reject, to_json
from stages.records.record import Record
from tests.invented import a_line, a_task
from tests.records.bad_lines import TASK

RECORD = to_json(a_line(a_task(), [True, None])).encode()


def refusal(tmp_path: Path, content: bytes, name: str = "file.jsonl") -> str:
    """What a stage that reads JSON lines says of the file."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        list(input_records(path))
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x1f\x8b\x08\x00rest", "file.jsonl: a gzip file; unpack it first: gunzip -k file.jsonl"),
        (b"PAR1\x15\x04", "file.jsonl: a parquet file; make tasks of it: seal tasks file.jsonl"),
        (b"SQLite format 3\x00\x10", "file.jsonl: a sqlite file, as the judge's cache is; a cache is given with --ca"),
        (b"%PDF-1.7\n", "file.jsonl: a PDF; make tasks of it: seal tasks file.jsonl"),
        (b"PK\x03\x04\x14", "file.jsonl: a zip archive, as .xlsx and .pt are; unpack it (unzip file.jsonl); .docx and"),
        ((64).to_bytes(8, "little") + b'{"a": {"dtype"', "file.jsonl: weights (safetensors); a model is given by its"),
        ("[{}]".encode("utf-16"), "file.jsonl: not UTF-8 (byte 0) but UTF-16; convert it: iconv -f UTF-16 -t UTF-8 "),
        (b'{\n "a": 1\n}\n', "file.jsonl: a JSON document over several lines, not an object on each line; make tas"),
        (b'{"a": 1,\r\n "b": [\r\n', "file.jsonl: a JSON document over several lines, "),
        (b'{\n "a": 1\n}\n{\n "a": 2\n}\n', "file.jsonl: a JSON document over several lines, "),  # as jq prints it
        (b'[{"a": 1},\n{"a": 2}]', "file.jsonl: a JSON list, not an object on each line; make tasks of it with `seal"),
        (b'[{"a": 1}, {"a": 2}]', "file.jsonl: a JSON list, "),
        (
            b'[{"task": {"context": "c"}}]',
            "file.jsonl: a JSON list, not an object on each line; make lines of it with `jq",
        ),
        (
            b'[{"prompt": "p",\n "completion": "c"}]',
            "file.jsonl: a JSON list, not an object on each line; make lines of",
        ),
        (
            b'{\n "messages": []\n}',
            "file.jsonl: a JSON document over several lines, not an object on each line; make lin",
        ),
        (b'{\n "stage": "tasks",\n "command": [],\n "settings": {},\n "digest": ""\n}', "file.jsonl: a manifest, whic"),
        (b'{\n "peft_type": "LORA"\n}', "file.jsonl: the configuration of a PEFT adapter; `seal eval LINES` takes"),
        (b'{\n "model_type": "qwen3"\n}', "file.jsonl: the configuration of a model; a model is given by its folder"),
        (b"Read this.\n{title}\n{context}\nNotes:\n", "file.jsonl: a prompt template, with {title} and {context} in "),
        (b'{"007bbfb7": [[[1, 0], [0, 1]]]}', "file.jsonl:1: ARC's solutions; give the challenges: `seal tasks CHA"),
        (b'{"custom_id": "a", "method": "POST"}', "file.jsonl:1: calls or answers of a batch service; answers are g"),
    ],
)
def test_a_stage_that_reads_lines_says_what_else_a_file_is(tmp_path: Path, content: bytes, words: str) -> None:
    assert refusal(tmp_path, content).startswith(words)


def test_the_way_names_the_file_as_a_shell_takes_it(tmp_path: Path) -> None:
    path = str(tmp_path / "two words")
    with pytest.raises(BadInput, match=f"gunzip -k .{path}.$"):
        list(check_lines([b"\x1f\x8b"], path))


def test_a_name_with_a_place_of_the_way_in_it_stays(tmp_path: Path) -> None:
    assert refusal(tmp_path, b"\x1f\x8b", "{folder}.gz").endswith("gunzip -k '{folder}.gz'")


@pytest.mark.parametrize("suffix", TEXT_SUFFIXES)
def test_a_text_is_told_to_become_a_task(tmp_path: Path, suffix: str) -> None:
    words = f"notes{suffix}: a text, not JSON lines; make a task of it: `seal tasks notes{suffix} | seal generate"
    assert refusal(tmp_path, b"# Ada\n\nAda built a bridge.\n", f"notes{suffix}").startswith(words)


@pytest.mark.parametrize("name", ["lines.jsonl", "lines.txt", "lines.csv", "lines"])
def test_lines_are_read_whatever_their_file_is_called(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\n" + RECORD + b"\n" + RECORD)
    assert len(list(input_records(tmp_path / name))) == 2


@pytest.mark.parametrize(
    "content",
    [
        RECORD[:-9] + b"\n" + RECORD,  # torn outside of a string
        RECORD[:40] + b"\n" + RECORD,  # and inside
        RECORD[:-9],
        b"{\n{\n" + RECORD,
        b"oops {title} {context}\n" + RECORD,
        b'{"a": [1\n' + RECORD,
    ],
)
def test_a_torn_first_line_costs_itself_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl"
    path.write_bytes(content)
    rejects: list[Reject] = []
    found = list(input_records(path, refuse=rejects.append))
    assert len(found) == content.count(b"\n" + RECORD)
    assert [reject.line for reject in rejects] == list(range(1, len(rejects) + 1))


def test_nothing_is_read_ahead_of_a_good_first_line() -> None:
    def lines() -> Any:
        yield RECORD + b"\n"
        raise AssertionError("read ahead")

    assert next(check_lines(lines(), "stdin")) == RECORD + b"\n"


def test_every_kind_of_the_tables_is_one_line_with_a_way() -> None:
    for kind in [kind for _, kind in BYTES] + [kind for _, kind in KEYS]:
        told = kind.tell("a b/c.jsonl")
        assert told.startswith(kind.name) and told.isprintable() and len(told) < 200
        assert "{file}" not in told and "{folder}" not in told and "{lines}" not in told


STARTS = st.sampled_from(
    [start for start, _ in BYTES] + [b"{\n", b"[\n{", b'[{"', b'{"', RECORD, TASK, b"{title}{context}"]
)


@given(st.lists(st.binary(max_size=9) | STARTS | st.sampled_from([b"\n", b"}", b"]", b" ", b'"a": 1']), max_size=9))
@example([b"[" * 100_000])
@example([b"{\n" * 900])
@example([b"[" * 70_000, b"\n", b"["])
@settings(deadline=None, max_examples=200)
def test_any_bytes_are_records_rejects_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(b"".join(parts))
    rejects: list[Reject] = []
    try:
        assert all(isinstance(record, Record) for record in input_records(path, refuse=rejects.append))
    except BadInput as error:
        assert str(error).startswith(f"{path}: ") and str(error).isprintable()


def test_a_folder_is_said_to_be_a_model_or_an_adapter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(BadInput, match=r"a folder; give a file of JSON lines \(a model; a model is given with --model"):
        input_records(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"\(a PEFT adapter; `seal eval LINES` takes adapters from the lines"):
        input_records(tmp_path)
    with pytest.raises(BadInput, match=r"a folder; give a file of JSON lines, or make some: seal tasks "):
        input_records(tmp_path.parent)


def test_a_file_that_is_not_there_is_named_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "edits.jsonl").write_bytes(RECORD)
    with pytest.raises(MissingInput, match=rf"edit.jsonl: no such file; did you mean {tmp_path}/edits.jsonl\?"):
        input_records(tmp_path / "edit.jsonl")
