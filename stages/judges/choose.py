"""From the text behind --judge to a judge: a name of the table, openai:MODEL[@URL], command:…, or a class of yours."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.engines.endpoint import check_key, checked_url
from stages.failures import BadConfig, Denied
from stages.judges.base import JUDGES, Judge
from stages.judges.cache import Cache
from stages.plugins import load_class
from stages.services.base import HOSTED, Transport, limit_name_of

SERVED = re.compile(r"openai:(?P<model>[^@].*?)(?:@(?P<url>https?://.*))?")
KEYS = ("SEAL_JUDGE_API_KEY", "OPENAI_API_KEY")  # the first that is set


@dataclass(frozen=True)
class Served:
    """A judge model behind a server."""

    model: str
    url: str


def served(text: str) -> Served | None:
    """The server of an openai:… judge. Raises BadConfig for one that names no model, or a URL that is none."""
    if text.partition(":")[0] != "openai":
        return None
    match = SERVED.fullmatch(text)
    if match is None:
        raise BadConfig(f"--judge {text}: give a model, as in openai:gpt-4.1 or openai:NAME@http://localhost:8000/v1")
    try:
        return Served(match["model"], checked_url(match["url"] or HOSTED))
    except BadConfig as error:
        raise BadConfig(str(error).replace("--base-url", "--judge")) from None


def check_judge(text: str, key: str | None, *, asks: bool = True) -> None:
    """Raises BadConfig for a judge that there is not, and if it is asked Denied where there is no key for it."""
    found = served(text)
    if found is None:
        class_or_command(text)
        return
    check_key(key)
    if asks and key is None and found.url == HOSTED:
        raise Denied(f"--judge {text}: needs a key; export OPENAI_API_KEY=… (or {KEYS[0]}=…)")


def make_judge(text: str, connect: Callable[[str], Transport], cache: Path | None) -> Judge:
    """The judge; `connect` gives the transport to a server's URL, `cache` is where its verdicts are kept."""
    found = served(text)
    if found is None:
        judge: Judge = class_or_command(text)()
        return judge
    from stages.judges.openai import PROMPT, OpenAI

    kept = Cache(cache, found.model, PROMPT) if cache else None
    return OpenAI(found.model, connect(found.url), kept, limit_name=limit_name_of(found.url))


def class_or_command(text: str) -> Any:
    """What makes a judge that needs no server. Raises BadConfig where there is none."""
    if text.startswith("command:"):
        from stages.judges.command import Command

        command = Command(text.removeprefix("command:"))
        return lambda: command
    return load_class("--judge", text, JUDGES)
