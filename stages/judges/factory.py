"""Make a judge from the value of --judge: a built-in name, openai:MODEL[@URL], command:…, or package.module:Class."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, Denied
from stages.judges.base import JUDGES, RULES_VERSION, Case, Judge, UnorderedJudge, Verdict, grade_in_order
from stages.judges.cache import Cache
from stages.judges.command import CommandJudge
from stages.judges.openai import MAX_TOKENS, PROMPT, SEVERAL_GOLDS_PROMPT, OpenAIJudge
from stages.plugins import Plugin, PluginInput, format_value, load_class
from stages.services.base import HOSTED, Call, Transport, get_limit_name
from stages.services.endpoint import check_key, check_url

_SERVED = re.compile(r"openai:(?P<model>[^@].*?)(?:@(?P<url>[a-z][a-z0-9+.-]*://.*))?", re.IGNORECASE)
_ADDRESS = re.compile(  # behind an @, without the http:// that would make it a URL
    r".*/v1.*|(localhost|127\.|\[|https?:|//).*|\d+(\.\d+){3}.*|[\w.-]+:\d{1,5}(/.*)?", re.IGNORECASE
)
_WRITE = "write openai:NAME@http://HOST:PORT/v1"
_FORMS = ("openai:MODEL[@URL]", "command:PROGRAM")  # what --judge takes beside the table and classes of others
JUDGE_KEYS = ("SEAL_JUDGE_API_KEY", "OPENAI_API_KEY")  # the first that is set


@dataclass(frozen=True)
class JudgeServer:
    """A judge model behind a server."""

    model: str
    url: str


def parse_server(text: str) -> JudgeServer | None:
    """Parse the server of an openai:… judge; None for any other judge.

    Raises BadConfig for one that names no model, or a URL that is none.
    """
    if text.partition(":")[0] != "openai":
        return None
    match = _SERVED.fullmatch(text)
    if match is None:
        raise BadConfig(
            f"--judge {_hide_server(text)}: give a model, as in openai:gpt-4.1 or openai:NAME@http://HOST:PORT/v1"
        )
    if match["url"] is None and _has_address(match["model"]):
        raise BadConfig(
            f"--judge {_hide_server(text)}: an address, but no http or https URL behind a name and @; {_WRITE}"
        )
    try:
        return JudgeServer(match["model"], check_url(match["url"] or HOSTED))
    except BadConfig as error:
        wrong = str(error).partition("; ")[0].replace("--base-url", f"--judge {_hide_server(text)}")
        raise BadConfig(f"{wrong}; {_WRITE}, and a key in {JUDGE_KEYS[1]}") from None


def _has_address(model: str) -> bool:
    """True if a model's name contains what was meant as a server: it would go to OpenAI's own instead.

    org/name@main and llama3:8b are names.
    """
    _, at, behind = model.partition("@")
    login, _, last = behind.rpartition("@")  # name:password@host
    return "://" in model or ":" in login or bool(at and _ADDRESS.fullmatch(last))


def _hide_server(text: str) -> str:
    """Return the part of openai:… that is safe to repeat: nothing after an @, no name and password before it."""
    name, at, _ = text.removeprefix("openai:").rpartition("@")
    if not at:
        return text
    return "openai:…" if ":" in name or "@" in name else f"openai:{name}@…"


def validate_judge(text: str, key: str | None, *, asks: bool = True) -> None:
    """Raise BadConfig for an unknown judge, and, if it will be asked, Denied where its key is missing."""
    server = parse_server(text)
    if server is None:
        _find_local_judge(text)
        return
    check_key(key)
    if asks and key is None and server.url == HOSTED:
        raise Denied(f"--judge {_hide_server(text)}: needs a key; export OPENAI_API_KEY=… (or {JUDGE_KEYS[0]}=…)")


def make_judge(
    text: str,
    connect: Callable[[str], Transport],
    cache: Path | None,
    *,
    timeout_s: float | None = None,
    max_tokens: int | None = None,
) -> Judge:
    """Make the judge. `connect` returns the transport to a server's URL; `cache` is where its verdicts are kept.

    `timeout_s`: how long a command:… may be silent, `max_tokens`: of an answer of openai:…, if not the default.
    """
    server = parse_server(text)
    if server is None:
        return _find_local_judge(text, timeout_s)()
    return OpenAIJudge(
        server.model,
        connect(server.url),
        Cache(cache, server.model, PROMPT, server.url, SEVERAL_GOLDS_PROMPT) if cache else None,
        limit_name=get_limit_name(server.url),
        max_tokens=max_tokens or MAX_TOKENS,
    )


def _find_local_judge(text: str, timeout_s: float | None = None) -> Callable[[], Judge]:
    """Return a constructor of a judge that needs no server. Raises BadConfig where there is none."""
    if text.startswith("command:"):
        command = CommandJudge(text.removeprefix("command:"), timeout_s=timeout_s)
        return lambda: command
    if "@" in text:
        raise BadConfig(f"--judge {re.split('[:@]', text)[0]}…: no judge's name has an @; {_WRITE}")
    kind: Any = load_class("--judge", text, JUDGES, more=_FORMS)
    return kind if text in JUDGES else lambda: GuardedJudge(text, kind)


@dataclass(frozen=True)
class LocalJudge:
    """A judge by its --judge name, other than openai:…, which needs a key and a connection."""

    text: str = "lexical"

    @property
    def offline(self) -> bool:
        return self.text in JUDGES

    def settings(self) -> str:
        return f"{self.text}, rules {RULES_VERSION}" if self.offline else self.text

    def limits(self) -> Mapping[str, Any]:
        return {}

    def probe(self) -> None: ...

    def load(self) -> Judge:
        return make_judge(self.text, _refuse, None)

    def calls(self, cases: Iterable[Case]) -> Iterator[Call]:
        raise BadConfig(f"the judge {self.text} asks no server")


def _refuse(url: str) -> Transport:
    raise BadConfig(f"{url}: a judge behind a server needs a connection; take `seal judge`")


_NEEDS = "a judge has a name and grade(cases), as in stages.judges.base"


class GuardedJudge:
    """Grades with the user's class. Raises BadConfig, with its file and line, if it raises or returns no verdict."""

    def __init__(self, text: str, kind: Any) -> None:
        self.theirs = Plugin("--judge", text, kind)
        self.name = self.theirs.text("name", _NEEDS)
        self.is_unordered = isinstance(self.theirs.made, UnorderedJudge)
        self.method = self.theirs.method("grade_unordered" if self.is_unordered else "grade", _NEEDS)

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        """Yield one verdict per case, in order."""
        return grade_in_order(self, cases)

    def grade_unordered(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Verdict]]:
        """Yield each case with its verdict, as they come."""
        waiting: dict[Case, None] = {}  # in the order in which they were taken

        def record() -> Iterator[Case]:
            for case in cases:
                waiting[case] = None
                yield case

        passed = PluginInput(record())
        for given in self.theirs.each(self.method, passed, passed=passed):
            case, verdict = self._split(given, next(iter(waiting), None))
            if case not in waiting:
                raise self.theirs.wrong(f"gave {format_value(given)}, and no case was waiting for that")
            del waiting[case]
            yield case, self._check(verdict)
        if waiting:
            raise self.theirs.wrong(f"gave no verdict on {len(waiting)} of the answers that it took")
        if next(passed, None) is not None:
            raise self.theirs.wrong("ended before it had taken all answers")

    def _split(self, given: Any, first: Case | None) -> tuple[Any, Any]:
        """Return a case and its verdict; a judge that keeps the order gives the verdict alone."""
        if not self.is_unordered:
            return first, given
        return given if isinstance(given, tuple) and len(given) == 2 else (None, given)

    def _check(self, verdict: object) -> Verdict:
        """Return a verdict: right, wrong or unscored, with a reason that is text, if any."""
        kinds = (bool | None, str | None)
        if not isinstance(verdict, Verdict) or not all(map(isinstance, (verdict.correct, verdict.reason), kinds)):
            needs = "Verdict(correct, reason) with correct True, False or None (stages.judges.base)"
            raise self.theirs.wrong(f"gave {format_value(verdict)}, which is no {needs}")
        return verdict
