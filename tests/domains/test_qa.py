"""The question-answering domain: the paper's prompts, and its rule for training sequences."""

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages import tasks
from stages.adapt import show_data
from stages.domains.base import GradableAnswer
from stages.domains.qa import NO_EDIT, QA, TEMPLATES, fill, read_template, split_into_sequences
from stages.domains.quiz import read_pairs
from stages.errors import BadConfig, MissingInput
from stages.interfaces import Completion
from stages.judges.base import Case, Verdict
from stages.records.task import Task, make_task
from tests.conftest import ROOT, paper_file
from tests.invented import a_task, an_edit

FRAGMENTS = (
    *("---", "----", "Question 1:", "Question  12:", "Question\n3:", "Question ٣:", "Question", "1:", "Answer:"),
    *("Answer\u2003:", "Answer", "1.", "2. b", " ", "\t", "\n", "\n", "\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c"),
    *("\x85", "\u2028", "\u2029", "\u200b", "Sure, here is a list:", "é", "a b"),
    *("\nQuestion 2:", "\nQuestion\t\n3:", "\nAnswer:", "\n1.", "\n1"),
)
COMPLETION = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=14).map("".join)
LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"


def ends_with_mark(text: str, start: int, word: str, digits: bool) -> bool:
    """Whether word, white space, (digits,) and a colon stand at `start`."""
    if not text.startswith(word, start):
        return False
    place = gap = start + len(word)
    while place < len(text) and text[place].isspace():
        place += 1
    number = place
    while digits and place < len(text) and text[place].isdecimal():
        place += 1
    return text[place : place + 1] == ":" and (not digits or gap < number < place)


def naive_pieces(completion: str) -> list[str]:
    """The published rule with the lines split, letter by letter."""
    places = range(len(completion))
    questions = any(ends_with_mark(completion, place, "Question", True) for place in places)
    if questions and any(ends_with_mark(completion, place, "Answer", False) for place in places):
        return naive_pairs(completion.strip())
    segments = [part.strip() for part in completion.split("---")]
    segments = [part for part in segments if part] or [completion.strip()]
    lines = []
    for segment in segments:
        for end in LINE_ENDS:
            segment = segment.replace(end, "\n")
        lines += [line.strip() for line in segment.split("\n") if line.strip()]
    return lines[1:] if len(lines) >= 2 and lines[1][:2] == "1." else lines


def naive_pairs(text: str) -> list[str]:
    pieces, start = [], 0
    for place, letter in enumerate(text):
        if letter == "\n" and ends_with_mark(text, place + 1, "Question", True):
            pieces.append(text[start:place])
            start = place + 1
    pieces.append(text[start:])
    if not pieces[0].startswith("Question"):
        pieces[0] = "Question 1: " + pieces[0].strip()
    return pieces


@given(COMPLETION)
@example("Where?\nAnswer: there\nQuestion 2: who?\nAnswer: she")
@example("Sure:\n1. one\n2. two")
@example("Answer:\nQuestion  1: one\nQuestion\t2:\n Question 3:")
@example("one\x0btwo\u2028three --- four")
@settings(deadline=None, max_examples=400)
def test_the_sequences_are_those_of_the_published_rule(completion: str) -> None:
    task = a_task()
    expected = [f"Ada\n{piece}" for piece in naive_pieces(completion)] + [f"Ada\n{task.context}"]
    assert split_into_sequences(task, completion) == expected


@given(COMPLETION)
@settings(deadline=None)
def test_the_passage_is_last_and_every_piece_has_the_title_and_some_text(completion: str) -> None:
    *pieces, last = split_into_sequences(a_task(), completion)
    assert last == f"Ada\n{a_task().context}"
    assert all(piece.startswith("Ada\n") and piece.removeprefix("Ada\n").strip() for piece in pieces)


