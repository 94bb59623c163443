"""Servers from the shell: their flags, and keys from the environment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from seal_cli.terminal.console import note
from stages.interfaces import Doc, NullProgress
from stages.services.base import Transport

ENGINE_KEYS = ("OPENAI_API_KEY",)


class NoteProgress(NullProgress):
    """A Progress that passes on notes alone."""

    def note(self, text: str) -> None:
        note(f"seal: {text}")


@dataclass(frozen=True)
class ServiceFlags:
    """How servers are called."""

    panel: ClassVar[str] = "Servers"
    concurrency: Annotated[int | None, Ge(1), Doc("Most calls to a server at once.", "N", default="16")] = None
    timeout_s: Annotated[
        float | None,
        Ge(0.1),
        Doc(
            "Seconds for an answer of a server, or of a command:… judge.",
            "S",
            "--timeout",
            default="600; of openai:… 60",
        ),
    ] = None
    retry_for_s: Annotated[
        float | None,
        Ge(0.0),
        Doc("Seconds for which a call that fails is tried again.", "S", "--retry-for", default="300"),
    ] = None

    def given(self) -> Mapping[str, object]:
        return {"--concurrency": self.concurrency, "--timeout": self.timeout_s, "--retry-for": self.retry_for_s}


def key_from(names: Sequence[str]) -> str | None:
    """Return the first key that is set."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def connect(url: str, keys: Sequence[str], flags: ServiceFlags, *, timeout_s: float) -> Transport:
    """Return a transport to a server, with the key that the environment holds for it."""
    from stages.services.client import Server

    return Server(
        url,
        key=key_from(keys),
        key_name=next((name for name in keys if os.environ.get(name)), keys[-1]),
        concurrency=flags.concurrency or 16,
        timeout_s=flags.timeout_s or timeout_s,
        retry_for_s=300.0 if flags.retry_for_s is None else flags.retry_for_s,
        progress=NoteProgress(),
    )
