"""The judge of the paper: a model behind an OpenAI-compatible server says yes or no (SEAL App. B, GPT-4.1).

It is asked at temperature 0. What is neither yes nor no, and a call that failed, leave the answer unscored.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from stages.errors import SealError
from stages.judges.base import Case, Verdict, grade_in_order
from stages.judges.cache import Cache
from stages.judges.several_golds import is_unanswerable
from stages.records.frozen import content_id
from stages.records.thoughts import remove_thoughts
from stages.services.base import Call, LimitName, Reply, Transport
from stages.services.dialect import Dialect
from stages.services.responses import first_choice

PROMPT = (  # SEAL App. B, official query server
    "You are a grading assistant. Your job is to determine whether a student's answer correctly answers the question "
    "based solely on the provided gold answer. Do not use any outside knowledge. The student answer can include "
    "additional information, but it must at least fully convey the gold answer and must not contradict it. Ignore "
    "style, phrasing, or extra details that do not affect correctness. Respond ONLY with 'yes' or 'no'.\n\n"
    "Question: {question}\nGold answer: {gold}\nStudent answer: {prediction}\n"
    "Is the student answer correct based solely on the gold answer? Respond 'yes' or 'no'."
)
SEVERAL_GOLDS_PROMPT = (  # the same for a question with several gold answers, which the paper's have not
    PROMPT.replace("the provided gold answer", "any one of the provided gold answers")
    .replace("convey the gold answer", "convey one of the gold answers")
    .replace("Gold answer: {gold}", "Gold answers:\n{gold}")
    .replace("on the gold answer?", "on any one of the gold answers?")
)
_NO_ANSWER = "(none: the question cannot be answered; correct is a student who says so, or does not know)"
_FIELD = re.compile(r"\{(question|gold|prediction)\}")
_VERDICT = re.compile(r"[\s`'\"*_.!(\[]*(yes|no)[\s`'\"*_.!)\]]*", re.IGNORECASE)
MAX_TOKENS = 16  # a word, its punctuation, and a little room
_NO_TEXT = "unparsable: the reply has no text"
_FAILURES = ("api_error", "timeout", "unparsable", "refused", "truncated")


@contextmanager
def advise_judge_flags() -> Iterator[None]:
    """Reword what a server's error advises: a judge's address and model are given with --judge."""
    try:
        yield
    except SealError as error:
        told = re.sub(r"--base-url(?= http)", "--judge openai:NAME@URL with the URL", str(error))
        told = told.replace("--base-url", "the URL in --judge").replace("as --model", "in --judge")
        raise type(error)(told.replace("--model", "the model in --judge")) from None


def parse_verdict(text: str) -> bool | None:
    """Return True for yes, False for no, None for anything else: "yes and no", "not sure", "INCORRECT", an essay.

    What stands behind the judge's own thoughts is read.
    """
    match = _VERDICT.fullmatch(remove_thoughts(text) or "")
    return None if match is None else match[1].lower() == "yes"


def write_prompt(case: Case) -> str:
    """Write the question to the judge, with all gold answers. Braces in an answer have no effect."""
    case = put_in_words(case)
    gold = "\n".join(f"- {gold}" for gold in case.golds) if case.other_golds else case.gold
    values = {"question": case.question, "gold": gold, "prediction": case.prediction}
    return _FIELD.sub(lambda match: values[match[1]], SEVERAL_GOLDS_PROMPT if case.other_golds else PROMPT)


def put_in_words(case: Case) -> Case:
    """Return the case with words for a missing gold answer, as the model is told. Its verdict is cached under these."""
    gold, *others = (_NO_ANSWER if is_unanswerable(gold) else gold for gold in case.golds)
    return replace(case, gold=gold, other_golds=tuple(others))


class OpenAIJudge:
    """Grades through a transport, many cases at once; a `cache` is looked into first."""

    def __init__(
        self,
        model: str,
        transport: Transport,
        cache: Cache | None = None,
        *,
        limit_name: LimitName = "max_tokens",
        max_tokens: int = MAX_TOKENS,
    ) -> None:
        self.name = f"openai:{model}"
        self.model, self.transport, self.cache, self.max_tokens = model, transport, cache, max_tokens
        self.dialect = Dialect(limit_name)
        self.cached = 0
        self.sent: dict[str, list[Call]] = {}  # each way in which an open call was sent
        self.unscored: dict[str, int] = dict.fromkeys(_FAILURES, 0)

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order, as they come."""
        return grade_in_order(self, cases)

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """Yield each case with its verdict, as they come. A case that repeats while it is being graded is sent once."""
        waiting: dict[str, list[Case]] = {}
        for case in cases:
            known, name = self.get_cached(case), get_case_id(case)
            if known is not None:
                self.cached += 1
                yield case, Verdict(known)
            elif name in waiting:
                waiting[name].append(case)
            else:
                while not self.transport.room:
                    yield from self._settle(self._take(wait=True), waiting)
                waiting[name] = [case]
                self._submit(self.call(case))
            yield from self._settle(self._take(wait=False), waiting)
        while waiting:
            yield from self._settle(self._take(wait=True), waiting)

    def calls(self, cases: Iterable[Case]) -> Iterator[Call]:
        """Yield the calls that would be sent: one for each case whose verdict is not in the cache."""
        return (self.call(case) for case in cases if self.get_cached(case) is None)

    def get_cached(self, case: Case) -> bool | None:
        """Return the cached verdict; None where there is none."""
        raw = self.cache.get(put_in_words(case)) if self.cache else None
        return None if raw is None else parse_verdict(raw)

    def call(self, case: Case) -> Call:
        messages = [{"role": "user", "content": write_prompt(case)}]
        body = {"model": self.model, "messages": messages, "temperature": 0, self.dialect.limit_name: self.max_tokens}
        return Call(get_case_id(case), "chat/completions", self.dialect.write(body))

    def _take(self, *, wait: bool) -> list[Reply]:
        with advise_judge_flags():
            return self.transport.take(wait=wait)

    def _submit(self, call: Call) -> None:
        self.sent.setdefault(call.id, []).append(call)
        self.transport.submit(call)

    def _amend(self, case: Case, reply: Reply) -> Call | None:
        """The call as the server wants it, where it has said so and was not yet asked so."""
        told = self.dialect.learn(reply.failure, self.sent[reply.id][-1].body, f"the judge {self.name}")
        if told:
            self.transport.progress.note(told)
        call = self.call(case)
        return None if told is None or call in self.sent[reply.id] else call

    def _settle(self, replies: Iterable[Reply], waiting: dict[str, list[Case]]) -> Iterator[tuple[Case, Verdict]]:
        for reply in replies:
            amended = self._amend(waiting[reply.id][0], reply) if self.transport.live else None
            if amended:
                self._submit(amended)
                continue
            self.sent.pop(reply.id, None)
            cases = waiting.pop(reply.id)
            verdict = self._verdict(cases[0], reply)
            if verdict.correct is None:
                self.unscored[str(verdict.reason).partition(":")[0]] += 1
            yield from ((case, verdict) for case in cases)

    def _verdict(self, case: Case, reply: Reply) -> Verdict:
        if reply.body is None:
            return Verdict(None, str(reply.failure or "api_error: no answer"))
        found = first_choice(reply.body)
        text, finish = found.text, found.finish
        if finish == "content_filter" or (found.refusal and not text):
            return Verdict(None, "refused: the server's content filter")
        if finish == "length":
            said_so_far = f": {text[:60]!r}" if text and text.strip() else ""
            more = "a judge that thinks needs more, give --judge-max-tokens"
            return Verdict(None, f"truncated: no verdict within {self.max_tokens} tokens ({more}){said_so_far}")
        if text is None:
            return Verdict(None, _NO_TEXT)
        if found.fault or finish not in ("stop", None):
            return Verdict(None, f"api_error: {found.fault or f'ended by {finish}'}: {text[:60]!r}")
        if self.cache:
            self.cache.put(put_in_words(case), text)
        right = parse_verdict(text)
        return Verdict(right, None if right is not None else f"unparsable: neither yes nor no: {text[:60]!r}")


def get_case_id(case: Case) -> str:
    return content_id(case.question, case.gold, case.prediction, *case.other_golds)
