"""The same passages and questions are the same tasks, byte for byte, whatever they are written and kept in."""

import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import tasks
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.records.task import make_task
from stages.sources.golds import parse_literal, read_gold_answers

Entry = dict[str, Any]
HARBOUR, MILL = "The “old” harbour, built in 1874\nby Ada Brook; 7\t% of Velm.", "A mill 水車 stands in Velm\u2028."
QUESTIONS: list[tuple[str, str, str, str, list[str]]] = [  # id, title, passage, question, gold answers
    ("q1", "Harbour", HARBOUR, "When was it built?", ["1874", "in 1874"]),
    ("q2", "Mill, the", MILL, 'What "stands" in Velm?', ["A mill", "mill 水車", 'it\'s a "mill"']),
    ("q3", "Harbour", HARBOUR, "Who built it?", ["Ada Brook", "Brook, Ada", "[Ada]", "O'Brook"]),
    ("q4", "Mill, the", MILL, "Where?", ["Velm"]),
]
GROUPED = [[each for each in QUESTIONS if each[2] == passage] for passage in (HARBOUR, MILL)]
EXPECTED = [
    make_task(group[0][1], group[0][2], [(each[3], each[4]) for each in group], [each[0] for each in group])
    for group in GROUPED
]


def numpy_text(golds: Sequence[str]) -> str:
    """As numpy prints an array of texts: blanks between them."""
    return f"[{' '.join(map(repr, golds))}]"


ANSWERS: Mapping[str, Callable[[list[str]], Entry]] = {  # how the answers stand beside a question
    "SQuAD's dict": lambda golds: {"answers": {"text": golds, "answer_start": [0] * len(golds)}},
    "list of texts": lambda golds: {"answers": golds},
    "list of dicts": lambda golds: {"answers": [{"text": gold, "answer_start": 1} for gold in golds]},
    "list under answer": lambda golds: {"answer": golds},
    "answer dict": lambda golds: {"answer": {"text": golds, "answer_start": [0] * len(golds)}},
    "TriviaQA's answer": lambda golds: {"answer": {"value": golds[0], "aliases": golds}},
    "answer and aliases": lambda golds: {"answer": golds[0], "aliases": golds},
    "our own": lambda golds: {"answer": golds[0], "other_answers": golds[1:]},
    "JSON in a text": lambda golds: {"answers": json.dumps({"text": golds, "answer_start": [1]})},
    "JSON list in a text": lambda golds: {"answers": json.dumps(golds, ensure_ascii=False)},
    "Python in a text": lambda golds: {"answers": repr({"text": golds, "answer_start": [1]})},
    "Python list in a text": lambda golds: {"answer": repr(golds)},
    "pandas' text of arrays": lambda golds: {
        "answers": f"{{'text': array({golds!r},\n      dtype=object), 'answer_start': array([1, 2], dtype=int32)}}"
    },
    "numpy's text": lambda golds: {"answers": numpy_text(golds)},
}


def rows(answers: Callable[[list[str]], Entry]) -> list[Entry]:
    return [
        {"id": name, "title": title, "context": passage, "question": question, **answers(golds)}
        for name, title, passage, question, golds in QUESTIONS
    ]


def passages(answers: Callable[[list[str]], Entry], key: str) -> list[Entry]:
    return [
        {
            "title": group[0][1],
            "context": group[0][2],
            key: [{"id": name, "question": question, **answers(golds)} for name, _, _, question, golds in group],
        }
        for group in GROUPED
    ]


def articles(answers: Callable[[list[str]], Entry]) -> list[Entry]:
    return [
        {"title": each["title"], "paragraphs": [{"context": each["context"], "qas": each["qas"]}]}
        for each in passages(answers, "qas")
    ]


LAYOUTS: Mapping[str, list[Entry]] = {
    **{f"rows, {name}": rows(answers) for name, answers in ANSWERS.items()},
    **{f"qas, {name}": passages(answers, "qas") for name, answers in ANSWERS.items()},
    "questions": passages(ANSWERS["list of texts"], "questions"),
    "qa_pairs": passages(ANSWERS["answer dict"], "qa_pairs"),
    "SQuAD's articles": articles(ANSWERS["list of dicts"]),
    "a list for each key": [
        {**each, "qas": {key: [qa[key] for qa in each["qas"]] for key in each["qas"][0]}}
        for each in passages(ANSWERS["list of texts"], "qas")
    ],
}


def lines(entries: Iterable[Entry]) -> bytes:
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in entries).encode()


