"""Sources: what people have, read into records."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages import tasks
from stages.conversion.formats import detect_format
from stages.errors import BadConfig, BadInput, MissingInput, Unavailable
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.sources.datasets.folders import Omission
from stages.sources.squad import UNANSWERED, UNASKED
from tests.conftest import paper_file
from tests.invented import a_line, a_task, an_edit
from tests.sources.bad_input import row

OWN = {"title": "Ada", "context": "Ada built a bridge.", "questions": [{"question": "Who?", "answer": "Ada"}]}
SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Ada",
            "paragraphs": [
                {
                    "context": "Ada built a bridge.",
                    "qas": [
                        {"id": "57", "question": "Who?", "answers": [{"text": "Ada"}, {"text": "she"}]},
                        {"id": "58", "question": "Why?", "answers": []},
                    ],
                }
            ],
        }
    ],
}


def load(tmp_path: Path, content: Any, name: str = "source.json") -> list[Record]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return list(tasks.run(str(path)))


def refusal(tmp_path: Path, content: Any, name: str = "source.json") -> str:
    with pytest.raises(BadInput) as caught:
        load(tmp_path, content, name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(tmp_path / name))


def test_squads_own_layout_gives_its_ids_all_its_answers_and_no_unanswerable_question(tmp_path: Path) -> None:
    (record,) = load(tmp_path, SQUAD)
    (question,) = record.task.questions
    assert (question.id, question.question, question.golds) == ("57", "Who?", ("Ada", "she"))
    assert (record.task.title, record.edit) == ("Ada", None)


def test_the_same_passage_is_the_same_task_in_every_layout(tmp_path: Path) -> None:
    layouts = [
        load(tmp_path, [OWN]),
        load(tmp_path, OWN, "one.jsonl"),
        load(tmp_path, json.dumps(OWN).encode() + b"\r\n\n", "crlf.jsonl"),
        load(tmp_path, b"\xef\xbb\xbf" + json.dumps([OWN], indent=1).encode()),
    ]
    assert len({record.task.id for records in layouts for record in records}) == 1


@pytest.mark.parametrize("name", ["lines.jsonl", "lines.ndjson", "lines.json", "lines.txt.gz"])
def test_record_lines_come_back_as_they_are(tmp_path: Path, name: str) -> None:
    lines = [a_line(a_task(title), [True, None]) for title in ("Ada", "Bo")]
    assert load(tmp_path, "\n".join(map(to_json, lines)).encode(), name) == lines


def test_a_single_record_line_is_not_taken_for_a_document(tmp_path: Path) -> None:
    line = a_line(a_task(), [True, False])
    assert load(tmp_path, to_json(line).encode(), "one.json") == [line]


def test_own_texts_are_tasks_without_questions(tmp_path: Path) -> None:
    (tmp_path / "Bo.txt").write_text("\ufeffBo was here.\n", encoding="utf-8")
    (tmp_path / "Ada.md").write_text("Ada\u2028was here.", encoding="utf-8")
    (tmp_path / "notes.png").write_bytes(b"PNG")
    found = [record.task for record in tasks.run(str(tmp_path))]
    assert [(task.title, task.context) for task in found] == [("Ada", "Ada\u2028was here."), ("Bo", "Bo was here.")]
    assert [task.questions for task in found] == [(), ()]
    assert next(tasks.run(str(tmp_path / "Bo.txt"))).task == found[1]


def test_a_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    way = "; if it is Latin-1: iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    assert refusal(tmp_path, b"caf\xe9", "latin.txt") == f": not UTF-8 (byte 3){way}"
    assert refusal(tmp_path, b"\xff\xff", "other.txt") == ": not UTF-8 (byte 0)"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"rows": [], "features": 1}, ": an object with rows, features; known are SQuAD, ARC tasks, a list of"),
        ([1, 2], ": list; known are SQuAD"),
        (b"{\n broken", ": not JSON: Expecting property name"),
        (b"", ": not JSON: Expecting value"),
        (b"[" * 99_999, ": not JSON: nested too deeply"),
        (b"[NaN]", ": [0]: not JSON: NaN is not JSON"),
        (b"\xff\xfe[\x00]\x00", ": not UTF-8 (byte 0)"),
        ([{"title": "t"}], ": [0]: no 'context' (title); known are rows of title, context, question and answer"),
        ([OWN, {**OWN, "questions": [{"question": "q"}]}], ": [1]: a question without a key answer or answers"),
        ([{**OWN, "title": []}], ": [0]: title and context must be text (found [], "),
        ([{**OWN, "questions": None}], ": [0]: questions must be a list of question and answer (found null)"),
        ([{**OWN, "questions": {}}], ": [0]: questions must be a list of question and answer (found {})"),
        (b'{"data": [], "data": []}', ": the key 'data' occurs twice"),
        ({"data": [1]}, ": data[0]: 1 is no passage; known are rows"),
        ({"data": [{"title": "Ada", "paragraphs": [{"qas": []}]}]}, ": data[0].paragraphs[0]: no 'context' (title, q"),
        (
            {"data": [{"title": {}, "paragraphs": [{"context": "c", "qas": []}]}]},
            ": data[0].paragraphs[0]: title and context must be text (found {}, ",
        ),
    ],
)
def test_a_document_that_is_not_understood_is_refused_with_its_place(tmp_path: Path, content: Any, words: str) -> None:
    assert refusal(tmp_path, content).startswith(words)


def test_a_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    good = json.dumps(OWN).encode()
    assert refusal(tmp_path, good + b"\n\n" + good[:-3], "a.jsonl").startswith(":3: not JSON: ")
    assert refusal(tmp_path, good + b'\n{"title": "Ada"}', "b.jsonl").startswith(":2: no 'context' (title); known")
    assert refusal(tmp_path, b'{"task": 1}\n', "c.jsonl").startswith(":1: task: input should be")


ANY = st.binary(max_size=40) | st.lists(st.sampled_from('[]{},:"d1'), max_size=12).map(lambda x: "".join(x).encode())


@given(ANY.filter(lambda content: detect_format(content) is None))  # what a converter takes is tested in its room
@settings(deadline=None)
def test_any_file_is_records_or_bad_input(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for name in ("any.json", "any.jsonl", "any.txt"):
        path = tmp_path_factory.getbasetemp() / name
        path.write_bytes(content)
        try:
            assert all(isinstance(record, Record) for record in tasks.run(str(path)))
        except BadInput as error:
            assert str(error).startswith(f"{path}:")


@pytest.mark.parametrize("source", ["nowhere.json", "nowhere.txt", "./nowhere", "/nowhere/at/all"])
def test_a_file_that_is_not_there_is_missing_input(source: str) -> None:
    with pytest.raises(MissingInput) as caught:
        tasks.run(source)
    assert str(caught.value) == f"{source}: no such file or folder"


def test_a_name_that_is_no_dataset_either_says_what_to_check() -> None:
    with pytest.raises(Unavailable) as caught:
        tasks.run("nobody/no-such-dataset")
    assert str(caught.value).startswith("nobody/no-such-dataset: neither a file here nor a dataset that can be loaded")
    assert str(caught.value).endswith("check the name, or give a local file")


def test_rows_of_a_dataset_in_a_folder_become_a_task_for_each_passage(tmp_path: Path) -> None:
    lines = [json.dumps(row(title)) for title in ("Ada", "Ada", "Bo")]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [len(record.task.questions) for record in tasks.run(str(tmp_path))] == [2, 1]
    with pytest.raises(BadConfig, match="--split test: no file is called so; leave it out to read all of them"):
        tasks.run(str(tmp_path), split="test")


def test_a_broken_line_of_a_folder_is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b'{"title": \x00 [\n\xff')
    with pytest.raises(BadInput, match=f"^{tmp_path}/train.jsonl:1: not JSON: "):
        tasks.run(str(tmp_path))


LINES = [a_line(a_task(f"T{n}"), [True, False], sample=sample) for n in range(12) for sample in range(2)]


def test_a_sample_keeps_all_lines_of_its_tasks_in_their_order() -> None:
    picked = list(tasks.pick_sample(LINES, tasks.Sample(5, seed=1)))
    kept = {line.task.id for line in picked}
    assert len(kept) == 5
    assert picked == [line for line in LINES if line.task.id in kept]


def test_samples_behind_one_another_share_no_task() -> None:
    parts = [{line.task.id for line in tasks.pick_sample(LINES, tasks.Sample(4, skip=skip))} for skip in (0, 4, 8)]
    assert len(set.union(*parts)) == 12


@given(st.randoms(use_true_random=False), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_a_sample_does_not_depend_on_the_order_of_the_source(shuffle: random.Random, seed: int) -> None:
    shuffled = list(LINES)
    shuffle.shuffle(shuffled)
    wanted = {line.task.id for line in tasks.pick_sample(LINES, tasks.Sample(3, seed))}
    assert {line.task.id for line in tasks.pick_sample(shuffled, tasks.Sample(3, seed))} == wanted


def test_another_seed_picks_other_tasks() -> None:
    picks = {frozenset(line.task.id for line in tasks.pick_sample(LINES, tasks.Sample(3, seed))) for seed in range(9)}
    assert len(picks) > 5


def test_a_sample_larger_than_the_source_is_refused() -> None:
    with pytest.raises(BadConfig) as caught:
        tasks.pick_sample(LINES, tasks.Sample(10, skip=3))
    assert str(caught.value) == "--sample 10 --skip 3: the source has only 12 tasks"


def test_lines_that_are_read_keep_their_sections(tmp_path: Path) -> None:
    line = Record(task=a_task(), edit=an_edit(a_task()))
    assert load(tmp_path, to_json(line).encode(), "edits.jsonl")[0].edit == line.edit


@pytest.mark.paper_data
def test_the_papers_validation_set_has_2067_tasks_and_10570_questions() -> None:
    records = list(tasks.run(str(paper_file("squad_val.json"))))
    assert len({record.task.id for record in records}) == len(records) == 2067
    assert sum(len(record.task.questions) for record in records) == 10_570


def test_a_paragraph_whose_questions_have_no_answer_is_left_out_and_told(tmp_path: Path) -> None:
    unanswerable = {"context": "Nothing.", "qas": [{"id": "n", "question": "Who?", "answers": []}]}
    answered = {"context": "Ada.", "qas": [{"id": "y", "question": "Who?", "answers": [{"text": "Ada"}]}]}
    path = tmp_path / "squad2.json"
    path.write_text(json.dumps({"data": [{"title": "T", "paragraphs": [unanswerable, answered]}]}))
    told: list[Omission] = []
    assert [record.task.context for record in tasks.run(str(path), leave_out=told.append)] == ["Ada."]
    assert [(each.path, each.kind) for each in told] == [(str(path), UNANSWERED), (str(path), UNASKED)]


def test_a_folder_without_texts_or_data_says_what_it_lacks_and_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"without texts \(.txt, .md, .markdown, .rst, .pdf, .*\), code and data .*; it is empty$"
    ):
        tasks.run(str(tmp_path))
    for name in ("a.png", "b.png", ".hidden.md", "LICENSE"):
        (tmp_path / name).write_text("x")
    with pytest.raises(
        BadInput, match=r"; it holds 2 \.png, 1 hidden, 1 without an ending; give the text that the pictures show$"
    ):
        tasks.run(str(tmp_path))
