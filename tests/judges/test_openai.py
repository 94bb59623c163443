"""The judge behind a server: strict verdicts, a cache, and failures that stay unscored."""

from collections.abc import Iterator, Mapping
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.errors import BadConfig, Denied, Unavailable
from stages.interfaces import NullProgress
from stages.judges.base import Case, Verdict
from stages.judges.cache import Cache
from stages.judges.openai import (
    MAX_TOKENS,
    PROMPT,
    SEVERAL_GOLDS_PROMPT,
    OpenAIJudge,
    advise_judge_flags,
    parse_verdict,
    write_prompt,
)
from stages.services.base import Call, Failure, Reply, Usage
from stages.services.vllm_server import probe_server
from tests.invented import Notes
from tests.services import behaviours as does
from tests.services.asking import serving
from tests.services.behaviours import Behaviour
from tests.services.scripts import Script, always, in_turn, poison, prompt_of

YES, NO = ("yes", "Yes", "YES.", " yes\n", "'yes'", "**Yes**", "`yes`", "(yes)", "yes!"), ("no", "No.", '"no"', "NO\n")
NEITHER = (
    "",
    " ",
    "correct",
    "INCORRECT",
    "yes and no",
    "no, yes",
    "yes no",
    "yesno",
    "not sure",
    "nope",
    "yes, the answer conveys the gold answer",
    '```json\n{"verdict": "yes"}\n```',
    '{"correct": true}',
    "The student answer is correct. yes",
    "eyes",
    "n o",
    "да",
    "y",
    "true",
)


@pytest.mark.parametrize("text", YES)
def test_yes_is_right(text: str) -> None:
    assert parse_verdict(text) is True


@pytest.mark.parametrize("text", NO)
def test_no_is_wrong(text: str) -> None:
    assert parse_verdict(text) is False


@pytest.mark.parametrize("text", NEITHER)
def test_anything_else_is_neither(text: str) -> None:
    assert parse_verdict(text) is None


@given(st.text())
@settings(deadline=None, max_examples=300)
def test_a_verdict_is_one_word_and_nothing_beside_it(text: str) -> None:
    found = parse_verdict(text)
    letters = "".join(letter for letter in text.lower() if letter.isalnum())
    assert found is ({"yes": True, "no": False}.get(letters) if found is not None else None)


@given(st.sampled_from(["yes", "no"]), st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1))
@settings(deadline=None)
def test_a_word_beside_it_makes_it_neither(word: str, more: str) -> None:
    assert parse_verdict(f"{word} {more}") is None
    assert parse_verdict(f"{more} {word}") is None
    assert parse_verdict(word + more) is None


def test_the_prompt_holds_question_gold_and_answer_whatever_they_say() -> None:
    text = write_prompt(Case("Who {gold}?", "{prediction}", "{question}"))
    assert "Question: Who {gold}?\nGold answer: {prediction}\nStudent answer: {question}\n" in text
    assert text.startswith("You are a grading assistant. ")
    assert PROMPT.count("{") == SEVERAL_GOLDS_PROMPT.count("{") == 3


def test_the_prompt_lists_several_gold_answers_and_asks_for_any_one_of_them() -> None:
    text = write_prompt(Case("Who won?", "Denver Broncos", "The Broncos", ("Broncos", "{prediction}")))
    assert "Gold answers:\n- Denver Broncos\n- Broncos\n- {prediction}\nStudent answer: The Broncos\n" in text
    assert "provided gold answer." not in text
    assert text.count("any one of the") == 2
    assert "convey one of the gold answers and must not contradict it" in text


def cases(number: int) -> list[Case]:
    return [Case(f"Question {n}?", "Velm", f"answer {n}") for n in range(number)]


def graded(script: Script, asked: list[Case], cache: Path | None = None, **named: object) -> tuple[list[Verdict], int]:
    """(verdicts, calls that the server saw)."""
    with serving(script, **named) as (there, server):  # type: ignore[arg-type]
        judge = OpenAIJudge("m", server, Cache(cache, "m", PROMPT, "http://here") if cache else None)
        return list(judge.grade(asked)), len(there.asked)


