"""The lexical judge: which share of the gold answer's key words the answer has. Offline, and open to inspection.

Rules decide what is clear (equal, empty, nothing in common, denied, another letter or numeral, yes or no, a list of
candidates), a few weighed measures the rest. What repeats the prompt or says that it cannot say counts for nothing. The
weights are fitted to GPT-4.1's verdicts on half of the questions of the official first-round result files. On the other
half the judge agrees with 87.5 % (rank_iter0) and 89.7 % (…_prompt-self-qa) of the verdicts, exact match with 62 and 74
%, containment with 84 and 86 %, plain token recall with 84 and 87 %; with 86.5 and 89.6 % if equal answers count once.
It knows no other wording of the same fact, and no contradiction beside the right words. The best of five self-edits
that it picks is the best by GPT-4.1's verdicts, or one as good, in 68 and 78 % of the contexts: no more often than that
of plain token recall (70 and 80 %), and far more often than by chance (32 and 26 %).
`python -m tests.bench.judge_agreement` prints these figures; with `--fit` the weights, and what each is worth.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from stages.judges.base import Case, Verdict
from stages.judges.exact import is_equal, normalise
from stages.judges.reading.claims import (
    is_list,
    is_undecided,
    list_candidates,
    read_answer_polarity,
    read_gold_polarity,
)
from stages.judges.reading.comparison import Comparison, compare_words, match, unique
from stages.judges.reading.dates import names_other_date
from stages.judges.reading.letters import is_marked
from stages.judges.reading.text_normalization import (
    ARTICLES,
    CHOICE,
    NOT,
    drop_function_words,
    find_ranges,
    find_units,
    get_all_keys,
    get_keys,
    is_number,
    split_words,
    stem,
)
from stages.judges.several_golds import grade_any_gold

_REACH = 3  # words after a `not` that it denies
_INTERJECTED = re.compile(r"^\W*no\W+", re.IGNORECASE)  # No, it was Ada
_PASSED_OVER = re.compile(r"^(\W*not [^,.;]{1,40}),\s", re.IGNORECASE)  # not Bo, Ada
_SUBJECT = re.compile(r"^([^,.;]{1,60}?) (?:did|does|do|was|is|are|were|has|had|have|can|could|would)(?: not|n't)\b")
_INSTEAD = re.compile(r"\b(?:rather than|instead of|as opposed to)\b", re.IGNORECASE)
_OPPOSED = (
    *(("before", "after"), ("over", "under"), ("above", "below"), ("more", "less"), ("up", "down"), ("with", NOT)),
    *(("early", "late"), ("bc", "ad"), ("north", "south"), ("east", "west"), ("inside", "outside"), ("left", "right")),
)
_OPPOSITES = {one: other for pair in _OPPOSED for one, other in (pair, pair[::-1]) if one != NOT}
_ASIDE = re.compile(r"([^()]+?)\s*\(([^()]+)\)\.?")
_LONGEST_NAME = 80  # letters of a gold answer that is looked at as a name or a formula
_SHORTEST_JOINED = 6  # letters of a gold answer that is also known without its blanks: icecream
_PERSON = re.compile(r"\b(?:who|whose|whom|wer|qui|quién|кто)\b", re.IGNORECASE)
_PLACE = re.compile(r"\b(?:where|city|town|place|wo|où|dónde)\b", re.IGNORECASE)
_NAME = re.compile(
    r"(?:(?!The )[^\W\d_][\w.'’-]* )(?:(?:van|von|der|de|da|di|del|la|le|bin|ibn|al|[^\W\d_a-z][\w.'’-]*) ){0,4}"
    r"[^\W\d_a-z][\w'’-]+"
)
_REASON = re.compile(r"\b(?:because|since|whereas|while|as)\b|[;\n]", re.IGNORECASE)
_INITIALS = re.compile(r"((?<![\w.])(?:[A-Z]\. ?){1,4})([A-Z]\w+)")
_RELEASING = frozenset({"but", "only", "just", "merely"})  # not Bo but Ada; not only Ada
_ROUGH = frozenset(  # before a number of the gold answer: another number may be meant
    {"about", "almost", "approximately", "around", "c", "ca", "circa", "less", "more", "most", "near", "nearly", "over"}
    | {"roughly", "some", "than", "under"}
)

_FORMULA = re.compile(r"[^\s()]*\([^()]*\)|[^\s^]*\^[^\s.,;]+")
_HAS_POWER = re.compile(r"(?<![A-Za-z])[A-Za-z]\(|\^[A-Za-z(]|(?<![A-Za-z])[a-ln-zA-LN-Z]\^")  # O(n), 2^n, n^2; not m^2
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]+")
_PLAIN = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ", "0123456789n", "$\\{}")
WEIGHTS: Mapping[str, float] = {
    "constant": -2.83,  # an answer that shows nothing of the below is wrong
    "recall": 4.90,  # share of the telling words that the answer has; where nothing else counts, 58 % will do
    "numbers_missing": -1.20,  # share of the gold answer's numbers that the answer lacks
    "choice": 1.83,  # the recall once more where the gold answer says "or": 42 % will do
    "denial": 1.76,  # 1 if gold answer and answer both deny something, -1 if only the gold answer does
}


class LexicalJudge:
    """Right if a rule says so or, where no rule decides, if the weighted measures sum to more than 0."""

    name = "lexical"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            yield Verdict(grade_any_gold(case, is_right))


def is_right(case: Case) -> bool:
    """True if the answer states the first gold answer, with or without its brackets."""
    return _is_right(case) or any(_is_right(replace(case, gold=name)) for name in _list_other_names(case))


def _list_other_names(case: Case) -> Iterator[str]:
    """Yield both names of a gold answer like carbon dioxide (CO2), if the answer has no brackets itself."""
    aside = _ASIDE.fullmatch(case.gold.strip()) if len(case.gold) <= _LONGEST_NAME else None
    if aside is None or "(" in case.prediction:
        return
    name, within = aside.groups()
    is_name = within.isupper() or any(unit - {""} for unit in find_units(split_words(within)).values())
    for each in (name, within) if is_name else (name,):
        if read_gold_polarity(each) is None or is_equal(replace(case, gold=each)):
            yield each


def _is_right(case: Case) -> bool:
    words = compare_words(case)
    ruled = decide_by_rule(words)
    return compute_log_odds(measure(words)) > 0 if ruled is None else ruled


def measure(words: Comparison) -> dict[str, float]:
    """Measure what WEIGHTS weighs, by name: shares of 0 to 1, signs of -1 to 1. The gold answer has a word at least."""
    recall = len(words.matches) / len(words.key_words)
    return {
        "constant": 1.0,
        "recall": recall,
        "numbers_missing": len(words.missing_numbers) / len(words.numbers) if words.numbers else 0.0,
        "choice": recall if CHOICE in words.gold else 0.0,
        "denial": 0.0 if NOT not in words.gold else 1.0 if NOT in words.answer else -1.0,
    }


def compute_log_odds(measures: Mapping[str, float]) -> float:
    """Return the log-odds that the answer is right."""
    return sum(WEIGHTS[name] * value for name, value in measures.items())


def decide_by_rule(words: Comparison) -> bool | None:
    """Return the verdict of the clear cases; None where the measures must be weighed."""
    if is_equal(words.case):
        return True
    polarity = read_gold_polarity(words.case.gold)
    if polarity is not None:
        is_as_wanted = read_answer_polarity(words.claim) is polarity.yes
        if polarity.alone or not is_as_wanted:
            return is_as_wanted
    if not words.gold:  # signs alone, such as ∞
        gold = normalise(words.case.gold)
        signs = [word.strip(".,;:!?'\"") for word in words.claim.split() if not split_words(word)]
        return bool(gold) and [gold] == [sign for sign in signs if sign]
    if _is_guess(words):
        return False
    if _differ_in_endings(words.gold, words.answer) or _is_short_form(words):
        return True
    return False if _lacks_something(words) or _contradicts(words) else None


def _lacks_something(words: Comparison) -> bool:
    """True if the answer lacks a word that no other words make up for."""
    if _is_of_another(words) or not words.matches.issuperset(words.decisive):
        return True
    only_denies = set(words.key_words) == {NOT}
    if not words.matches - {"" if only_denies else NOT} or (only_denies and _RELEASING.intersection(words.answer)):
        return True
    return (not drop_function_words(words.gold) or words.gold == ["may"]) and not _quotes(words)


def _contradicts(words: Comparison) -> bool:
    opposites = (word for word in words.gold if word in _OPPOSITES)
    is_opposed = any(word not in words.answer and _OPPOSITES[word] in words.answer for word in opposites)
    return is_opposed or _denies(words) or _miscounts(words) or names_other_date(words.case.gold, words.claim)


def _miscounts(words: Comparison) -> bool:
    """True if the answer replaces the gold answer's exact numbers by others, or 1-2 by 2-1."""
    rough = {number for word, number in pairwise(words.gold) if word in _ROUGH}
    others = {word for word in words.answer if is_number(word)}.difference(words.gold, words.asked)
    if others and not rough.issuperset(words.missing_numbers):
        return True
    ranges = find_ranges(words.answer)
    return any((one, other) not in ranges and (other, one) in ranges for one, other in find_ranges(words.gold))


