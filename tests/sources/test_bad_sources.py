"""Sources with something bad in them: it is told, and the rest is read."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest

from stages import tasks
from stages.errors import BadInput
from stages.records.jsonl import Reject, to_json
from tests.invented import a_line, a_task
from tests.records.bad_lines import TASK

OWN = {**json.loads(TASK), "title": "Ada"}


def split(tmp_path: Path, content: Any, name: str = "source.json") -> tuple[list[str], list[Reject]]:
    """The titles that are read, and the rejects."""
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    rejects: list[Reject] = []
    return [record.task.title for record in tasks.run(str(path), refuse=rejects.append)], rejects


def test_bad_lines_are_told_and_the_others_read(tmp_path: Path) -> None:
    good = json.dumps(OWN).encode()
    record = to_json(a_line(a_task("Bo"), [True, None])).encode()
    for name in ("a.jsonl", "a.ndjson", "a.json", "a.unknown"):
        titles, rejects = split(
            tmp_path, b"\n".join([b"{", good, b'{"title": 1}', record, b"\xff", b'{"task": 1}']), name
        )
        assert titles == ["Ada", "Bo"]
        assert [(reject.where, reject.raw) for reject in rejects] == [
            (f"{tmp_path / name}:1", b"{"),
            (f"{tmp_path / name}:3", b'{"title": 1}'),
            (f"{tmp_path / name}:5", b"\xff"),
            (f"{tmp_path / name}:6", b'{"task": 1}'),
        ]


def test_bad_entries_of_a_list_are_told_by_their_number_and_the_others_read(tmp_path: Path) -> None:
    content = json.dumps([OWN, 7, {**OWN, "title": "Bo"}]).replace("7", '7, {"title": 1, "title": 2}, [NaN], {"a": 1}')
    titles, rejects = split(tmp_path, content.encode())
    assert titles == ["Ada", "Bo"]
    assert {(reject.where, reject.line, reject.offset) for reject in rejects} == {(str(tmp_path / "source.json"), 0, 0)}
    assert [(reject.reason[:30], reject.raw) for reject in rejects] == [
        ("[1]: 7 is no passage; known ar", b"7"),
        ("[2]: the key 'title' occurs tw", b'{"title": 2}'),
        ("[3]: not JSON: NaN is not JSON", b'["NaN"]'),
        ("[4]: no 'context' (a); known a", b'{"a": 1}'),
    ]


def test_a_bad_text_of_a_folder_is_told_and_the_others_read(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"caf\xe9")
    (folder / "b\udcff.md").write_bytes(b"one\r\ntwo\rthree\n")
    rejects: list[Reject] = []
    (record,) = tasks.run(str(folder), refuse=rejects.append)
    assert (record.task.title, record.task.context) == ("b\ufffd", "one\ntwo\nthree")
    reason = "not UTF-8 (byte 3); if it is Latin-1: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    assert rejects == [Reject(str(folder / "a.txt"), 0, 0, reason, b"caf\xe9")]


def test_a_document_of_no_known_layout_stays_an_error(tmp_path: Path) -> None:
    for content in (b"{", b"3", b"[1, 2]", b"[NaN", b'{"data": [], "data": []}', b'{"rows": [NaN]}', b"\xff"):
        with pytest.raises(BadInput):
            split(tmp_path, content)


def test_one_line_of_a_jsonl_file_is_a_line_also_if_it_is_no_object(tmp_path: Path) -> None:
    for content in (b"3", b'{"a": 1, "a": 2}', b"null"):
        titles, (reject,) = split(tmp_path, content, "one.jsonl")
        assert (titles, reject.line) == ([], 1)


def test_a_passage_for_which_a_line_has_no_room_is_told_whatever_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.sources.texts.LONGEST", 1000)
    long = {**OWN, "title": "long", "context": "\\" * 501}  # each is two bytes of a line
    titles, (reject,) = split(tmp_path, [OWN, long])
    assert (titles, "1,004 bytes, too long for one passage; 1,000 are the most: split it" in reject.reason) == (
        ["Ada"],
        True,
    )
    _, (reject,) = split(tmp_path, long["context"].encode(), "long.txt")
    assert "too long for one passage" in reject.reason


def test_a_table_is_read_line_by_line_and_told_where_it_is_no_text_or_a_line_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = b'\n \nsep=;\nquestion;answer;context;title\nWho?;Ada;"one\r\ntwo";T\n'
    good = b"".join(b"Who %d?;Ada;C;T\n" % number for number in range(2000))
    titles, _ = split(tmp_path, start + good, "good.csv")
    assert titles == ["T", "T"]
    with pytest.raises(BadInput, match=rf"late.csv: not UTF-8 \(byte {len(start + good) + 5}\)"):
        split(tmp_path, start + good + b"Who x\xff?;Ada;C;T\n", "late.csv")
    with pytest.raises(BadInput, match=r"cut.csv.gz: a gzip file that is cut off"):
        split(tmp_path, gzip.compress(start + random.Random(0).randbytes(9).hex().encode() * 9999)[:-20], "cut.csv.gz")
    monkeypatch.setattr("stages.sources.datasets.tables.LONGEST", 1000)
    with pytest.raises(BadInput, match=r"long.csv: a line of more than 1,000 letters, too long for a row"):
        split(tmp_path, start + b"Who?;Ada;T;" + b"x" * 999 + b"\n", "long.csv")
    with pytest.raises(BadInput, match=r"line 507: no CSV \(field larger .*\): a quotation mark"):
        split(tmp_path, start + b'Who?;Ada;T;"' + b"x\n" * 999, "field.csv")


def test_a_document_that_is_too_large_to_be_read_whole_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.sources.documents._LARGEST", 99)
    with pytest.raises(BadInput, match=r"more than 99 bytes, too much for one document; give an object on each line"):
        split(tmp_path, gzip.compress(b"[" * 100), "bomb.json.gz")


def test_a_compressed_document_that_is_no_json_gets_no_advice_for_texts(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        split(tmp_path, gzip.compress(b'["'), "cut.json.gz")
    assert "seal tasks -" not in str(caught.value)
