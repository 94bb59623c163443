"""The lexical judge: which words tell, what makes two of them one, what rules decide, what the weights are worth."""

from collections.abc import Callable

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from stages.judges.base import Case
from stages.judges.exact import ExactJudge, normalise
from stages.judges.lexical import WEIGHTS, LexicalJudge, compute_log_odds, measure
from stages.judges.reading.comparison import compare_words
from stages.judges.reading.text_normalization import get_keys, split_words
from tests.bench.judge_agreement import FILES, JUDGES, compare, verdicts
from tests.bench.judge_fit import Graded, fit, held_out, load, unique
from tests.conftest import paper_file

ANY = st.text(st.characters(exclude_categories=()), max_size=60)  # lone surrogates too
CONTENT = ["Velm", "bridge", "1854", "21st", "théâtre", "Straße", "Ελλάδα", "москва"]
FUNCTION = ["an", "The", "or", "not", "only"]
SAID = [*CONTENT, *FUNCTION]
WORDS = st.lists(st.sampled_from(SAID), min_size=1, max_size=6)
DECORATED = st.sampled_from([str.upper, str.lower, str.title, '"{}"'.format, "({})".format, " {} ".format])
TELLING = ["velm", "bridge", "1854", "harbour", "granite", "3.5"]
OTHER = ["orsk", "tower", "1845", "meadow", "the", "not", "of", "36"]


def verdict(gold: str, prediction: str, question: str = "Where was Bo born?") -> bool | None:
    (found,) = LexicalJudge().grade([Case(question, gold, prediction)])
    return found.correct


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("Ada", "It was Ada"),
        ("Ada Velm", "Velm, Ada"),
        ("the bridges of Velm", "a bridge in Velm"),
        ("granite harbours", "The harbor? No: a granite harbour."),
        ("Velmish", "the Velm language, or Velmishes"),
        ("Théâtre d'Orsk", "THEATRE D’ORSK"),
        ("twenty-one", "21 of them"),
        ("the twenty-first century", "in the 21st century"),
        ("third", "It came 3rd"),
        ("1,854", "1854 sheep"),
        ("300 BCE", "about 300 B.C."),
        ("2.5%", "2.5 percent"),
        ("the U.S.", "in the US"),
        ("not paved", "It was never paved"),
        ("no", "It was not"),
        ("red or green", "green"),
        ("Velm", "Not Orsk but Velm"),
        ("Velm", "not only Velm"),
        ("Velm", "No, it was Velm"),
        ("A", "A"),
        ("天鹅桥", "那是天鹅桥。"),
        ("Москва", "в Москве"),
        ("١٨٥٤", "1854"),
        ("∞", "It is ∞"),
        ("Ada\u2028Velm", "Ada Velm"),
    ],
)
def test_an_answer_that_has_the_words_is_right(gold: str, prediction: str) -> None:
    assert verdict(gold, prediction) is True


@pytest.mark.parametrize(
    ("gold", "prediction"),
    [
        ("1854", "1845"),
        ("Velm", "not Velm"),
        ("Velm", "It is not in Velm"),
        ("not Velm", "Velm"),
        ("not paved", "It did not rain"),
        ("yes", "No"),
        ("Austria", "Australia"),
        ("the old stone bridge over the Velm in 1854", "the old stone bridge over the Velm in 1845"),
        ("3.5 miles", "It is 35 miles"),
        ("north south east west", "It lies north and east."),
        ("天鹅桥", "那是石头"),
        ("∞", "It is"),
        ("\u2028", "\u2028"),
        ("\ud800", "Ada"),
        ("", "Ada"),
    ],
)
def test_an_answer_without_the_words_or_that_denies_them_is_wrong(gold: str, prediction: str) -> None:
    assert verdict(gold, prediction) is False


def test_words_of_the_question_do_not_count_as_an_answer() -> None:
    question = "Who built the old bridge?"
    assert compare_words(Case(question, "the bridge builder Ada", "")).key_words == ["builder", "ada"]
    assert verdict("the bridge builder Ada", "the old bridge", question) is False
    assert verdict("the bridge builder Ada", "the builder Ada", question) is True


def test_a_gold_answer_that_the_question_contains_is_still_graded() -> None:
    assert verdict("Ada", "It was Ada", "Was it Ada or Bo?") is True
    assert verdict("Ada", "It was Bo", "Was it Ada or Bo?") is False


def test_the_words_are_compared_in_one_form() -> None:
    found = split_words("The U.S. didn't sell 1,854 sheep, 007 goats & twenty-one cows in the 1980s.")
    assert " ".join(found) == "the usa not sell 1854 sheep 7 goats and 21 cows in the 1980s"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("bridges", "bridge", True),
        ("granitish", "granite", True),
        ("war", "wars", True),
        ("war", "ward", False),
        ("austria", "australia", False),
        ("1854", "18541", False),
        ("москва", "москве", True),
    ],
)
def test_two_words_are_one_if_they_differ_in_the_ending_only(one: str, other: str, same: bool) -> None:
    assert (not get_keys(one).isdisjoint(get_keys(other))) is same


def test_every_measure_has_its_weight_and_is_explained_by_an_example() -> None:
    found = measure(compare_words(Case("When?", "not in 1854 or 1855", "not in 1854")))
    assert found == {
        "constant": 1.0,
        "recall": pytest.approx(2 / 3),
        "numbers_missing": 0.5,
        "choice": pytest.approx(2 / 3),
        "denial": 1.0,
    }
    assert compute_log_odds(found) == pytest.approx(sum(WEIGHTS[name] * found[name] for name in WEIGHTS))
    assert measure(compare_words(Case("When?", "not in 1854", "in 1854")))["denial"] == -1.0


