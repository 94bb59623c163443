"""Sources with something bad in them: it is told, and the rest is read."""

import json
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