def by_answer(n: int, body: Mapping[str, Any]) -> Behaviour:
    """Every third answer is right, and late ones are answered first."""
    number = int(prompt_of(body).split("Student answer: answer ")[1].split("\n")[0])
    return does.slow(0.05 * (number % 3), does.ok("yes" if number % 3 == 0 else "no"))


def test_verdicts_belong_to_their_cases_however_they_come() -> None:
    verdicts, calls = graded(by_answer, cases(30), concurrency=8)
    assert [verdict.correct for verdict in verdicts] == [n % 3 == 0 for n in range(30)]
    assert calls == 30


def test_it_asks_at_temperature_0_for_a_word() -> None:
    with serving(always(does.ok("yes"))) as (there, server):
        list(OpenAIJudge("m", server).grade(cases(1)))
        body = there.asked[0].body
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0, MAX_TOKENS)
    assert body["messages"] == [{"role": "user", "content": write_prompt(cases(1)[0])}]


def test_verdicts_come_while_cases_still_come() -> None:
    with serving(always(does.ok("no")), concurrency=3) as (there, server):
        endless: Iterator[Case] = (Case("q", "Velm", str(n)) for n in count())
        found = list(islice(OpenAIJudge("m", server).grade(endless), 10))
        assert found == [Verdict(False)] * 10
        assert len(there.asked) < 40  # and not all of them


FAILURES = [
    (does.status(400, "no such thing"), "api_error: ", "no such thing"),
    (does.ok("yes and no"), "unparsable: ", "neither yes nor no: 'yes and no'"),
    (does.ok("INCORRECT"), "unparsable: ", "'INCORRECT'"),
    (does.ok("yes, because it is", finish="length"), "truncated: ", "'yes, because it is'"),
    (
        does.ok("yes", finish="length"),
        "truncated: ",
        "truncated: no verdict within 16 tokens (a judge that thinks needs more, give --judge-max-tokens): 'yes'",
    ),
    (does.ok("no", finish="abort"), "api_error: ", "ended by abort: 'no'"),
    (does.ok("", finish="content_filter"), "refused: ", "content filter"),
    (does.body({"choices": []}), "unparsable: ", "the reply has no text"),
    (does.ok(None), "unparsable: ", "the reply has no text"),
    (does.body({"choices": "yes"}), "unparsable: ", "no text"),
]


@pytest.mark.parametrize(("behaviour", "reason", "words"), FAILURES, ids=[row[2] for row in FAILURES])
def test_a_call_without_a_verdict_leaves_its_answer_unscored(behaviour: Behaviour, reason: str, words: str) -> None:
    (verdict,), _ = graded(always(behaviour), cases(1))
    assert verdict.correct is None
    assert str(verdict.reason).startswith(reason)
    assert words in str(verdict.reason)


def test_the_others_are_graded_all_the_same() -> None:
    verdicts, _ = graded(poison(0.3, does.status(400), always(does.ok("yes"))), cases(60))
    unscored = [verdict for verdict in verdicts if verdict.correct is None]
    assert 5 < len(unscored) < 35
    assert all(verdict.correct is True for verdict in verdicts if verdict not in unscored)


def test_what_concerns_every_call_ends_the_run() -> None:
    with pytest.raises(Denied):
        graded(always(does.status(401)), cases(3))
    with pytest.raises(Unavailable):
        graded(always(does.status(503)), cases(8))


