"""Combine several gold answers of a question into one verdict; one of them may be that there is no answer.

Such a question (SQuAD 2, arXiv 1806.03822) has the gold answer `unanswerable`: right is who says that there is no
answer, or does not know it, and names none all the same. Only English is understood.
"""

import re
from collections.abc import Callable
from dataclasses import replace

from stages.judges.base import Case
from stages.records.task import UNANSWERABLE

_SOURCE = "(?:passage|text|context|article|document|paragraph|question|information|source|author)"
_MISSING = (
    "(?:unknown|unanswerable|unclear|unspecified|unstated|not (?:\\w+ly )?(?:answerable|known|stated|given|mentioned|"
    "specified|provided|available|clear|said|told|sure|indicated|described|in the \\w+|possible to \\w+)|"
    "impossible to (?:answer|say|tell|know|determine)|no answer)"
)
_IS = "(?:is|was|are|were|remains)"
_UNABLE = "(?:cannot|can not|cant|could not|couldnt|unable to|not able to)"
_DECLINES = re.compile(
    rf"(?:{_MISSING}(?: (?:from|in|by|to|here)\b.*)?"
    r"|n a|not enough information\b.*|insufficient information\b.*|no (?:information|idea|mention)\b.*"
    rf"|(?:that |(?:this|the) {_SOURCE} |this |it )?{_UNABLE} be (?:answered|known|said|told|determined|inferred)\b.*"
    r"|(?:(?:i|we) )?(?:really |simply |just )?(?:do not|dont|did not|didnt) know\b.*"
    rf"|(?:i|we)(?: am| are| was| were)? {_UNABLE} (?:answer|say|tell|know|determine|find)\b.*"
    r"|(?:i am|im|we are) (?:not sure|unsure|not certain|uncertain|not aware)\b.*"
    r"|(?:i|we) have no (?:idea|answer|information|way)\b.*"
    r"|(?:no one|nobody) knows\b.*"
    r"|there (?:(?:is|are|was|were) (?:no|not any|not enough|insufficient)|(?:isnt|arent) (?:any|enough))\s"
    r"(?:answer|information|mention|way|indication|data|evidence|details?)\b.*"
    rf"|(?:the |this )?{_SOURCE}(?: itself| above| given)? (?:does not|doesnt|do not|dont|did not|didnt) "
    r"(?:say|state|mention|specify|tell|provide|give|contain|include|indicate|answer|explain|have)\b.*"
    r"|(?:the )?(?:question|answer) (?:has no answer|does not exist)\b.*"
    rf"|(?:its|thats|(?:it|this|that) (?:is|was|remains)) {_MISSING}\b.*"
    rf"|(?:the|its|his|her|their)(?: (?!and\b|is\b|was\b|are\b|were\b)[a-z]+){{1,8}} {_IS} {_MISSING}\b.*"
    rf"|(?:who|when|where|what|why|how|which|whether)(?: (?!and\b)[a-z]+){{1,8}} {_IS} {_MISSING}\b.*)"
)
_OPENINGS = re.compile(
    r"^(?:(?:no|sorry|unfortunately|well|answer|the answer is|the answer|im sorry|i am sorry)(?: |$)(?:but )?)+"
)
_ANSWERS = re.compile(  # what follows names an answer after all
    r"\b(?:but|however|maybe|perhaps|probably|possibly|likely|presumably|guess|think|believe|although|though|might|"
    r"could be|may be|would say|instead|rather)\b"
)
_NAMES_SOURCE = re.compile(rf"\b{_SOURCE}\b")
_DENIES = re.compile(r"\b(?:no|not|only|nothing|never|nor|without|\w+nt|cannot)\b")


def grade_any_gold(case: Case, is_right: Callable[[Case], bool]) -> bool:
    """True if any gold answer accepts the answer. `is_right` sees each as if it were the only one."""
    return any(
        is_declined(case.prediction)
        if is_unanswerable(gold)
        else is_right(replace(case, gold=gold, other_golds=()) if case.other_golds else case)
        for gold in case.golds
    )


def is_unanswerable(gold: str) -> bool:
    """True if a gold answer says that there is no answer."""
    return gold.strip().rstrip(".").lower() in (UNANSWERABLE, "cannotanswer", "no answer")  # QuAC's word, and others'


def is_declined(prediction: str) -> bool:
    """True if a prediction says that there is no answer, or that it is unknown, and gives none all the same."""
    text = re.sub(r"['’ʼ`]", "", prediction.lower())
    sentences = [" ".join(re.findall(r"\w+", each)) for each in re.split(r"[.!?;:\n](?=\s|$)", text)]
    first, *rest = [each for each in sentences if each] or [""]
    first = _OPENINGS.sub("", first, count=1) if not _DECLINES.fullmatch(first) else first
    while not first and rest:  # Sorry! I do not know
        first, *rest = rest
    return (
        bool(_DECLINES.fullmatch(first))
        and not any(map(_ANSWERS.search, (first, *rest)))
        and all(_DECLINES.fullmatch(each) or _gives_reason(each) for each in rest)
    )


def _gives_reason(sentence: str) -> bool:
    """True if a sentence names the source and denies something of it."""
    source = _NAMES_SOURCE.search(sentence)  # any but the first would take quadratic time
    return source is not None and _DENIES.search(sentence, source.end()) is not None