@given(COMPLETION)
@example(" \n")
@settings(deadline=None)
def test_without_splitting_newlines_the_segments_stay_whole(completion: str) -> None:
    *pieces, last = split_into_sequences(a_task(), completion, split_newlines=False)
    parts = [part.strip() for part in completion.split("---") if part.strip()]
    whole = [completion.strip()] if completion.strip() else []  # nothing written is no sequence, not the bare title
    assert pieces == [f"Ada\n{part}" for part in parts or whole]
    assert last == f"Ada\n{a_task().context}"


@pytest.mark.parametrize(
    ("completion", "pieces"),
    [
        ("1. one\n\n2. two", ["1. one", "2. two"]),
        ("Sure, here is a list\n1. one", ["1. one"]),
        ("In year\n1 one", ["In year", "1 one"]),
        ("Sure\n2. two", ["Sure", "2. two"]),
        ("1. one", ["1. one"]),
        ("Question\n1: a\nAnswer : b\nQuestion  12: c", ["Question\n1: a\nAnswer : b", "Question  12: c"]),
        ("who? \nQuestion 2: b\nAnswer: c", ["Question 1: who?", "Question 2: b\nAnswer: c"]),
        ("one --- two\nthree", ["one", "two", "three"]),
        (" who?\nAnswer: she\nQuestion 2: when?", ["Question 1: who?\nAnswer: she", "Question 2: when?"]),
        ("Question 1: who?\nnobody", ["Question 1: who?", "nobody"]),
        ("---", ["---"]),
        ("", []),
    ],
)
def test_lines_are_split_and_pairs_stay_together(completion: str, pieces: list[str]) -> None:
    found = split_into_sequences(a_task(), completion)[:-1]
    assert found == [f"Ada\n{piece}" for piece in pieces]


def test_the_loss_is_on_every_token_of_a_lesson() -> None:
    examples = QA().make_training_set(a_task(), an_edit(a_task())).examples
    assert [item.prompt for item in examples] == ["", ""]
    assert examples[0].completion == "Ada\nAda comes from Velm."


def test_the_passage_only_lesson_is_the_passage() -> None:
    edit = an_edit(a_task(), completion="").model_copy(update={"template": NO_EDIT})
    lesson = QA(split_newlines=False).make_training_set(a_task(), edit)
    assert [item.completion for item in lesson.examples] == [f"Ada\n{a_task().context}"]


def test_a_passage_with_braces_is_put_into_the_prompt_as_it_is() -> None:
    task = make_task("{context}", "x {title} {question} {0}", [("{title}?", "a")])
    assert fill("{title}|{context}|{question}", task, "{title}?") == "{context}|x {title} {question} {0}|{title}?"


def test_the_question_is_asked_without_the_passage_unless_in_context() -> None:
    closed, opened = (next(QA().queries(a_task(), in_context=seen, chat=False)) for seen in (False, True))
    assert closed.prompt == (
        "Let's answer a question directly and concisely.\nQuestion: Topic: Ada\nWhere was Ada born?\nAnswer:\n"
    )
    assert a_task().context not in closed.prompt
    assert a_task().context in opened.prompt
    assert closed.id == opened.id == a_task().questions[0].id


def test_a_reply_is_a_case_for_the_judge_unless_the_engine_failed() -> None:
    (first, second) = a_task().questions
    said, lost = Completion("a", "in Velm", "stop", 3), Completion("b", "", "failed", None, error="timeout: no answer")
    replies = list(QA().make_answers(a_task(), [said, lost], in_context=False))
    assert replies == [
        GradableAnswer(first.id, "in Velm", Case("Where was Ada born?", "Velm", "in Velm")),
        GradableAnswer(second.id, None, Verdict(None, "timeout: no answer")),
    ]


