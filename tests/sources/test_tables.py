"""Tables: CSV, parquet and Arrow as rows, whatever their folder is called, and the user's own names of columns."""

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import tasks
from stages.errors import BadConfig, BadInput, MissingInput, SealError
from stages.records.jsonl import Reject, to_json
from stages.records.record import Record
from stages.sources.documents import ReadContext
from stages.sources.opening import open_stream
from tests.sources.bad_input import row
from tests.sources.test_folders import fill, read, titles

HEADER = "title,context,question,answer\n"
BUILDERS = ("json", "csv", "text", "parquet", "imagefolder", "webdataset", "arrow", "xml", "pandas", "lance")


def stored(rows: list[Mapping[str, Any]], ending: str = ".parquet", names: Sequence[str] = ()) -> bytes:
    """The rows as a file of that kind: .arrow as `datasets` writes it, .feather as pandas does."""
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    table = table.rename_columns([*names]) if names else table
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, sink)
    else:
        kind = pa.ipc.new_stream if ending == ".arrow" else pa.ipc.new_file
        with kind(sink, table.schema) as writer:
            writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def container(rows: list[Mapping[str, Any]], name: str) -> bytes | str:
    """The rows as a file of such a name."""
    ending = Path(name).suffix
    if ending in (".parquet", ".arrow"):
        return stored(rows, ending)
    if ending == ".json":
        return json.dumps(rows)
    if ending == ".jsonl":
        return "".join(json.dumps(each) + "\n" for each in rows)
    gap = "\t" if ending == ".tsv" else ","
    cells = [
        [f'"{value}"' if isinstance(value, str) else json.dumps(value) for value in each.values()] for each in rows
    ]
    return "\n".join(gap.join(line) for line in [list(rows[0]), *cells]) + "\n"


def asked(records: list[Record]) -> list[tuple[str, str]]:
    return [(each.question, each.answer) for record in records for each in record.task.questions]  # type: ignore[union-attr]


CONTAINERS = ("a.csv", "a.tsv", "a.parquet", "a.arrow", "a.json", "a.jsonl")
FLAT = {"title": "T", "context": "One, two.", "question": "Who?", "answer": "Ada"}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("in_folder", [False, True])
def test_rows_are_read_from_every_container(tmp_path: Path, name: str, in_folder: bool) -> None:
    fill(tmp_path, {f"data/{name}": container([FLAT, {**FLAT, "question": "Why?"}], name)})
    found, rejects, _ = read(tmp_path / "data" if in_folder else tmp_path / "data" / name)
    assert (asked(found), rejects) == ([("Who?", "Ada"), ("Why?", "Ada")], [])


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("in_folder", [False, True])
def test_own_names_of_columns_stand_for_the_layouts(tmp_path: Path, name: str, in_folder: bool) -> None:
    rows = [{"name": "T", "passage": "One, two.", "q": "Who?", "title": "other", "a": "Ada", "number": "7"}]
    fill(tmp_path, {f"data/{name}": container(rows, name)})
    own = {"title": "name", "context": "passage", "question": "q", "answer": "a", "id": "number"}
    source = tmp_path / "data" if in_folder else tmp_path / "data" / name
    (record,), _, _ = read(source, columns=own)
    assert (record.task.name, asked([record])) == ("T", [("Who?", "Ada")])
    assert record.task.questions[0].id == "7"  # type: ignore[union-attr]
    with pytest.raises(SealError) as caught:
        list(tasks.run(str(source), columns={**own, "question": "query"}))
    words = "--column question=query: no column query; it has name, passage, q, title, a, number"
    assert words in str(caught.value)


def test_a_name_that_no_row_has_or_that_nothing_asks_for_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": "A text."})
    with pytest.raises(BadConfig, match="--column questoin=q: the columns of tasks are id, title, context, question"):
        tasks.run(str(tmp_path), columns={"questoin": "q"})
    with pytest.raises(BadConfig, match=r"--column question=q: only for rows, as in .csv, .parquet or .jsonl; "):
        list(tasks.run(str(tmp_path / "a.md"), columns={"question": "q"}))


def test_what_is_bad_is_said_before_the_names_that_it_might_have_had(tmp_path: Path) -> None:
    fill(tmp_path, {"data/a.csv": "caf\xe9".encode("latin-1")})
    with pytest.raises(BadInput, match=r"a\.csv: not UTF-8"):
        list(tasks.run(str(tmp_path / "data"), columns={"question": "q"}))


def test_two_columns_may_change_places_and_one_stand_for_two(tmp_path: Path) -> None:
    fill(tmp_path, {"a.csv": HEADER + "T,C,Ada,Who?\n"})
    found, _, _ = read(tmp_path / "a.csv", columns={"question": "answer", "answer": "question", "id": "title"})
    assert (titles(found), asked(found)) == (["T"], [("Who?", "Ada")])