def _quotes(words: Comparison) -> bool:
    """True if a gold answer without content words, such as The Who, stands in the answer word for word.

    May is a name, `may` is none.
    """
    _, _, name = words.case.gold.strip().rpartition(" ")
    is_name = name[:1].isupper() and name.lower() not in ARTICLES and words.claim != words.claim.lower()
    if is_name and name not in words.claim and name.upper() not in words.claim:
        return False
    return f" {' '.join(words.gold)} " in f" {' '.join(words.answer)} "


def _is_short_form(words: Comparison) -> bool:
    """True if the answer is a short form: a last name, a place without country, none for 0, or a joined word."""
    content, gold, question = drop_function_words(words.answer), words.case.gold, words.case.question
    if "".join(words.gold) == "".join(words.answer) and all(map(str.isalpha, words.gold)):
        return len(gold) >= _SHORTEST_JOINED
    if {(*drop_function_words(words.gold),), (*content,)} == {("0",), (NOT,)}:
        return True
    last = words.gold[-1]
    if _PERSON.search(question) and _NAME.fullmatch(gold) and last.isalpha() and not is_marked(last):
        name = re.escape(gold.split()[-1])
        alone = re.fullmatch(rf"(?:[Ii]t|[Tt]his|[Tt]he \w+)\b[^A-Z]{{0,60}}\b(?:by|is|was) {name}\W*", words.claim)
        return content == [last] or (alone is not None and NOT not in words.answer)
    formula = _flatten_powers(gold).strip() if len(gold) <= _LONGEST_NAME else ""
    if _is_formula(formula) and NOT not in words.answer:
        return _has_formula(formula, _flatten_powers(words.claim))
    place, comma, _ = gold.partition(", ")
    is_place = comma and content and _PLACE.search(question) and place[:1].isupper()
    return bool(is_place) and content == drop_function_words(split_words(place))