def table(entries: Sequence[Entry], delimiter: str = ",") -> bytes:
    """As pandas writes it: what is no text as Python prints it."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    writer.writerows([list(entries[0]), *(list(each.values()) for each in entries)])
    return file.getvalue().encode()


def parquet(entries: Sequence[Entry]) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(list(entries)), sink)
    return bytes(sink.getvalue().to_pybytes())


FILES: Mapping[str, Callable[[Sequence[Entry]], bytes]] = {
    "list.json": lambda entries: json.dumps(entries, indent=1).encode(),
    "data.json": lambda entries: json.dumps({"version": "x", "data": entries}).encode(),
    "data.jsonl": lambda entries: lines([{"data": entries}]),
    "lines.jsonl": lines,
    "lines.ndjson": lambda entries: b"\xef\xbb\xbf" + lines(entries).replace(b"\n", b"\r\n"),
    "lines.json": lines,
    "lines.jsonl.gz": lambda entries: gzip.compress(lines(entries)),
    "list.json.gz": lambda entries: gzip.compress(json.dumps(entries).encode()),
    "rows.csv": table,
    "rows.csv.gz": lambda entries: gzip.compress(table(entries)),
    "rows.tsv": lambda entries: table(entries, "\t"),
    "rows.parquet": parquet,
}


def written(records: Iterable[Record]) -> list[str]:
    """The lines, those of one passage in the order of the passages: rows are gathered up to the end of a source."""
    texts = [to_json(record) for record in records]
    return sorted(texts, key=lambda text: text.index('"title": "Mill') if '"title": "Mill' in text else -1)


WANTED = [to_json(Record(task=task)) for task in EXPECTED]


def store(path: Path, entries: Sequence[Entry]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FILES[path.name](entries))
    return path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tasks_are_the_same_in_every_layout_and_file(tmp_path: Path, layout: str, name: str) -> None:
    path = store(tmp_path / "data" / name, LAYOUTS[layout])
    assert written(tasks.run(str(path))) == WANTED
    assert written(tasks.run(str(path.parent))) == WANTED


@pytest.mark.parametrize("name", ["list.json", "data.json", "lines.jsonl", "rows.csv", "rows.tsv"])
@pytest.mark.parametrize("layout", ["rows, SQuAD's dict", "qas, TriviaQA's answer", "SQuAD's articles"])
def test_the_tasks_are_the_same_from_a_stream(layout: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(FILES[name](LAYOUTS[layout])), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stream)
    assert written(tasks.run("-")) == WANTED


@pytest.mark.parametrize("layout", ["rows, SQuAD's dict", "rows, list of texts", "qas, list of dicts"])
def test_the_tasks_are_the_same_from_what_datasets_keeps(tmp_path: Path, layout: str) -> None:
    import datasets

    datasets.disable_progress_bars()
    kept = datasets.Dataset.from_list(LAYOUTS[layout])
    kept.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": kept}).save_to_disk(tmp_path / "several")
    kept.to_csv(tmp_path / "rows.csv")
    kept.to_json(tmp_path / "rows.jsonl")
    for name in ("one", "several", "rows.csv", "rows.jsonl"):
        assert written(tasks.run(str(tmp_path / name))) == WANTED


def test_a_file_that_pandas_wrote_from_parquet_has_its_answers(tmp_path: Path) -> None:
    import pandas as pd

    for layout in ("rows, SQuAD's dict", "rows, list of texts"):
        pd.read_parquet(store(tmp_path / "rows.parquet", LAYOUTS[layout])).to_csv(tmp_path / "rows.csv")
        assert written(tasks.run(str(tmp_path / "rows.csv"))) == WANTED


GOLD = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(lambda x: x.strip())
SEEN = st.lists(GOLD.map("a{}b".format), min_size=1, max_size=4, unique=True)


@given(SEEN, st.sampled_from(sorted(ANSWERS)))
@settings(deadline=None)
def test_any_texts_are_read_back_from_any_way_to_write_them(golds: list[str], way: str) -> None:
    assert read_gold_answers({"question": "q", **ANSWERS[way](golds)}, may_be_blank=False) == golds


@given(st.text(max_size=30) | st.lists(st.sampled_from("[]{}()'\",: a1.\\"), max_size=12).map("".join))
@settings(deadline=None)
def test_what_is_no_literal_is_a_value_error(text: str) -> None:
    with suppress(ValueError):
        parse_literal(text)


@pytest.mark.parametrize(
    ("answer", "golds"),
    [
        (1874, ["1874"]),
        ([1874, -3], ["1874", "-3"]),
        ("[1, 2]", ["[1, 2]"]),  # the text of one answer, as of a question about lists
        ("[]", ["[]"]),
        ("{x}", ["{x}"]),
        ("[deleted]", ["[deleted]"]),
        ("['a', 'b']", ["a", "b"]),
        ("a\0b", ["a\0b"]),
        ([None, " ", "Ada "], ["Ada"]),
        ({"text": "Ada"}, ["Ada"]),
    ],
)
def test_one_answer_is_taken_apart_only_where_it_was_printed_from_several(answer: Any, golds: list[str]) -> None:
    assert read_gold_answers({"question": "q", "answer": answer}, may_be_blank=False) == golds