def test_an_own_column_of_answers_goes_before_the_other_one(tmp_path: Path) -> None:
    fill(tmp_path, {"a.jsonl": json.dumps({**row("Ada"), "short": "she"})})
    assert asked(read(tmp_path / "a.jsonl", columns={"answer": "short"})[0]) == [("Who?", "she")]


@pytest.mark.parametrize("name", BUILDERS)
def test_a_folder_called_like_a_builder_is_a_folder(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"beside.csv": HEADER + "Beside,C,Q,A\n", "beside.parquet": stored([{**FLAT, "title": "Beside"}])})
    fill(tmp_path, {f"{name}/train.parquet": stored([FLAT])})
    monkeypatch.chdir(tmp_path)
    assert titles(read(name)[0]) == ["T"]


def test_a_builders_name_without_a_folder_reads_nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, {"beside.csv": HEADER + "Beside,C,Q,A\n"})
    monkeypatch.chdir(tmp_path)
    for name in ("csv", "imagefolder", "text"):
        with pytest.raises(MissingInput, match=f"{name}: no such file or folder; a dataset is called OWNER/NAME"):
            tasks.run(name)


def test_fields_of_text_stay_as_they_stand(tmp_path: Path) -> None:
    answers = ["NA", "1874", "007", "true", "None", "1e5"]
    fill(tmp_path, {"a.csv": HEADER + "".join(f"T,C,Q{n},{answer}\n" for n, answer in enumerate(answers))})
    assert [answer for _, answer in asked(read(tmp_path / "a.csv")[0])] == answers


@pytest.mark.parametrize(
    "content",
    [
        HEADER.replace(",", ";") + "T;One, two;Who?;Ada\n",
        HEADER.replace(",", "\t") + "T\tOne, two\tWho?\tAda\n",
        "\ufeff" + HEADER + 'T,"One, two",Who?,Ada\n',
        HEADER.replace("\n", "\r\n") + '\r\nT,"One, two",Who?,Ada\r\n',
        "\n" + HEADER + 'T,"One, two",Who?,Ada',
        "\ufeffsep=;\r\n" + HEADER.replace(",", ";") + "T;One, two;Who?;Ada\r\n",  # as Excel has them
        '"sep=,"\n' + HEADER + 'T,"One, two",Who?,Ada\n,,,\n , ,,\n',
        (HEADER + 'T,"One, two",Who?,Ada\n').replace("\n", "\r"),
    ],
)
def test_other_delimiters_and_ends_of_lines_are_seen(tmp_path: Path, content: str) -> None:
    (record,), _, _ = read(fill(tmp_path, {"a.csv": content}) / "a.csv")
    streamed = open_stream(BytesIO(content.encode()), "stdin", reading := ReadContext())
    for found in ([record], [*streamed, *reading.rows.take()]):
        assert (found[0].task.context, asked(found)) == ("One, two", [("Who?", "Ada")])  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("\"{'text': ['Ada'], 'answer_start': [0]}\"", "Ada"),  # as pandas prints a dict
        ('"{""text"": [""Ada""]}"', "Ada"),
        ("\"{'text': array(['Ada'], dtype=object)}\"", "Ada"),
        ("\"{'text': ['Ada' 'Bo']}\"", "Ada"),  # as numpy prints two, which Python reads as one
        ("\"{'text': ['Ada' ... 'Bo']}\"", None),
        ("[so it is said]", None),
    ],
)
def test_answers_in_a_field_are_read_or_refused_but_never_guessed(
    tmp_path: Path, field: str, answer: str | None
) -> None:
    fill(tmp_path, {"a.csv": f"title,context,question,answers\nT,C,Who?,{field}\nT,C,Why?,\"{{'text': ['so']}}\"\n"})
    found, rejects, _ = read(tmp_path / "a.csv")
    assert asked(found) == [*([("Who?", answer)] if answer else []), ("Why?", "so")]
    assert len(rejects) == (answer is None)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", b"", "empty"),
        ("a.csv", b"\xef\xbb\xbf\n", "empty"),
        ("a.csv", "title,context\nHarb\xf6ur,C\n".encode("latin-1"), "not UTF-8 (byte 18); if it is Latin-1: iconv "),
        ("a.csv", "title,context\n".encode("utf-16"), "not UTF-8 (byte 0) but UTF-16; convert it: iconv -f UTF-16"),
        ("a.csv", "title,context\n".encode("utf-16-le"), "not UTF-8 (byte 0) but UTF-16; convert it: iconv -f UTF-16"),
        ("a.csv", "title,title,context\n", "two columns are called title; rename one of them"),
        ("a.csv", "title,context\n".encode("utf-32"), "not UTF-8 (byte 0) but UTF-32; convert it: iconv -f UTF-32 "),
        ("a.csv", "title,context\n".encode("utf-16-be"), "not UTF-8 (byte 0) but UTF-16, big-endian; convert it: "),
        ("a.csv", "q,a\n1,2\n", "no column title, context, question, answers; it has q, a; --column title=NAME says"),
        ("a.csv", "title,context,question\n1,2,3\n", "no column answers; it has title, context, question; --column"),
        ("a.csv", "title,context,answer\n1,2,3\n", "no column question; it has title, context, answer; --column q"),
        ("a.csv", HEADER + 'T,C,Q,"A\n', "line 2: no CSV (unexpected end of data): a quotation mark in a field is "),
        ("a.parquet", b"", "empty"),
        ("a.parquet", b"hello there", "no parquet file, whatever its ending says"),
        ("a.parquet", stored([FLAT])[:-30], "not a whole parquet file: cut off or damaged (Parquet magic bytes "),
        ("a.parquet", stored([{"q": "x"}]), "no column title, context, question, answers; it has q; --column title"),
        ("a.parquet", stored([FLAT], names=(*"abc", "c")), "two columns are called c; rename one of them"),
        ("a.parquet.gz", gzip.compress(stored([FLAT]), mtime=0), "a gzip file; unpack it first: gunzip -k "),
        ("a.arrow", stored([FLAT], ".arrow")[:-600], "not a whole Arrow file: cut off or damaged ("),
        ("a.arrow", stored([FLAT], ".feather")[:-30], "not a whole Arrow file: cut off or damaged ("),
    ],
)
def test_a_table_that_is_none_is_one_sentence(tmp_path: Path, name: str, content: bytes | str, words: str) -> None:
    fill(tmp_path, {f"alone/{name}": content})
    for source in (tmp_path / "alone", tmp_path / "alone" / name)[: 1 if words == "empty" else 2]:
        with pytest.raises(BadInput) as caught:
            list(tasks.run(str(source)))
        assert str(caught.value).startswith(f"{tmp_path}/alone/{name}: {words}")
        assert str(caught.value).isprintable()