def _is_of_another(words: Comparison) -> bool:
    """True if the answer names another thing: no such formula, era or list item, or other initials."""
    gold, claim = words.case.gold, words.claim
    if "bc" in words.gold and "bc" not in words.answer and "bc" not in words.asked and any(map(is_number, words.gold)):
        return True
    if len(gold) <= _LONGEST_NAME:
        flat = _flatten_powers(claim)
        if not all(_has_formula(formula, flat) for formula in _list_formulas(_flatten_powers(gold))):
            return True
        known = _INITIALS.findall(claim)
        for letters, name in _INITIALS.findall(gold):
            others = [re.sub(r"\W", "", other) for other, same in known if same == name]
            mine = re.sub(r"\W", "", letters)
            if others and not any(mine.startswith(other) or other.startswith(mine) for other in others):
                return True
    items = [] if CHOICE in words.gold else list_candidates(gold)
    return not all(match(drop_function_words(split_words(item, words.style)), words.answer) for item in items)


def _is_guess(words: Comparison) -> bool:
    """True if the answer lists candidates of which only some are the gold answer, which is no list itself."""
    items = list_candidates(words.claim)
    if len(words.gold) == 1 and is_marked(words.gold[0]):  # which option it is
        said = split_words(_REASON.split(words.claim, maxsplit=1)[0], words.style)
        threes = zip(said, said[1:], said[2:], strict=False)
        if any(joint == "and" and words.gold[0] in (a, b) and is_marked(a) and is_marked(b) for a, joint, b in threes):
            return True
        items = items or [word for word in unique(said) if is_marked(word)][2:]
    if is_undecided(words.claim) and not is_undecided(words.case.gold):
        return True
    if not items or is_list(words.case.gold) or CHOICE in words.gold:
        return False
    return not all(match(words.key_words, split_words(item, words.style)) for item in items)


def _differ_in_endings(gold: Sequence[str], answer: Sequence[str]) -> bool:
    """True if words differ in their endings at most; articles count only where there is nothing else: type A."""
    one, other = ([word for word in side if word not in ARTICLES] or side for side in (gold, answer))
    return bool(one) and len(one) == len(other) and all(stem(a) == stem(b) for a, b in zip(one, other, strict=True))


def _denies(words: Comparison) -> bool:
    """True if every match follows a `not` closely, and neither question nor gold answer denies anything."""
    claim = _INSTEAD.sub(" not ", words.claim)
    if NOT in words.asked or NOT in words.gold or (NOT not in words.answer and claim == words.claim):
        return False
    claim = _PASSED_OVER.sub(r"\1 but ", _INTERJECTED.sub("", claim))
    subject = _SUBJECT.match(claim)
    if subject and set(words.key_words) <= set(split_words(subject[1])):
        return True
    wanted, reach = get_all_keys(words.key_words), 0
    for word in split_words(claim):
        if word == NOT:
            reach = _REACH + 1
        elif word in _RELEASING:
            reach = 0
        elif not wanted.isdisjoint(get_keys(word)):
            if reach == 0:
                return False
            reach = _REACH  # for a name of several words
        reach = max(0, reach - 1)
    return True


def _flatten_powers(text: str) -> str:
    """Write every power in a text as n^2, and drop the signs of TeX."""
    return _RAISED.sub(r"^\g<0>", text.replace("**", "^")).translate(_PLAIN)


def _is_formula(flat: str) -> bool:
    return _FORMULA.fullmatch(flat) is not None and _HAS_POWER.search(flat) is not None


def _list_formulas(flat: str) -> list[str]:
    return [term for term in _FORMULA.findall(flat) if _HAS_POWER.search(term)]


def _has_formula(formula: str, flat: str) -> bool:
    """True if a text contains this formula, whatever the blanks inside it."""
    letters = r"\s*".join(map(re.escape, re.sub(r"\s", "", formula)))
    return re.search(rf"(?<![\w^]){letters}(?![\w^])", flat) is not None
