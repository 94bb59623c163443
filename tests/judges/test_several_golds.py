"""Several gold answers, and the one that there is none: what every judge of ours makes of them."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.judges.base import Case
from stages.judges.exact import ExactJudge
from stages.judges.lexical import LexicalJudge
from stages.judges.openai import get_case_id, put_in_words, write_prompt
from stages.judges.several_golds import is_declined
from stages.records.task import UNANSWERABLE

DECLINED = """
unanswerable|Unanswerable.|The question is unanswerable.|UNANSWERABLE
I don't know.|I don’t know the answer to this question|Don't know|I do not know. The passage does not mention it.
No answer|There is no answer.|There is no answer to this question in the passage.|The question has no answer
Unknown|It is unknown.|The answer is unknown.|It is not known who built it.|Who built it is not known.|Nobody knows.
N/A|Not mentioned|Not stated in the passage.|The passage does not mention who built it.|No, the passage does not say
The text doesn't say when the harbour was built.|The name of the architect is not mentioned in the passage.
It cannot be answered.|This question cannot be answered from the passage.|Cannot be determined
I cannot answer this question.
Sorry, I do not know.|I'm sorry, but I don't know.|Answer: unanswerable|The answer is: I don't know.|I am not sure.
Unfortunately, there is not enough information to answer.|Not enough information|There isn't enough information.
Unanswerable. The passage only says that Ada built a bridge.|It's impossible to tell.|No information is given.
"""
ANSWERED = """
1874|in 1874|None|No|No one|Nobody|not Ada|Not 1874|Known|the unknown|The unknown soldier|It is answerable
I don't know, but probably 1874.|I don't know. 1874.|I don't know. It was Ada.|It is not clear, I think 1874
It was built in 1874; the architect is unknown.|It was built by Ada and the year is unknown|Ada, whose father is unknown
Ada built it, although the date is unknown.|There is information that Ada built it|The passage says 1874|I know it: 1874
"""


def listed(text: str) -> list[str]:
    return [each for line in text.strip().splitlines() for each in line.split("|")]


@pytest.mark.parametrize("judge", [ExactJudge(), LexicalJudge()])
def test_right_is_who_says_that_there_is_no_answer_and_names_none(judge: ExactJudge | LexicalJudge) -> None:
    for gold in (UNANSWERABLE, "Unanswerable.", "CANNOTANSWER", "No answer"):
        for texts, right in ((listed(DECLINED), True), (listed(ANSWERED), False)):
            found = judge.grade(Case("Who built it?", gold, text) for text in texts)
            assert {text: verdict.correct for text, verdict in zip(texts, found, strict=True)} == dict.fromkeys(
                texts, right
            )


@pytest.mark.parametrize("judge", [ExactJudge(), LexicalJudge()])
def test_to_say_that_there_is_no_answer_is_wrong_where_there_is_one(judge: ExactJudge | LexicalJudge) -> None:
    found = judge.grade(Case("When was it built?", "1874", text, ("in 1874",)) for text in listed(DECLINED))
    assert {verdict.correct for verdict in found} == {False}


def test_no_answer_may_be_one_of_several_gold_answers() -> None:
    cases = [Case("When?", "1874", text, (UNANSWERABLE,)) for text in ("1874", "I don't know.", "1875")]
    assert [verdict.correct for verdict in ExactJudge().grade(cases)] == [True, True, False]


@given(st.sampled_from(listed(DECLINED)), st.sampled_from(["It was 1874.", "Ada.", "Probably Ada", "but Ada built it"]))
@settings(deadline=None)
def test_who_says_that_there_is_none_and_then_names_one_has_answered(declined: str, more: str) -> None:
    assert is_declined(declined)
    assert not is_declined(f"{declined.rstrip('.')}. {more}")
    assert not is_declined(f"{more}. {declined}")


def test_a_served_judge_is_told_in_words_that_there_is_no_answer() -> None:
    case = Case("Who?", UNANSWERABLE, "I don't know")
    assert "\nGold answer: (none: the question cannot be answered; correct is a student who says so, " in write_prompt(
        case
    )
    assert put_in_words(case).gold != case.gold  # so that the cache has it apart from the bare word
    assert put_in_words(Case("Who?", "Ada", "Bo", ("she",))) == Case("Who?", "Ada", "Bo", ("she",))
    assert get_case_id(case) != get_case_id(Case("Who?", "Ada", "I don't know"))


@pytest.mark.parametrize("text", ["text ", ".", "\n", "I do not know. ", "the ", "no "])
def test_a_huge_answer_to_a_question_without_one_is_read_in_linear_time(text: str) -> None:
    def seconds(times: int) -> float:
        start = time.process_time()
        is_declined("I do not know. " + text * times + "x")
        return time.process_time() - start

    assert seconds(40_000) < 25 * max(seconds(4_000), 0.01)
