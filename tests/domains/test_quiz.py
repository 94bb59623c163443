"""Questions that a model wrote: how they are read, what spoils them, and how they are split."""

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.domains.quiz import find_flaws, find_leaks, read_pairs, split_by_fact
from stages.records.task import QaTask, make_task

THREE = ["its own text says the answer", "the title says the answer", None]
FLAWS = [
    ([("Where was Ada born?", "Velm"), ("Where was  ada born", "Velm")], [None, "repeats another question"]),
    ([("Who built a bridge?", "Ada")], ["the title says the answer"]),
    ([("Is Velm the town of birth?", "velm")], ["its own text says the answer"]),
    ([("Where was she born?", "?!")], ["its answer has no words"]),
    ([("Is Velm the town?", ["Old Velm", "velm"]), ("Who?", ["Bo", "Ada"]), ("Why?", ["?!", "so"])], THREE),
    ([("Where was she born?", "Velm"), ("Where was she born?", "Oslo")], [None, None]),
    ([("Is it a cafe\u0301?", "CAF\u00c9"), ("Is it a cafe?", "caf\u00e9")], ["its own text says the answer", None]),
    ([("यह की है?", "का"), ("यह का है?", "का")], [None, "its own text says the answer"]),
    ([("北京是什么国家的首都?", "北京"), ("北京是什么国家的首都?", "中国")], ["its own text says the answer", None]),
    ([("Where was she born?", "Velm"), ("What did she build in Velm?", "a bridge")], [None, None]),
]
BORN, BUILT, IN_VELM = (
    ("Where was she born?", "Velm"),
    ("What did she build?", "a bridge"),
    ("Who lives in Velm?", "Bo"),
)
LEAKS = [
    ([BORN, BUILT], [None, None]),
    ([BORN, IN_VELM], ["another question says the answer: Who lives in Velm?", None]),
    ([BORN, ("Who was Velma?", "nobody")], [None, None]),
    (
        [("How many?", "1"), ("Who built 11?", "x"), ("And 1,1?", "y")],
        ["another question says the answer: And 1,1?", None, None],
    ),
    # a question that is given away itself gives nothing away
    ([BORN, IN_VELM, ("Is it Bo or Al?", "Al")], [None, "another question says the answer: Is it Bo or Al?", None]),
    # of two that give each other away the first stays, and of three in a circle
    (
        [("What is in Velm?", "a bridge"), ("Where is a bridge?", "Velm")],
        [None, "another question says the answer: What is in Velm?"],
    ),
    (
        [("Where is a bridge?", "Velm"), ("What is in Velm?", "a bridge")],
        [None, "another question says the answer: Where is a bridge?"],
    ),
    (
        [("Is it a?", "b"), ("Is it b?", "c"), ("Is it c?", "a")],
        [None, "it says the answer of another question: Is it a?", "another question says the answer: Is it a?"],
    ),
    ([BORN, ("Where was SHE born", "Oslo")], [None, "repeats another question"]),
    # any answer that counts as right may be the one that is told
    (
        [("Where was she born?", ["Velm", "Old Velm"]), ("Who was in Old Velm?", ["Bo", "Al"]), ("Al or Ed?", ["Ed"])],
        [None, "another question says the answer: Al or Ed?", None],
    ),
]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Question 1: Where?\nAnswer: Velm", [("Where?", "Velm")]),
        ("**Question 1:** Where?\n**Answer:** Velm.", [("Where?", "Velm.")]),
        ("1. **Q:** Where? **A:** Velm\n2. Q: What?\n   A: -5 °C", [("Where?", "Velm"), ("What?", "-5 °C")]),
        ("Q1: Where is it\nA1: Velm", [("Where is it", "Velm")]),
        ("- What is the port of Verarbek? Upwell\n- It is a fine ship.", [("What is the port of Verarbek?", "Upwell")]),
        ("Sure! Here you are:\nQuestion: a?\nQuestion: b?\nAnswer: c\nAnswer: d", [("b?", "c")]),
        ("What is it?", []),
        ("Question: What?\nAnswer:", []),
        (f"Q: What?\nA: {'x' * 201}", []),
        (f"Q: What?\nA: {'x' * 200}", [("What?", "x" * 200)]),
        ("", []),
    ],
)
def test_pairs_are_read_from_many_layouts(text: str, pairs: list[tuple[str, str]]) -> None:
    assert read_pairs(text) == pairs


