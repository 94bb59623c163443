"""Yes or no: what a gold answer requires, and what an answer says."""

import re
from dataclasses import dataclass

_YES = "yes|yeah|yep|yup|true|correct|right|indeed|certainly|definitely|absolutely|affirmative|of course|sure|surely"
_NO = "no|hardly|nope|nay|false|incorrect|wrong|untrue|never|negative|not|neither"
_NO_DOUBT = re.compile(  # is a yes
    r"\b(?:no|without(?: a| any)?|beyond(?: a| any)?) (?:doubt|question)\b|\bundoubtedly\b|\bdoubtless\b|"
    r"\b(?:not|isn't|no) (?:false|wrong|incorrect|untrue)\b"
)
_NOT_TRUE = re.compile(
    r"\b(?:not|isn't|wasn't|hardly) (?:really |quite |exactly |necessarily )?(?:true|correct|right|so|sure)\b"
)
_SURELY = re.compile(
    r"\b(?:definitely|certainly|absolutely|of course|indeed|surely|sure|probably|obviously|clearly) (?=not?\b)"
)
_WANTED = re.compile(r"\W*(?:(?P<yes>yes|true)|(?P<no>no|false))(?:\W*|(?P<more>[,;:.–—-]+\s.*))", re.DOTALL)
_FIRST = re.compile(
    r"\W*(?:(?:well|oh|hmm|so|the (?:correct |right |short )?answer(?: here| to (?:this|that|the) question)?"
    r"(?: is|:)|answer:|(?:that|this|it)(?:'s| is| was)|the (?:statement|claim|sentence) (?:is|was)|i think|"
    r"i would say|i'd say)\W+)*"
    rf"(?:(?P<yes>{_YES})|(?P<no>{_NO}))\b"
)
_BOTH = re.compile(
    r"\b(?:yes (?:and|or) no|no (?:and|or) yes|yes/no|true or false|true/false|maybe|perhaps|possibly|it depends)\b"
)
_DENIAL = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|neither|nor|cannot|without|\w+n't|false|incorrect|untrue|wrong)\b"
)
_RELEASE = re.compile(r"\bnot (?:only|just|merely)\b")


@dataclass(frozen=True)
class Polarity:
    """What a gold answer says: yes or no. `alone`: it says nothing else."""

    yes: bool
    alone: bool


def read_gold_polarity(gold: str) -> Polarity | None:
    """Return yes or no as the gold answer begins; None if it begins with neither."""
    found = _WANTED.fullmatch(gold.casefold())
    return Polarity(found["yes"] is not None, found["more"] is None) if found else None


def read_answer_polarity(answer: str) -> bool | None:
    """Return True for yes, False for no, by the first word, else by whether something is denied; None if unclear."""
    text = _RELEASE.sub(" ", answer.casefold().replace("’", "'"))
    text = _NOT_TRUE.sub(" false ", _NO_DOUBT.sub(" yes ", text))
    if not text.strip() or _BOTH.search(text):
        return None
    first = _FIRST.match(_SURELY.sub("", text))
    if first:
        return first["yes"] is not None
    said = re.findall(r"\b(?:(yes|true)|(no|false))\b(?=\W*(?:$|[.,;:!]))", text)
    if said:
        return bool(said[-1][0])
    return None if text.rstrip().endswith("?") else _DENIAL.search(text) is None
