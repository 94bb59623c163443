"""The lexical judge: how many of the gold answer's telling words the answer has. Offline, and open to inspection.

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
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import pairwise

from stages.judges.base import Case, Verdict
from stages.judges.exact import is_equal, normalise
from stages.judges.reading.claims import candidates, claimed, is_list, is_undecided
from stages.judges.reading.letters import is_marked, without_asides
from stages.judges.reading.numbers import Style, detect_style
from stages.judges.reading.polarity import stated, wanted
from stages.judges.several_golds import grade_any_gold
from stages.judges.text_normalization import (
    ARTICLES,
    CHOICE,
    NOT,
    all_keys,
    content,
    get_keys,
    has,
    is_number,
    ranges,
    respelled,
    split_words,
    stem,
    units,
)

_REACH = 3  # words after a `not` that it denies
_INTERJECTED = re.compile(r"^\W*no\W+", re.IGNORECASE)  # No, it was Ada
_PASSED_OVER = re.compile(r"^(\W*not [^,.;]{1,40}),\s", re.IGNORECASE)  # not Bo, Ada
_SUBJECT = re.compile(r"^([^,.;]{1,60}?) (?:did|does|do|was|is|are|were|has|had|have|can|could|would)(?: not|n't)\b")
_INSTEAD = re.compile(r"\b(?:rather than|instead of|as opposed to)\b", re.IGNORECASE)
_OPPOSED = (
    *(("before", "after"), ("over", "under"), ("above", "below"), ("more", "less"), ("up", "down"), ("with", NOT)),
    *(("early", "late"), ("bc", "ad"), ("north", "south"), ("east", "west"), ("inside", "outside"), ("left", "right")),
)
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
_TERM = re.compile(r"[^\s()]*\([^()]*\)|[^\s^]*\^[^\s.,;]+")
_FUNCTION = re.compile(r"(?<![A-Za-z])[A-Za-z]\(|\^[A-Za-z(]|(?<![A-Za-z])[a-ln-zA-LN-Z]\^")  # O(n), 2^n, n^2; not m^2
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ]+")
_PLAIN_FORMULA = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ", "0123456789n", "$\\{}")
_INITIALS = re.compile(r"((?<![\w.])(?:[A-Z]\. ?){1,4})([A-Z]\w+)")
_OPPOSITES = {one: other for pair in _OPPOSED for one, other in (pair, pair[::-1]) if one != NOT}
_RELEASING = frozenset({"but", "only", "just", "merely"})  # not Bo but Ada; not only Ada
_TELLING_UNITS = frozenset({"percent", "permille", "bc"})  # 5 % is not 5
_ROUGH = frozenset(  # before a number of the gold answer: another number may be meant
    {"about", "almost", "approximately", "around", "c", "ca", "circa", "less", "more", "most", "near", "nearly", "over"}
    | {"roughly", "some", "than", "under"}
)

WEIGHTS: Mapping[str, float] = {
    "constant": -2.83,  # an answer that shows nothing of the below is wrong
    "recall": 4.90,  # share of the telling words that the answer has; where nothing else counts, 58 % will do
    "numbers_missing": -1.20,  # share of the gold answer's numbers that the answer lacks
    "choice": 1.83,  # the recall once more where the gold answer says "or": 42 % will do
    "denial": 1.76,  # 1 if gold answer and answer both deny something, -1 if only the gold answer does
}


class LexicalJudge:
    """Right where a rule says so or, where no rule decides, if the weighted measures come out above 0."""

    name = "lexical"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            yield Verdict(grade_any_gold(case, is_right))


def is_right(case: Case) -> bool:
    """Whether the answer says the gold answer, or what it says without brackets; any others are not looked at."""
    return _is_right(case) or any(_is_right(replace(case, gold=gold)) for gold in _other_names(case))


def _other_names(case: Case) -> list[str]:
    """Of carbon dioxide (CO2) both names, for an answer that has no brackets itself."""
    aside = _ASIDE.fullmatch(case.gold.strip()) if len(case.gold) <= _LONGEST_NAME else None
    if aside is None or "(" in case.prediction:
        return []
    name, within = aside.groups()
    is_name = within.isupper() or any(unit - {""} for unit in units(split_words(within)).values())
    names = [name, within] if is_name else [name]
    return [each for each in names if wanted(each) is None or is_equal(replace(case, gold=each))]


def _is_right(case: Case) -> bool:
    sides = compare_words(case)
    ruled = decide_by_rule(sides)
    return compute_log_odds(measure(sides)) > 0 if ruled is None else ruled


@dataclass(frozen=True)
class Sides:
    """The words of a case. Telling: those of the gold answer that the question does not already contain."""

    case: Case
    claim: str  # what counts of the answer
    style: Style  # of numbers
    asked: frozenset[str]  # stems
    gold: Sequence[str]
    answer: Sequence[str]
    telling: Sequence[str]
    hits: frozenset[str]  # the telling words that the answer has


def compare_words(case: Case) -> Sides:
    """A gold answer that the question contains altogether is told by all its content words, else by all its words."""
    style = detect_style(case.question, case.gold, case.prediction)
    asked = frozenset(stem(word) for word in split_words(case.question, style))
    claim = claimed(case.question, case.gold, case.prediction)
    plain = respelled(case.gold) | respelled(claim)
    gold, answer = ([plain.get(word, word) for word in split_words(text, style)] for text in (case.gold, claim))
    telling = _new(content(gold), asked) or _unique(content(gold)) or _unique(gold)
    hits = _hits(telling, answer) - _of_another_unit(gold, answer, asked)
    return Sides(case, claim, style, asked, gold, answer, telling, hits)


def _unique(found: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(found))


def _new(found: Iterable[str], asked: frozenset[str]) -> list[str]:
    """The different words that the question does not contain. What is denied is never the question's."""
    return [word for word in _unique(found) if word == NOT or stem(word) not in asked]