def test_a_number_that_the_question_gives_is_not_asked_for() -> None:
    assert measure(compare_words(Case("Until when, from 1854?", "1854 to 1860", "1860")))["numbers_missing"] == 0.0
    assert measure(compare_words(Case("Until when, from 1854?", "1854 to 1860", "1854")))["numbers_missing"] == 1.0


@given(ANY, ANY, ANY)
@example("q", "\ud800", "\ud800")
@example("", "a.b.", "c.\u2028d.")
@settings(deadline=None)
def test_any_text_gets_a_verdict_and_an_empty_answer_is_wrong(question: str, gold: str, prediction: str) -> None:
    assert isinstance(verdict(gold, prediction, question), bool)
    assert verdict(gold, "", question) is False
    assert verdict("", "", question) is False


@given(ANY, st.sampled_from([str, str.upper, str.lower, "The {}".format, "{}...".format]))
@settings(deadline=None)
def test_what_is_right_by_exact_match_is_right(gold: str, decorate: Callable[[str], str]) -> None:
    prediction = decorate(gold)
    (found,) = ExactJudge().grade([Case("q", gold, prediction)])
    assume(found.correct)
    assert verdict(gold, prediction) is True


@given(WORDS, WORDS, WORDS, st.data())
@settings(deadline=None)
def test_case_and_punctuation_change_no_verdict(
    question: list[str], gold: list[str], answer: list[str], data: st.DataObject
) -> None:
    assume(not set(gold) <= set(FUNCTION))  # of such a name, as May and may, capitals are all that tells it
    plain = [" ".join(side) for side in (gold, answer, question)]
    assume(plain[2].lower() not in plain[1].lower())  # quotation marks within a question hide that it is repeated
    decorated = [" ".join(data.draw(DECORATED)(word) for word in side) for side in (gold, answer, question)]
    assume(not decorated[0].rstrip().endswith(")"))  # at a gold answer's end they hold another name of it
    assert verdict(*plain) == verdict(*decorated)


@given(st.lists(st.sampled_from(TELLING), min_size=1), st.lists(st.sampled_from(OTHER)))
@settings(deadline=None)
def test_an_answer_with_nothing_of_the_gold_answer_is_wrong(gold: list[str], answer: list[str]) -> None:
    assert verdict(" ".join(gold), " ".join(answer)) is False


@given(st.sets(st.sampled_from(["velm", "bridge", "harbour", "granite", "ada"])), st.integers(1000, 1999))
@settings(deadline=None)
def test_an_answer_with_another_number_is_wrong(gold: set[str], number: int) -> None:
    assume(number != 1854)
    said = " ".join([*sorted(gold), "in 1854"])
    assert verdict(said, f"It was {said}, they say") is True
    assert verdict(said, f"It was {said}, they say".replace("1854", str(number))) is False


@given(st.lists(st.sampled_from(TELLING), min_size=1), st.lists(st.sampled_from([*TELLING, "orsk", "of"])))
@settings(deadline=None)
def test_one_more_word_of_the_gold_answer_never_makes_a_right_answer_wrong(gold: list[str], answer: list[str]) -> None:
    said, before = " ".join(gold), " ".join(answer)
    assert not verdict(said, before) or all(verdict(said, f"{before} {word}") for word in gold)


@pytest.mark.parametrize("text", ["twenty a.b. 1,234 w{} ", "x", "e\u0301", "界", "not so much as "])
def test_a_huge_answer_is_read_in_linear_time(text: str) -> None:
    assert verdict("Ada Velm", text * 5_000 + " Ada Velm") is True


def test_normalised_words_and_the_judges_own_are_independent_of_each_other() -> None:
    assert normalise("well-known") == "wellknown"
    assert verdict("well-known", "wellknown") is True
    assert verdict("well-known", "well known") is True


@pytest.fixture(scope="module")
def graded() -> dict[str, list[Graded]]:
    return {name: load(paper_file(name)) for name in FILES}


@pytest.mark.paper_data
def test_the_weights_are_those_that_the_fit_half_gives(graded: dict[str, list[Graded]]) -> None:
    rows = [row for file in graded.values() for row in file if not held_out(row.case.question)]
    assert fit(rows) == WEIGHTS


@pytest.mark.paper_data
@pytest.mark.parametrize("name", FILES)
def test_lexical_agrees_with_the_papers_judge_on_held_out_questions_most_often(
    graded: dict[str, list[Graded]], name: str
) -> None:
    (lexical,) = [judge for judge in JUDGES if judge.name == "lexical"]
    assert compare(verdicts(lexical, graded[name]), graded[name])["agreement"] >= 0.87
    rows = [row for row in graded[name] if held_out(row.case.question)]
    found = {judge.name: compare(verdicts(judge, rows), rows)["agreement"] for judge in JUDGES}
    assert found.pop("lexical") >= max(0.87, *found.values())
    assert found["exact"] < 0.75
    triples = unique(rows)
    alone = {judge.name: compare(verdicts(judge, triples), triples)["agreement"] for judge in JUDGES}
    assert alone.pop("lexical") > max(0.86, *alone.values())