def test_a_completion_may_begin_in_the_middle_of_the_first_question() -> None:
    text = "Where?\nAnswer: Velm\nQuestion 2: What?\nAnswer: a bridge"
    assert read_pairs(text, opened=True) == [("Where?", "Velm"), ("What?", "a bridge")]


@given(st.text(max_size=300), st.booleans())
def test_any_text_gives_pairs_of_words_and_no_error(text: str, opened: bool) -> None:
    assert all(question and answer for question, answer in read_pairs(text, opened=opened))


def a_quiz(pairs: Sequence[tuple[str, str | Sequence[str]]]) -> QaTask:
    return make_task("Ada", "Ada was born in Velm and built a bridge.", pairs)


@pytest.mark.parametrize(("pairs", "flaws"), FLAWS)
def test_a_questions_own_words_may_spoil_it(pairs: list[tuple[str, str]], flaws: list[str | None]) -> None:
    task = a_quiz(pairs)
    assert find_flaws(task, task.questions) == flaws


@pytest.mark.parametrize(("pairs", "leaks"), LEAKS)
def test_another_question_that_stays_may_give_an_answer_away(
    pairs: list[tuple[str, str]], leaks: list[str | None]
) -> None:
    assert find_leaks(a_quiz(pairs).questions) == leaks


@given(st.lists(st.tuples(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3), st.sampled_from("abcdef"))))
def test_no_question_that_stays_says_the_answer_of_another(pairs: list[tuple[list[str], str]]) -> None:
    questions = a_quiz([(" ".join(words), answer) for words, answer in pairs if answer not in words]).questions
    stay = [question for question, leak in zip(questions, find_leaks(questions), strict=True) if leak is None]
    assert bool(stay) == bool(questions)
    assert find_leaks(stay) == [None] * len(stay)
    for one, other in permutations(stay, 2):
        assert one.answer not in other.question.split()
        assert one.question != other.question


def test_thousands_of_questions_are_compared_with_each_other() -> None:
    chain = a_quiz([(f"Is it {n}?", str(n + 1)) for n in range(4000)]).questions
    assert [leak is None for leak in find_leaks(chain)] == [False, True] * 2000
    hub = a_quiz([(f"What is {n} of Velm?", "Velm" if n % 2 else "x") for n in range(4000)]).questions
    assert [leak is None for leak in find_leaks(hub)] == [True, False] * 2000


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), max_size=12), st.integers(0, 9))
def test_no_fact_is_in_both_parts_and_every_question_is_in_one(pairs: list[tuple[str, str]], seed: int) -> None:
    questions = a_quiz(pairs).questions
    reward, exam = split_by_fact("ada", questions, seed)
    assert sorted(question.id for question in (*reward, *exam)) == sorted(question.id for question in questions)
    assert not {question.answer for question in reward} & {question.answer for question in exam}
    assert (
        (reward, exam) == split_by_fact("ada", reversed(questions), seed) or len(set(pairs)) < len(questions) or pairs
    )


def test_parts_are_of_one_size_where_facts_differ() -> None:
    questions = a_quiz([(f"Question {n}?", f"answer {n}") for n in range(7)]).questions
    assert [len(part) for part in split_by_fact("ada", questions, 0)] == [4, 3]
    assert split_by_fact("ada", questions, 0) != split_by_fact("ada", questions, 1)


SHARES = {0.0: (10, 0), 0.2: (8, 2), 0.4: (4, 2), 0.5: (5, 5), 0.75: (3, 7), 0.9: (2, 9)}


@pytest.mark.parametrize(("share", "sizes"), SHARES.items())
def test_the_exam_has_its_share(share: float, sizes: tuple[int, int]) -> None:
    questions = a_quiz([(f"Question {n}?", f"answer {n}") for n in range(sum(sizes))]).questions
    reward, exam = split_by_fact("ada", questions, 0, share)
    assert (len(reward), len(exam)) == sizes


def test_questions_with_any_gold_answer_in_common_are_of_one_fact() -> None:
    pairs: list[tuple[str, Sequence[str]]]
    pairs = [("Where?", ["Velm", "Old Velm"]), ("Who?", ["Bo"]), ("In which town?", ["old velm", "Velm Town"])]
    pairs += [("Since when?", ["1854"]), ("From where?", ["velm town"]), ("How long?", ["a year"])]
    task = a_quiz(pairs)
    for seed in range(9):
        first, second = split_by_fact(task.id, task.questions, seed)
        parts = [{each.question for each in part} for part in (first, second)]
        assert any({"Where?", "In which town?", "From where?"} <= part for part in parts)
        assert sum(map(len, parts)) == 6