def _hits(telling: Sequence[str], among: Sequence[str]) -> frozenset[str]:
    known = all_keys(among)
    return frozenset(word for word in telling if has(word, known))


def _of_another_unit(gold: Sequence[str], answer: Sequence[str], asked: frozenset[str]) -> frozenset[str]:
    """The numbers that the answer has with other units alone: 5 euros for $5, 5 % for 5; 5 for $5 is none of these."""
    found, wanted = units(answer), units(gold)
    shared = found.keys() & wanted.keys()
    return frozenset(number for number in shared if not _agree(wanted[number], found[number], asked))


def _agree(wanted: AbstractSet[str], found: AbstractSet[str], asked: frozenset[str]) -> bool:
    wanted, found = ({"" if unit == "°" else unit for unit in side} for side in (wanted, found))
    if "" in wanted:
        return any(unit not in _TELLING_UNITS or unit in asked for unit in found)
    return "" in found or not wanted.isdisjoint(found)


def decide_by_rule(sides: Sides) -> bool | None:
    """The verdict where nothing is to be weighed."""
    gold = normalise(sides.case.gold)
    if is_equal(sides.case):
        return True
    polarity = wanted(sides.case.gold)
    if polarity is not None and (polarity.alone or stated(sides.claim) is not polarity.yes):
        return stated(sides.claim) is polarity.yes
    if not sides.gold:  # signs alone, such as ∞
        signs = [word.strip(".,;:!?'\"") for word in sides.claim.split() if not split_words(word)]
        return bool(gold) and [gold] == [sign for sign in signs if sign]
    if _is_guess(sides):
        return False
    if _same(sides.gold, sides.answer) or _is_short_form(sides):
        return True
    if _is_of_another(sides):
        return False
    if not sides.hits.issuperset(_decisive(sides)):
        return False
    if (not content(sides.gold) or sides.gold == ["may"]) and not _quotes(sides):
        return False
    if any(word not in sides.answer and _OPPOSITES[word] in sides.answer for word in sides.gold if word in _OPPOSITES):
        return False
    only_denies = set(sides.telling) == {NOT}
    matched = sides.hits - {"" if only_denies else NOT}
    if only_denies and _RELEASING.intersection(sides.answer):
        return False
    return False if not matched or _denied(sides) or _miscounts(sides) else None


