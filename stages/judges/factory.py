"""From the text behind --judge to a judge: a name of the table, openai:MODEL[@URL], command:…, or a class of yours."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, Denied, SealError
from stages.judges.base import JUDGES, Judge
from stages.judges.cache import Cache
from stages.judges.guarded import GuardedJudge
from stages.plugins import load_class
from stages.services.base import HOSTED, Transport, get_limit_name
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
    """The server of an openai:… judge. Raises BadConfig for one that names no model, or a URL that is none."""
    if text.partition(":")[0] != "openai":
        return None
    match = _SERVED.fullmatch(text)
    if match is None:
        raise BadConfig(
            f"--judge {_shown(text)}: give a model, as in openai:gpt-4.1 or openai:NAME@http://HOST:PORT/v1"
        )
    if match["url"] is None and _has_address(match["model"]):
        raise BadConfig(f"--judge {_shown(text)}: an address, but no http or https URL behind a name and @; {_WRITE}")
    try:
        return JudgeServer(match["model"], check_url(match["url"] or HOSTED))
    except BadConfig as error:
        wrong = str(error).partition("; ")[0].replace("--base-url", f"--judge {_shown(text)}")
        raise BadConfig(f"{wrong}; {_WRITE}, and a key in {JUDGE_KEYS[1]}") from None


@contextmanager
def advise_judge_flags() -> Iterator[None]:
    """What a server's trouble advises is said with --judge, which has a judge's address and model."""
    try:
        yield
    except SealError as error:
        told = re.sub(r"--base-url(?= http)", "--judge openai:NAME@URL with the URL", str(error))
        told = told.replace("--base-url", "the URL in --judge").replace("as --model", "in --judge")
        raise type(error)(told.replace("--model", "the model in --judge")) from None


def _has_address(model: str) -> bool:
    """Whether a model's name holds what was meant as a server: it would be sent to OpenAI's own instead.

    org/name@main and llama3:8b are names.
    """
    _, at, behind = model.partition("@")
    login, _, last = behind.rpartition("@")  # name:password@host
    return "://" in model or ":" in login or bool(at and _ADDRESS.fullmatch(last))


def _shown(text: str) -> str:
    """What of openai:… can be repeated: nothing behind an @, and no name and password before it."""
    name, at, _ = text.removeprefix("openai:").rpartition("@")
    if not at:
        return text
    return "openai:…" if ":" in name or "@" in name else f"openai:{name}@…"


def check_judge(text: str, key: str | None, *, asks: bool = True) -> None:
    """Raises BadConfig for a judge that there is not, and if it is asked Denied where there is no key for it."""
    found = parse_server(text)
    if found is None:
        _class_or_command(text)
        return
    check_key(key)
    if asks and key is None and found.url == HOSTED:
        raise Denied(f"--judge {_shown(text)}: needs a key; export OPENAI_API_KEY=… (or {JUDGE_KEYS[0]}=…)")


def make_judge(
    text: str,
    connect: Callable[[str], Transport],
    cache: Path | None,
    *,
    timeout_s: float | None = None,
    max_tokens: int | None = None,
) -> Judge:
    """The judge; `connect` gives the transport to a server's URL, `cache` is where its verdicts are kept.

    `timeout_s`: how long a command:… may be silent, `max_tokens`: of an answer of openai:…, if not the default.
    """
    found = parse_server(text)
    if found is None:
        kind = _class_or_command(text, timeout_s)
        judge: Judge = kind() if text in JUDGES or text.startswith("command:") else GuardedJudge(text, kind)
        return judge
    from stages.judges.openai import MAX_TOKENS, PROMPT, SEVERAL_GOLDS_PROMPT, OpenAIJudge

    kept = Cache(cache, found.model, PROMPT, found.url, SEVERAL_GOLDS_PROMPT) if cache else None
    limit_name = get_limit_name(found.url)
    return OpenAIJudge(
        found.model, connect(found.url), kept, limit_name=limit_name, max_tokens=max_tokens or MAX_TOKENS
    )


def _class_or_command(text: str, timeout_s: float | None = None) -> Any:
    """What makes a judge that needs no server. Raises BadConfig where there is none."""
    if text.startswith("command:"):
        from stages.judges.command import CommandJudge

        line = text.removeprefix("command:")
        command = CommandJudge(line) if timeout_s is None else CommandJudge(line, timeout_s=timeout_s)
        return lambda: command
    if "@" in text:
        raise BadConfig(f"--judge {re.split('[:@]', text)[0]}…: no judge's name has an @; {_WRITE}")
    return load_class("--judge", text, JUDGES, more=_FORMS)