def test_a_bad_table_costs_itself_and_a_bad_row_the_row(tmp_path: Path) -> None:
    fill(tmp_path, {"a.csv": HEADER + "T,C,Who?,Ada\nT,C\nT,,Why?,x\nT,C,When?,now\n", "b.parquet": b"PAR1"})
    found, rejects, _ = read(tmp_path)
    assert asked(found) == [("Who?", "Ada"), ("When?", "now")]
    assert [reject.reason[:38] for reject in rejects] == [
        "line 3: 2 fields, but there are 4 colu",
        "line 4: no 'context' (it is null); kno",
        "not a whole parquet file: cut off or d",
    ]


def test_a_column_called_task_that_holds_words_is_somebody_elses(tmp_path: Path) -> None:
    fill(tmp_path, {"a.csv": "task,title,context,question,answer\nqa,T,C,Who?,Ada\n"})
    assert asked(read(tmp_path / "a.csv")[0]) == [("Who?", "Ada")]


def test_tables_of_one_folder_may_have_other_columns_and_kinds(tmp_path: Path) -> None:
    fill(tmp_path, {"a.parquet": stored([row("Ada")]), "b.parquet": stored([{**row("Bo"), "extra": 5}])})
    fill(tmp_path, {"c.csv": HEADER + "Cy,C,Q,A\n", "d.jsonl": json.dumps(row("Di"))})
    assert titles(read(tmp_path)[0]) == ["Ada", "Bo", "Cy", "Di"]


def test_passages_without_questions_are_told(tmp_path: Path) -> None:
    told: list[str] = []
    fill(tmp_path, {"wiki.parquet": stored([{"title": "T", "text": "A passage.", "url": "u"}])})
    found, _, _ = read(tmp_path, columns={"context": "text"}, note=told.append)
    assert [(record.task.name, asked([record])) for record in found] == [("T", [])]
    assert told == [f"{tmp_path}/wiki.parquet: no column question, so that its passages are tasks without questions"]


@given(st.lists(st.sampled_from([*'",;\t\n\r|', "title", "context", "question", "answer", "é", "\0"]), max_size=40))
@settings(deadline=None, max_examples=200)
def test_any_text_is_rows_rejects_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_text(HEADER * (len(parts) % 2) + "".join(parts), encoding="utf-8")
    rejects: list[Reject] = []
    try:
        list(tasks.run(str(path), refuse=rejects.append))
    except BadInput as error:
        assert str(error).startswith(f"{path}: ")
    assert all(reject.reason.isprintable() for reject in rejects)


def test_meta_of_a_table_is_json_whatever_its_values_are(tmp_path: Path) -> None:
    meta = {"at": datetime(2026, 1, 2), "none": math.nan, "much": math.inf, "raw": b"x", "deep": [{"n": 1}]}
    (record,), _, _ = read(fill(tmp_path, {"a.parquet": stored([{**FLAT, "meta": meta}])}) / "a.parquet")
    assert json.loads(to_json(record))["meta"] == {
        "at": "2026-01-02 00:00:00",
        "none": None,
        "much": "inf",
        "raw": "b'x'",
        "deep": [{"n": 1}],
    }