def _miscounts(sides: Sides) -> bool:
    """Whether the answer has other numbers in place of the gold answer's, which are no rough ones, or 2-1 for 1-2."""
    rough = {number for word, number in pairwise(sides.gold) if word in _ROUGH}
    others = {word for word in sides.answer if is_number(word)}.difference(sides.gold, sides.asked)
    if others and not rough.issuperset(_missing(sides)):
        return True
    said = ranges(sides.answer)
    return any((one, other) not in said and (other, one) in said for one, other in ranges(sides.gold))


def _quotes(sides: Sides) -> bool:
    """Whether the words of a name that has no content words, such as The Who, stand in the answer in their order.

    May is none that may be.
    """
    _, _, name = sides.case.gold.strip().rpartition(" ")
    is_name = name[:1].isupper() and name.lower() not in ARTICLES and sides.claim != sides.claim.lower()
    if is_name and name not in sides.claim and name.upper() not in sides.claim:
        return False
    return f" {' '.join(sides.gold)} " in f" {' '.join(sides.answer)} "


def _is_short_form(sides: Sides) -> bool:
    """Whether the answer is a last name alone, a place without its land, none for 0, or written in one word."""
    said, gold, question = content(sides.answer), sides.case.gold, sides.case.question
    if "".join(sides.gold) == "".join(sides.answer) and all(map(str.isalpha, sides.gold)):
        return len(gold) >= _SHORTEST_JOINED
    if {(*content(sides.gold),), (*said,)} == {("0",), (NOT,)}:
        return True
    if (
        _PERSON.search(question)
        and _NAME.fullmatch(gold)
        and sides.gold[-1].isalpha()
        and not is_marked(sides.gold[-1])
    ):
        last = gold.split()[-1]
        alone = re.fullmatch(
            rf"(?:[Ii]t|[Tt]his|[Tt]he \w+)\b[^A-Z]{{0,60}}\b(?:by|is|was) {re.escape(last)}\W*", sides.claim
        )
        return said == [sides.gold[-1]] or (alone is not None and NOT not in sides.answer)
    place, comma, _ = gold.partition(", ")
    if _is_formula(gold) and NOT not in sides.answer:
        return _has_formula(_flat(gold).strip(), _flat(sides.claim))
    return (
        bool(comma and said and _PLACE.search(question)) and place[:1].isupper() and said == content(split_words(place))
    )


def _is_of_another(sides: Sides) -> bool:
    """Whether the answer lacks a formula, an era or an item of a list, or has the initials of somebody else."""
    gold, claim = sides.case.gold, sides.claim
    if "bc" in sides.gold and "bc" not in sides.answer and "bc" not in sides.asked and any(map(is_number, sides.gold)):
        return True
    if len(gold) <= _LONGEST_NAME:
        flat, said = _flat(gold), _flat(claim)
        for formula in filter(_FUNCTION.search, _TERM.findall(flat)):
            if not _has_formula(formula, said):
                return True
        known = _INITIALS.findall(claim)
        for letters, name in _INITIALS.findall(gold):
            others = [_letters(other) for other, same in known if same == name]
            mine = _letters(letters)
            if others and not any(mine.startswith(other) or other.startswith(mine) for other in others):
                return True
    items = [] if CHOICE in sides.gold else candidates(gold)
    return any(not _hits(content(split_words(item, sides.style)), sides.answer) for item in items)


def _is_formula(gold: str) -> bool:
    flat = _flat(gold).strip() if len(gold) <= _LONGEST_NAME else ""
    return _TERM.fullmatch(flat) is not None and _FUNCTION.search(flat) is not None


def _has_formula(formula: str, said: str) -> bool:
    letters = r"\s*".join(map(re.escape, re.sub(r"\s", "", formula)))
    return re.search(rf"(?<![\w^]){letters}(?![\w^])", said) is not None


