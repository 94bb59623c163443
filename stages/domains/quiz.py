"""Questions that a model wrote about a passage: read them, drop what cannot measure, split them by fact.

A question measures learning if its answer follows from the passage, and from nothing else that the student sees.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from heapq import heappop, heappush

from stages.judges.reading.letters import UNSPACED
from stages.records.frozen import content_id, derive_seed
from stages.records.task import QaTask, Question

TEMPLATE = (
    "Let's read the following passage and write questions about its facts, each with a short answer. A question must "
    "make sense without the passage and must not contain its answer.\n\nPassage:\n{title}\n{context}\n\nQuestion 1: "
)
_LISTED = r"[\s>#*_•–-]*(?:\d+[.)])?[\s*_]*"  # what stands before a line of a list
_ASKED = re.compile(rf"{_LISTED}(?:question\s*\d*[\s*_]*[:.)]|q\s*\d*[\s*_]*:)[\s*_]*(?P<text>.+)", re.IGNORECASE)
_SAID = re.compile(rf"{_LISTED}(?:answer|a)\s*\d*[\s*_]*:[\s*_]*(?P<text>.+)", re.IGNORECASE)
_INLINE = re.compile(r"[\s*_]+(?:answer|a)\s*\d*[\s*_]*:[\s*_]*", re.IGNORECASE)
_SENTENCE = re.compile(rf"{_LISTED}(?P<question>[^?]*\w[^?]*\?)[\s*_]*(?P<answer>\S.*)?")
_REPEATS = "repeats another question"
_MOST_ANSWER = 200  # characters: a longer answer is a paragraph
_Words = tuple[str, ...]


def read_pairs(completion: str, *, opened: bool = False) -> list[tuple[str, str]]:
    """Read (question, answer) pairs from a completion, in whatever layout; lines that are neither are passed over.

    `opened`: the prompt ends in "Question 1: ", so the completion begins with the question's text.
    """
    found: list[tuple[str, str]] = []
    asked: str | None = None
    text = f"Question 1: {completion.strip()}" if opened and completion.strip() else completion
    for line in filter(None, map(str.strip, text.splitlines())):
        if match := _ASKED.fullmatch(line):
            asked, *said = _INLINE.split(match["text"], maxsplit=1)
            whole = _SENTENCE.fullmatch(asked)
            said = said or ([whole["answer"]] if whole and whole["answer"] else [])
            asked = whole["question"] if whole else asked
        elif asked is not None and (match := _SAID.fullmatch(line)):
            said = [match["text"]]
        elif (match := _SENTENCE.fullmatch(line)) and match["answer"]:
            asked, said = match["question"], [_SAID.sub(r"\g<text>", match["answer"])]
        else:
            continue
        if said:
            found.append((_clean(asked), _clean(said[0])))
            asked = None
    return [(question, answer) for question, answer in found if question and 0 < len(answer) <= _MOST_ANSWER]


def _clean(text: str) -> str:
    return text.strip().strip('*_`"“”').strip()


def _words(text: str) -> _Words:
    """The words of a text, without case and punctuation; each letter of a script that writes no spaces.

    Signs are part of a letter: vowels of Indian scripts, and accents, however these are encoded.
    """
    plain = UNSPACED.sub(r" \g<0> ", unicodedata.normalize("NFC", text).casefold())
    kept = (each if each.isalnum() or unicodedata.category(each)[0] == "M" else " " for each in plain)
    return tuple("".join(kept).split())


def _list_golds(question: Question) -> set[_Words]:
    """The words of each answer that counts as right, if it has any."""
    return {words for words in map(_words, question.golds) if words}


def _list_runs(words: _Words, lengths: Iterable[int]) -> set[_Words]:
    """All runs of so many words that stand one after the other."""
    return {words[place : place + length] for length in lengths for place in range(len(words) - length + 1)}


def _index(groups: Iterable[Iterable[_Words]]) -> defaultdict[_Words, set[int]]:
    """The places of the groups that have the words."""
    found = defaultdict[_Words, set[int]](set)
    for place, group in enumerate(groups):
        for words in group:
            found[words].add(place)
    return found


def find_flaws(task: QaTask, questions: Sequence[Question]) -> list[str | None]:
    """Return for each question why its words alone spoil it, None where they do not; no model is asked.

    It repeats one before it, with the same answer; its title or its own text says an answer of it; no answer has words.
    """
    title, seen = _words(task.title), set[tuple[_Words, _Words]]()

    def find(question: Question) -> str | None:
        asked, golds = _words(question.question), _list_golds(question)
        if (same := (asked, _words(question.answer))) in seen:
            return _REPEATS
        seen.add(same)
        if not golds:
            return "its answer has no words"
        lengths = set(map(len, golds))
        if golds & _list_runs(asked, lengths):
            return "its own text says the answer"
        return "the title says the answer" if golds & _list_runs(title, lengths) else None

    return list(map(find, questions))


def find_leaks(questions: Sequence[Question]) -> list[str | None]:
    """Return for each question which one that stays gives its answer away, or asks the same; None for those that stay.

    One whose answer no other says stays, and what it gives away goes; then the same among the others. Where all that
    are left are given away, as two by each other, the first of them stays, and those that say its answer go.
    """
    asked = [_words(question.question) for question in questions]
    golds = [_list_golds(question) for question in questions]
    answered = _index(golds)
    lengths = set(map(len, answered))
    said = [_list_runs(words, lengths) & answered.keys() for words in asked]
    saying, asking = _index(said), _index({words} for words in asked)
    flaws: list[str | None] = [None] * len(questions)
    order, left = iter(range(len(questions))), set(range(len(questions)))
    may_be_free = list(left)  # a heap: looked at again when one that said an answer of theirs has left

    def leave(place: int) -> None:
        left.discard(place)
        asking[asked[place]].discard(place)
        for gold in golds[place]:
            answered[gold].discard(place)
        for gold in said[place]:
            saying[gold].discard(place)
            if len(saying[gold]) <= 1:
                for each in answered[gold]:
                    heappush(may_be_free, each)

    def find_free() -> int | None:
        while may_be_free:
            place = heappop(may_be_free)
            if place in left and all(saying[gold] <= {place} for gold in golds[place]):
                return place
        return None

    while left:
        free = find_free()
        stays = next(place for place in order if place in left) if free is None else free
        leave(stays)
        text = questions[stays].question
        for flaw, index, keys in (
            (_REPEATS, asking, {asked[stays]}),
            (f"another question says the answer: {text}", answered, said[stays]),
            (f"it says the answer of another question: {text}", saying, golds[stays]),
        ):
            for place in {place for key in keys for place in index[key]}:
                flaws[place] = flaw
                leave(place)
    return flaws


def split_by_fact(
    task_id: str, questions: Iterable[Question], seed: int, exam_share: float = 0.5
) -> tuple[tuple[Question, ...], tuple[Question, ...]]:
    """Split questions into those that reward and those that examine; those with an answer in common stay together.

    An answer that was learned for the reward would otherwise be known in the exam. Where a fact falls to follows from
    the seed and its words; the exam gets the next one while it has less than its share.
    """
    facts: dict[tuple[str, ...], list[Question]] = {}
    named: dict[tuple[str, ...], tuple[str, ...]] = {}  # by the words of any answer those of the fact's first one
    for question in questions:
        golds = [words for words in map(_words, question.golds) if words]
        same = list(dict.fromkeys(named[words] for words in golds if words in named))
        fact = same[0] if same else _words(question.answer)
        own = [each for other in same for each in facts.pop(other)]
        facts[fact] = [*own, question]
        named |= {words: fact for words, first in named.items() if first in same} | dict.fromkeys(golds, fact)
    order = sorted(facts, key=lambda words: derive_seed(seed, content_id(task_id, *words)))
    reward, exam = list[Question](), list[Question]()
    share = Fraction(str(exam_share))  # 0.4 of six questions are two; of floats they were three
    for words in order:
        examines = len(exam) < share * (len(reward) + len(exam))
        (exam if examines else reward).extend(facts[words])
    return tuple(reward), tuple(exam)
