"""Find the claim in an answer, without repeated prompt and refusals; lists of candidates; and yes or no."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.judges.numbers.tables import cache_texts

_LONGEST_QUESTION = 200  # words of it that are looked for
_SHORTEST_ECHO = 4  # words: a shorter question may be asked again in passing
_LONG = 75  # words; of a longer answer, the first and the last sentence count: it may be the passage
_SENTENCE = 40  # words of each of these two at most
_PASSAGE = re.compile(r"\s*(?:let's (?:read|answer)\b.*?:|passage:|context:)", re.IGNORECASE | re.DOTALL)
_LABEL = re.compile(r"(?:^|\n|[:>] ?)[ \t]*(?:question(?: \d+)?:|topic:|passage:|context:|q:)", re.IGNORECASE)
_TOPIC = re.compile(r"^[ \t]*(?:question:)?[ \t]*topic:.*$", re.IGNORECASE | re.MULTILINE)
_ANSWER = re.compile(r"\b(?:final )?answer:", re.IGNORECASE)
_CLAUSES = re.compile(
    r"(?<=\w\w)(?<!\bDr)(?<!\bMr)(?<!\bSt)(?<!\bMrs)\.+(?=\s|$)|(?<=[!?。！？])|[;()\n]+|,?\s(?:but|however|although)\b"
)
_ASIDE = re.compile(
    r"(?:^|(?<=\n))[^\w\n]*(?:although|though|while|even though)\b[^,.\n]*\b(?:not|never)\b[^,.\n]*,", re.IGNORECASE
)
_EXCEPT = re.compile(
    r"(?<!none )(?<!no one )(?<!nobody )\b(?:except(?: for)?|other than|apart from|(?<=one )but|(?<=body )but)\b",
    re.IGNORECASE,
)

_WHO = r"\b(?:i|we)(?: am| are|'m|'re| have| would)?(?: \w+ly| just| still)?"
_TEXT = r"\b(?:passage|text|document|article|context|paragraph|source|information|story|question|it)\b(?: \w+){0,3}?"
_NOT = r"(?: not|n't|not| never| unable to| fails? to| cannot)"
_TELLING = "mention|say|state|specify|provide|indicate|identify|name|tell|contain|include|reveal|answer|clarify|give"
_KNOWING = "know|determine|confirm|verify|find|recall|remember|sure|certain|decide|think|believe|have|aware|see|comment"
_TOLD = "mentioned|stated|specified|provided|clear|certain|sure|determined|established|disclosed|possible to"
_REFUSALS = re.compile(
    rf"{_WHO}(?: ?(?:do|did|ca|can|could|wo|will|would))?{_NOT}(?: \w+){{0,2}}? (?:{_TELLING}|{_KNOWING})\b"
    rf"|{_TEXT}(?: ?(?:does|do|did|is|was))?{_NOT}(?: \w+){{0,2}}? (?:{_TELLING}|{_TOLD}|known)s?\b"
    rf"|(?:\bnot|n't|\bnever|\bnowhere)(?: \w+){{0,2}}? (?:{_TOLD}|known(?! for| as))\b"
    r"|\b(?:cannot|can't|could not|couldn't) be (?:determined|said|known|answered|confirmed|verified|inferred)\b"
    r"|\b(?:is|are|was|were|remains?|be|it's) (?:unknown|unclear|uncertain|undetermined)\b"
    r"|\b(?:unsure|unclear) (?:if|whether|who|what)\b"
    r"|\b(?:impossible|hard|difficult) to (?:say|tell|know|determine)\b"
    r"|\b(?:false|untrue|not true|incorrect|wrong) (?:that|to say)\b"
    r"|\b(?:refuses?|declines?) to\b|\b(?:nobody|no one) (?:knows|knew)\b"
    rf"|\b(?:unable|not able) to (?:{_TELLING}|{_KNOWING})\b"
    r"|\bno (?:information|mention|indication|idea|clue|reference|way (?:to|of))\b"
    r"|\b(?:insufficient|not enough) (?:information|context|data|evidence)\b"
    r"|不知道|不清楚|(?:没有|沒有|没|未)(?:提|说|說)|无法|無法|わかりません|分かりません|不明|知りません"
    r"|모르|알 수 없|ไม่ทราบ|ไม่รู้"
    r"|\b(?:weiß nicht|nicht bekannt|ne sai[st] pas|no (?:lo )?sé|non (?:lo )?so|não sei|не знаю|неизвестно)\b",
    re.IGNORECASE,
)
_AS_MODEL = re.compile(r"\bas an? (?:ai|artificial|large language|language)\b", re.IGNORECASE)
_UNABLE = re.compile(r"(?:not|n't|unable|cannot)\b", re.IGNORECASE)

_LEAD = re.compile(
    r"(?:.*\beither\b|\W*(?:(?:the )?(?:correct |possible )?(?:answers?|options?|candidates?)(?: is| are| include| "
    r"could be| may be| might be|:)|(?:it|that|this)(?:'s| is| was| could be| may be| might be| could have been)"
    r"|one of|among))\s",
    re.IGNORECASE | re.DOTALL,
)
_OR = r"\bor\b|或者|或(?![许許])|还是|還是|または|あるいは|또는|หรือ"
_CHOICE = re.compile(rf"/|{_OR}", re.IGNORECASE)
_STATED = re.compile(r"^.*\b(?:is|was|are|were|be|been|by|called|named|names?|mentions?|lists?|includes?)\b(?=\s\S)")
_PERHAPS = re.compile(r"\b(?:maybe|perhaps|possibly|might|could be|may be|could have|may have)\b", re.IGNORECASE)
_OR_ELSE = re.compile(r"\bor (?:possibly|maybe|perhaps|else)\b", re.IGNORECASE)
_MAYBE = re.compile(r"\b(?:either|maybe|perhaps|possibly|probably)\b", re.IGNORECASE)
_ITEMS = re.compile(
    r"\s?(?:(?:[;?\n、，；|•]|,(?!\d))\s?(?:or\b|and\b)?|\s/\s|(?<=[^\W\d_])/(?=[^\W\d_])|(?<=\d\d\d\d)/(?=\d\d\d\d)|"
    rf"{_OR}|\band\b|&|(?<!\S)(?:\d+[.)]|[a-h]\)|[-*])\s)\s?",
    re.IGNORECASE,
)
_RATE = re.compile(  # 5 km/h is no choice
    r"(?<=\d)( ?[^\W\d_]{1,4})/(?=(?:h|hr|s|sec|min|day|yr|year|kg|g|ml|dl|l|mol|m|cm|km|ha|K)[²³23]?(?!\w))"
)
_ARTICLE = re.compile(r"(?:an?|the)\s")
_CLAUSE = re.compile(
    r"\b(?:in|on|at|for|with|by|to|such|which|who|where|while|when|that|is|was|were|are|as|from)\b", re.IGNORECASE
)
_LONGEST_ITEM = 4  # words


def extract_claim(question: str, gold: str, answer: str) -> str:
    """Return the answer without the repeated prompt and without refusals (unless the gold answer is one).

    Of a long answer the first and the last sentence.
    """
    lines = (" ".join(line.split()) for line in answer.replace("’", "'").splitlines())
    text = _without_prompt(question, "\n".join(filter(None, lines)))
    return _outer_sentences(text if _is_refusal(gold) else _without_refusals(text))


@cache_texts()
def _is_refusal(gold: str) -> bool:
    """True if a gold answer itself says that something is not known or not so."""
    return _refuses(f"it is {gold}")


def _refuses(clause: str) -> bool:
    if _REFUSALS.search(clause):
        return True
    as_model = _AS_MODEL.search(clause)  # any but the first would take quadratic time
    return as_model is not None and _UNABLE.search(clause, as_model.end()) is not None


def _without_prompt(question: str, answer: str) -> str:
    asked = question.split()
    if len(asked) >= _SHORTEST_ECHO:
        echo = re.compile(r"\s+".join(map(re.escape, asked[:_LONGEST_QUESTION])), re.IGNORECASE)
        before, *behind = echo.split(answer)
        if behind:
            label = _LABEL.search(before)
            answer = "\n".join([before[: label.start()] if label else before, *behind])
            if not label and not "".join(behind).strip(" .?\"'"):
                return ""  # a title and the question
    if _PASSAGE.match(answer):
        answer = _ANSWER.split(answer, maxsplit=1)[1] if _ANSWER.search(answer) else ""
    return _TOPIC.sub("", answer)


def _without_refusals(answer: str) -> str:
    answer = _ASIDE.sub("", answer)
    clauses = [clause for clause in _CLAUSES.split(answer) if clause and clause.strip()]
    refused = [_refuses(clause) for clause in clauses]
    if not any(refused):
        return _EXCEPT.sub("not", answer)
    kept = zip(clauses, refused, strict=True)
    said = (clause for clause, is_refusal in kept if not is_refusal and not clause.rstrip().endswith("?"))
    return _EXCEPT.sub("not", ". ".join(said))


def _outer_sentences(answer: str) -> str:
    if answer.count(" ") < _LONG or len(answer.split()) <= _LONG:
        return answer
    sentences = [sentence.split() for sentence in _CLAUSES.split(answer) if sentence and sentence.strip()] or [[]]
    return " ".join([*sentences[0][:_SENTENCE], ".", *sentences[-1][-_SENTENCE:]])


@cache_texts()
def list_candidates(claim: str) -> Sequence[str]:
    """List the items of a claim that only lists candidates (with an `or`, or four and more); else []."""
    claim = _RATE.sub(r"\1 per ", claim)
    lead = _LEAD.match(claim)
    bare = claim[lead.end() :] if lead else claim
    first, *others = _ITEMS.split(bare)
    items = [item.strip(" .!?\"'()[]{}<>") for item in (_STATED.sub("", first), *others)]
    items = [item for item in items if item]
    if len(items) == 2 and _STATED.match(first) and not all(item[0].isupper() or item[0].isdigit() for item in items):
        return []  # the term is naked seeds or gymnosperms
    if len(items) < 2 or any(len(item.split()) > _LONGEST_ITEM for item in items):
        return []
    units = {re.sub(r"[\d.,]", "", item) for item in items if re.search(r"\d", item)}
    if len(items) == 2 == len(units):
        return []  # 100 °C or 212 °F
    if _CHOICE.search(bare):
        apposition = len(items) == 2 and re.search(r",\s*or\b", bare) and not _MAYBE.search(claim)
        return [] if apposition else items
    if any(_CLAUSE.search(item) or (_ARTICLE.match(item) and not _ARTICLE.match(items[0])) for item in items):
        return []
    alike = len({item[0].isupper() for item in items}) == 1 and re.search(r"\band\b|[\n&|;?[]|\w\)\s", bare)
    return items if len(items) > 3 or (len(items) == 3 and alike) else []


def is_undecided(claim: str) -> bool:
    """True if the claim leaves open which of two things it is."""
    return len(_PERHAPS.findall(claim)) > 1 or _OR_ELSE.search(claim) is not None


def is_list(gold: str) -> bool:
    """True if a gold answer has several items itself."""
    return len([item for item in _ITEMS.split(gold) if item.strip()]) > 1


# ---- yes or no

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
    """Yes or no, as a gold answer says. `alone`: it says nothing else."""

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
