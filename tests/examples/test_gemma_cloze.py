"""Questions by rule: what they ask is in the passage, an answer is a part of it, and the lines are trained as pairs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.gemma.cloze import list_pairs, make_line, write_edit, write_edits
from stages.domains.qa import QA, require_passage
from stages.records.jsonl import encode_line
from stages.records.parser import read_records
from stages.records.record import Record
from stages.records.task import QaTask, make_task
from tests.conftest import ROOT
from tests.invented import an_edit

LIGHTHOUSE = (
    "The lighthouse of Marrow Point was built in 1871 by Ada Finch, after the steamer Clara was lost. "
    "Since then it has burned 1,200 litres of whale oil a year."
)


def passage(context: str, title: str = "Marrow Point") -> QaTask:
    return require_passage(make_task(title, context, [("When?", "1871")]))


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("The lighthouse of Marrow Point was built in what year by Ada Finch?", "1871"),
        ("The lighthouse of Marrow Point was built in 1871 by who or what?", "Ada Finch"),
        ("After the steamer who or what was lost?", "Clara"),
        ("Since then it has burned what number litres of whale oil a year?", "1,200"),
        ("Since then it has burned 1,200 litres of whale what?", "oil a year"),
    ],
)
def test_a_part_of_a_clause_is_asked_for_by_the_rest_of_it(asked: str, answer: str) -> None:
    assert (asked, answer) in list_pairs(passage(LIGHTHOUSE), 99)


def test_a_sentences_first_word_is_no_name_and_a_part_of_a_word_no_answer() -> None:
    pairs = list_pairs(
        passage("Throughout the war the Czech army held Czechoslovakia. Czechoslovakia fell to the Czech."), 99
    )
    assert "Throughout" not in [answer for _, answer in pairs]
    assert "Throughout the war the who or what army held Czechoslovakia?" in [asked for asked, _ in pairs]


def test_at_most_so_many_are_asked_spread_over_the_passage() -> None:
    whole = list_pairs(passage(LIGHTHOUSE), 99)
    assert len(whole) > 4
    assert list_pairs(passage(LIGHTHOUSE), 2) == [whole[0], whole[len(whole) // 2]]


@given(st.text(alphabet="Ab Cd.,1970\"“”'-?!()–\n", max_size=200), st.integers(1, 9))
def test_every_answer_is_copied_from_the_passage(context: str, most: int) -> None:
    pairs = list_pairs(passage(context), most)
    assert len(pairs) <= most
    assert all(answer and answer in " ".join(context.replace("---", "–").split()) for _, answer in pairs)
    assert not any(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", asked[1:]) for asked, answer in pairs)
    assert all("what" in asked.lower() or "how many" in asked.lower() for asked, _ in pairs)


def test_each_pair_is_a_training_sequence_in_the_prompt_of_the_exam() -> None:
    task = passage(LIGHTHOUSE)
    prompt = next(QA().queries(task, in_context=False, chat=False)).prompt
    edit = an_edit(task, completion=write_edit(task, 3))
    *pairs, last = [each.completion for each in QA(split_newlines=False).make_training_set(task, edit).examples]
    head, tail = str(prompt).split("When?")
    assert len(pairs) == 3 and last.endswith(LIGHTHOUSE)
    assert all(pair.startswith(f"Marrow Point\n{head}") and tail in pair for pair in pairs)


def test_a_task_line_becomes_an_edit_line() -> None:
    given_lines = [encode_line(Record(task=passage(LIGHTHOUSE))), encode_line(Record(task=passage("Nothing.")))]
    told, empty = read_records([make_line(*each) for each in write_edits(given_lines, "tasks.jsonl", 3)], "edits.jsonl")
    assert told.task == passage(LIGHTHOUSE)
    assert told.edit and told.edit.completion == write_edit(passage(LIGHTHOUSE), 3)
    assert (told.edit.model, told.edit.template, told.edit.prompt) == ("none", "custom", "")  # nothing for `seal sft`
    assert empty.edit and empty.edit.completion == ""


def test_with_a_template_it_is_what_a_model_learns_to_write_for_that_prompt(tmp_path: Path) -> None:
    tasks = [passage(LIGHTHOUSE), passage("Nothing.")]  # of which there is nothing to ask
    (tmp_path / "tasks.jsonl").write_bytes(b"".join(encode_line(Record(task=task)) for task in tasks))
    template = "examples/gemma/questions.txt"
    command = [sys.executable, "-m", "examples.gemma.cloze", str(tmp_path / "tasks.jsonl"), "--template", template]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    prompt = QA().edit_prompt(tasks[0], str(ROOT / template), chat=False)
    assert json.loads(done.stdout) == {"prompt": prompt, "completion": write_edit(tasks[0], 24)}
    assert "1 of 2 passages" in done.stderr and "left out" in done.stderr


def test_a_bad_file_is_told_in_a_sentence_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    def ask(content: bytes | None) -> subprocess.CompletedProcess[str]:
        if content is not None:
            (tmp_path / "tasks.jsonl").write_bytes(content)
        command = [sys.executable, "-m", "examples.gemma.cloze", str(tmp_path / "tasks.jsonl")]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    missing, bad = ask(None), ask(b"nope\n")
    assert (missing.returncode, bad.returncode) == (1, 1)
    assert missing.stderr.startswith("cloze: ") and "No such file" in missing.stderr
    assert bad.stderr.startswith("cloze: ") and "tasks.jsonl:1: not JSON" in bad.stderr
    assert "tasks.jsonl:3: not JSON" in ask(b"\n\nnope\n").stderr
    good = encode_line(Record(task=passage(LIGHTHOUSE)))
    other = encode_line(Record(task=passage(LIGHTHOUSE, "Another Point")))
    assert len(ask(good + b"\n" + other + good).stdout.splitlines()) == 2  # a task of several lines is one