def test_a_chat_model_is_asked_in_messages() -> None:
    system, user = QA().edit_prompt(a_task(), "implications", chat=True)
    assert isinstance(system, dict) and system["content"].startswith("You are an assistant tasked with analyzing")
    assert isinstance(user, dict) and user["content"] == f"Ada\n{a_task().context}"
    (only,) = QA().edit_prompt(a_task(), "rewrite", chat=True)
    assert isinstance(only, dict) and only["role"] == "user" and "rewrite it" in only["content"]
    (question,) = next(QA().queries(a_task(), in_context=False, chat=True)).prompt
    assert isinstance(question, dict) and question["role"] == "user"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_named_template_shows_title_and_passage(name: str) -> None:
    prompt = QA().edit_prompt(a_task(), name, chat=False)
    assert f"Passage:\nAda\n{a_task().context}\n\n" in prompt


def test_a_template_may_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("Explain {title}: {context} — {nothing}", encoding="utf-8")
    prompt = QA().edit_prompt(a_task(), str(file), chat=False)
    assert prompt == f"Explain Ada: {a_task().context} — {{nothing}}"


@pytest.mark.parametrize(("name", "pairs"), [("qa-by-example", 6), ("facts-by-example", 0)])
def test_what_a_template_shows_as_an_example_is_trained_on_piece_by_piece(name: str, pairs: int) -> None:
    _, shown, asked = read_template(str(ROOT / f"examples/templates/{name}.txt")).split("\n\nPassage:\n")
    opening = asked.splitlines(keepends=True)[-1]
    assert asked == f"{{title}}\n{{context}}\n\n{opening}"
    passage, written = shown.split(f"\n\n{opening}")
    title, context = passage.split("\n")
    *pieces, last = split_into_sequences(make_task(title, context, [("when?", "1871")]), written)
    assert last == passage
    assert all(piece.startswith(f"{title}\n") for piece in pieces) and len(pieces) >= 6
    assert len(found := read_pairs(written)) == pairs
    assert all(answer in context for _, answer in found)


def refusal(template: str, kind: type[Exception]) -> str:
    with pytest.raises(kind) as caught:
        QA().edit_prompt(a_task(), template, chat=False)
    return str(caught.value)


def test_an_unknown_template_is_answered_with_the_known_ones() -> None:
    message = refusal("implication", BadConfig)
    assert message.startswith("--template implication: unknown; take one of implications, ")
    assert "or a file with {title} and {context}" in message


def test_a_template_file_that_is_not_there_is_missing_input() -> None:
    assert refusal("no/such.txt", MissingInput).startswith("--template no/such.txt: no such file (the named templates")


def test_a_template_file_without_the_fields_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "bad.txt"
    file.write_text("only {title}", encoding="utf-8")
    assert refusal(str(file), BadConfig) == f"--template {file}: the file does not contain {{context}}"
    file.write_bytes(b"{title} {context} \xff")
    assert refusal(str(file), BadConfig) == f"--template {file}: not UTF-8 (byte 18)"


@pytest.mark.paper_data
def test_the_papers_self_edits_give_sequences_that_end_with_the_passage() -> None:
    records = list(tasks.run(str(paper_file("iter0_train.json"))))
    shown = list(show_data(records, domain=QA()))
    assert len(shown) == 1000
    for record, data in zip(records, shown, strict=True):
        assert data.sequences[-1] == f"{record.task.title}\n{record.task.context}".strip()
        assert list(data.sequences[:-1]) == prefixed(record.task, record.edit.completion if record.edit else "")


def prefixed(task: Task, completion: str) -> list[str]:
    return [f"{task.title}\n{piece}" for piece in naive_pieces(completion)]


@pytest.mark.paper_data
@pytest.mark.parametrize(
    ("name", "template"),
    [("rank_iter0.json", "implications"), ("rank_iter0_prompt-self-qa.json", "self-qa")],
)
def test_our_prompts_are_the_papers_to_the_letter(name: str, template: str) -> None:
    for record in tasks.run(str(paper_file(name))):
        assert record.edit is not None
        assert record.edit.template == template
        assert record.edit.prompt == QA().edit_prompt(record.task, template, chat=False)