def test_what_was_graded_once_is_not_asked_again(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    first, calls = graded(by_answer, cases(9), file)
    assert calls == 9
    again, calls = graded(always(does.status(500)), cases(9), file)
    assert (again, calls) == (first, 0)


def test_failures_are_not_remembered(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    for behaviour, _, _ in FAILURES:
        (verdict,), _ = graded(always(behaviour), cases(1), file)
        assert verdict.correct is None
    (verdict,), calls = graded(always(does.ok("no")), cases(1), file)
    assert (verdict, calls) == (Verdict(False), 1)


def test_cached_and_asked_verdicts_keep_their_order(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    graded(by_answer, cases(30)[::2], file)
    with serving(by_answer, concurrency=4) as (there, server):
        judge = OpenAIJudge("m", server, Cache(file, "m", PROMPT, "http://here"))
        verdicts = list(judge.grade(cases(30)))
        assert (judge.cached, len(there.asked)) == (15, 15)
    assert [verdict.correct for verdict in verdicts] == [n % 3 == 0 for n in range(30)]


def test_cached_verdicts_are_not_held_back_by_cases_to_come(tmp_path: Path) -> None:
    file = tmp_path / "v.sqlite"
    graded(always(does.ok("yes")), cases(3), file)
    with serving(always(does.hang())) as (_, server):
        asked: list[Case] = []

        def coming() -> Iterator[Case]:
            for case in cases(3):
                asked.append(case)
                yield case

        first = next(OpenAIJudge("m", server, Cache(file, "m", PROMPT, "http://here")).grade(coming()))
    assert (first, len(asked)) == (Verdict(True), 1)


def test_a_case_that_comes_again_while_it_is_asked_is_not_asked_twice() -> None:
    verdicts, calls = graded(always(does.slow(0.3, does.ok("yes"))), [*cases(3), *cases(3)])
    assert ([verdict.correct for verdict in verdicts], calls) == ([True] * 6, 3)


class Renaming:
    """A transport whose model knows only max_completion_tokens."""

    live = True

    def __init__(self) -> None:
        self.usage, self.progress, self.replies, self.bodies = Usage(), NullProgress(), list[Reply](), list[Call]()
        self.room, self.open = True, 0

    def submit(self, call: Call) -> None:
        self.bodies.append(call)
        self.open += 1
        words = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
        refused = "max_tokens" in call.body
        self.replies.append(
            Reply(call.id, None if refused else body, Failure("api_error", words, 400) if refused else None)
        )

    def take(self, *, wait: bool) -> list[Reply]:
        found, self.replies = self.replies, []
        self.open -= len(found)
        return found

    def close(self) -> None: ...


def test_a_model_that_calls_the_limit_by_another_name_is_asked_again() -> None:
    transport = Renaming()
    assert list(OpenAIJudge("o9", transport).grade(cases(3))) == [Verdict(True)] * 3
    assert len(transport.bodies) == 4  # the first one twice


def test_the_limit_is_renamed_over_http_too() -> None:
    refusal = does.status(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    verdicts, calls = graded(in_turn(refusal, does.ok("yes")), cases(1))
    assert (verdicts, calls) == ([Verdict(True)], 2)


def test_a_server_that_is_never_content_is_not_asked_for_ever() -> None:
    refusal = does.status(400, "Use 'max_completion_tokens' instead.")
    (verdict,), calls = graded(always(refusal), cases(1))
    assert (verdict.correct, calls) == (None, 2)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("<think>\nno, yes?\n</think>\n\nYes.", True),
        ("The student says no.\n</think>\n\nno", False),
        ("<think>\nyes", None),
        ("<think>\nyes\n</think>\n\n", None),
    ],
)
def test_the_verdict_stands_behind_the_judges_own_thought(text: str, right: bool | None) -> None:
    assert parse_verdict(text) is right


def test_a_judge_that_thinks_to_its_last_token_gives_no_verdict() -> None:
    message = {"role": "assistant", "content": None, "reasoning": "The student says yes"}
    with serving(always(does.body({"choices": [{"message": message, "finish_reason": "length"}]}))) as (_, transport):
        (verdict,) = OpenAIJudge("m", transport).grade([Case("q", "gold", "gold")])
    assert verdict.correct is None
    assert str(verdict.reason).startswith("truncated: no verdict within 16 tokens")
    assert "give --judge-max-tokens" in str(verdict.reason)


class Thinker:
    """A model as OpenAI's that think: no temperature but 1, another name of the limit, and enough tokens or no text."""

    def __init__(self, needs: int) -> None:
        self.needs = needs

    def __call__(self, n: int, body: Any) -> Behaviour:
        if "max_tokens" in body:
            words = "Unsupported parameter: 'max_tokens' is not supported here. Use 'max_completion_tokens' instead."
            return does.status(400, words, {"param": "max_tokens", "code": "unsupported_parameter"})
        if body.get("temperature", 1) != 1:
            words = "Unsupported value: 'temperature' does not support 0 here. Only the default (1) value is supported."
            return does.status(400, words, {"param": "temperature", "code": "unsupported_value"})
        message = {"role": "assistant", "content": "yes", "reasoning_content": "The student says no. No?"}
        if body["max_completion_tokens"] < self.needs:
            return does.body({"choices": [{"message": message | {"content": ""}, "finish_reason": "length"}]})
        return does.body({"choices": [{"message": message, "finish_reason": "stop"}]})


def test_a_judge_that_thinks_is_asked_without_what_it_refuses_which_is_told_once() -> None:
    with serving(Thinker(needs=500)) as (there, transport):
        transport.progress = notes = Notes()
        judge = OpenAIJudge("o9", transport, max_tokens=2000)
        assert list(judge.grade(cases(40))) == [Verdict(True)] * 40
        assert "temperature" not in there.asked[-1].body
        assert there.asked[-1].body["max_completion_tokens"] == 2000
        late = list(judge.grade([Case("another", "gold", "gold")]))
    assert late == [Verdict(True)]
    assert [note for note in notes.notes if "temperature" in note] == [
        "the judge openai:o9 does not take temperature 0: it is left out from here on, and the server's own counts"
    ]
    assert sum("max_completion_tokens" in note for note in notes.notes) == 1


def test_a_judge_with_too_few_tokens_to_think_gives_no_verdict_and_names_the_flag() -> None:
    with serving(Thinker(needs=500)) as (_, transport):
        (verdict,) = OpenAIJudge("o9", transport).grade(cases(1))
    assert verdict.correct is None
    assert verdict.reason is not None and "--judge-max-tokens" in verdict.reason


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        ("Unrecognized request argument supplied: temperature", True),
        ("body.temperature: Extra inputs are not permitted", True),
        ("`temperature` is deprecated for this model.", True),
        ("This model does not support the temperature parameter", True),
        ("Unsupported parameter: 'messages'", False),
        ("the temperature is nice today", False),
    ],
)
def test_what_a_server_refuses_is_left_out_however_it_says_so(words: str, left_out: bool) -> None:
    def script(n: int, body: Any) -> Behaviour:
        return does.status(400, words) if "temperature" in body else does.ok("yes")

    (verdict,), calls = graded(script, cases(1))
    assert (verdict.correct, calls) == ((True, 2) if left_out else (None, 1))


def test_a_server_that_goes_on_to_refuse_what_it_was_not_given_is_not_asked_again() -> None:
    (verdict,), calls = graded(always(does.status(400, "Unsupported parameter: 'temperature'")), cases(1))
    assert (verdict.correct, calls) == (None, 2)


def test_what_a_judges_server_is_in_trouble_for_is_mended_with_judge_which_has_no_base_url() -> None:
    with advise_judge_flags(), pytest.raises(Unavailable, match="correct --base-url"):
        probe_server("http://127.0.0.1:9/v1", None)
    with pytest.raises(Unavailable, match="correct the URL in --judge"), advise_judge_flags():
        probe_server("http://127.0.0.1:9/v1", None)
    refusal = does.status(400, "Unsupported parameter: 'messages'")
    with serving(always(refusal)) as (_, transport), pytest.raises(BadConfig, match="another model than m in --judge"):
        list(OpenAIJudge("m", transport).grade(cases(60)))