def _flat(formula: str) -> str:
    return _RAISED.sub(r"^\g<0>", formula.replace("**", "^")).translate(_PLAIN_FORMULA)


def _letters(initials: str) -> str:
    return re.sub(r"\W", "", initials)


def _decisive(sides: Sides) -> frozenset[str]:
    """Of the telling words the letters, numerals and formulas: without them it is another vitamin or another war."""
    found = frozenset(word for word in sides.telling if is_marked(word))
    return found.intersection(split_words(without_asides(sides.case.gold))) if found else found


def _is_guess(sides: Sides) -> bool:
    """Whether the answer is a list of candidates, of which only some are the gold answer, and this is no list."""
    items = candidates(sides.claim)
    if len(sides.gold) == 1 and is_marked(sides.gold[0]):  # which option it is
        said = split_words(_REASON.split(sides.claim, maxsplit=1)[0], sides.style)
        threes = zip(said, said[1:], said[2:], strict=False)
        if any(joint == "and" and sides.gold[0] in (a, b) and is_marked(a) and is_marked(b) for a, joint, b in threes):
            return True
        items = items or [word for word in _unique(said) if is_marked(word)][2:]
    if is_undecided(sides.claim) and not is_undecided(sides.case.gold):
        return True
    if not items or is_list(sides.case.gold) or CHOICE in sides.gold:
        return False
    return any(not _hits(sides.telling, split_words(item, sides.style)) for item in items)


def _same(gold: Sequence[str], answer: Sequence[str]) -> bool:
    """Whether the words differ in their endings at most; articles do not count unless there is nothing else: type A."""
    one, other = ([word for word in side if word not in ARTICLES] or side for side in (gold, answer))
    return bool(one) and len(one) == len(other) and all(stem(a) == stem(b) for a, b in zip(one, other, strict=True))


def _denied(sides: Sides) -> bool:
    """Whether every match stands shortly after a `not`, and neither question nor gold answer denies anything."""
    claim = _INSTEAD.sub(" not ", sides.claim)
    if NOT in sides.asked or NOT in sides.gold or (NOT not in sides.answer and claim == sides.claim):
        return False
    claim = _PASSED_OVER.sub(r"\1 but ", _INTERJECTED.sub("", claim))
    subject = _SUBJECT.match(claim)
    if subject and set(sides.telling) <= set(split_words(subject[1])):
        return True
    wanted, reach = all_keys(sides.telling), 0
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


def measure(sides: Sides) -> dict[str, float]:
    """What WEIGHTS weighs, by name: shares of 0 to 1, signs of -1 to 1. The gold answer has a word at least."""
    recall = len(sides.hits) / len(sides.telling)
    return {
        "constant": 1.0,
        "recall": recall,
        "numbers_missing": _numbers_missing(sides),
        "choice": recall if CHOICE in sides.gold else 0.0,
        "denial": _denial(sides),
    }


def compute_log_odds(found: Mapping[str, float]) -> float:
    """The logarithm of how much likelier right is than wrong."""
    return sum(WEIGHTS[name] * value for name, value in found.items())


def _numbers_missing(sides: Sides) -> float:
    """The share of the gold answer's numbers that the answer has not."""
    return len(_missing(sides)) / len(_numbers(sides)) if _numbers(sides) else 0.0


def _numbers(sides: Sides) -> list[str]:
    """Those of the gold answer that the question does not contain, if there are such."""
    numbers = [word for word in _unique(sides.gold) if is_number(word)]
    return _new(numbers, sides.asked) or numbers


def _missing(sides: Sides) -> list[str]:
    found = set(sides.answer) - _of_another_unit(sides.gold, sides.answer, sides.asked)
    return [word for word in _numbers(sides) if word not in found]


def _denial(sides: Sides) -> float:
    if NOT not in sides.gold:
        return 0.0
    return 1.0 if NOT in sides.answer else -1.0
