"""Asking a scripted server in a test: with a planted key that must come out nowhere, and little patience."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stages.errors import SealError
from stages.services.base import Call, Reply, Transport, Usage
from stages.services.client import Server
from tests.invented import Notes
from tests.services.behaviours import Behaviour
from tests.services.scripted import Scripted, scripted
from tests.services.scripts import Script, always

CANARY = "sk-canary-51a7f0e2b9d3"
PATH = "chat/completions"
TRIED_S = 0.2  # that a call is tried, unless a test says otherwise
SLACK_S = 3.0  # for a machine that is busy with other work; what should not be waited for takes longer


def send(transport: Transport, calls: Iterable[Call]) -> Iterator[Reply]:
    """The replies as they come. Calls are taken as there is room for them, so that few are ahead of the replies."""
    for call in calls:
        while not transport.room:
            yield from transport.take(wait=True)
        transport.submit(call)
        yield from transport.take(wait=False)
    while transport.open:
        yield from transport.take(wait=True)


@dataclass
class Outcome:
    """What came of some calls."""

    replies: list[Reply]
    error: SealError | None
    notes: list[str]
    usage: Usage
    seconds: float
    asked: int

    @property
    def texts(self) -> dict[str, str]:
        """What the successful ones said, by id."""
        return {reply.id: reply.body["choices"][0]["message"]["content"] for reply in self.replies if reply.body}

    @property
    def failure(self) -> str:
        """Of the only call."""
        (reply,) = self.replies
        return str(reply.failure)


def call(name: str, prompt: str | None = None, **more: Any) -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": name if prompt is None else prompt}]}
    return Call(name, PATH, body, **more)


def calls(count: int) -> list[Call]:
    return [call(str(number)) for number in range(count)]


@contextmanager
def serving(
    script: Script,
    *,
    key: str | None = CANARY,
    concurrency: int = 16,
    timeout_s: float = 5.0,
    retry_for_s: float = TRIED_S,
    most: int | None = None,
) -> Iterator[tuple[Scripted, Server]]:
    """A scripted server, and the transport that asks it."""
    with scripted(script, most=most) as there:
        server = Server(
            there.url, key=key, concurrency=concurrency, timeout_s=timeout_s, retry_for_s=retry_for_s, progress=Notes()
        )
        try:
            yield there, server
        finally:
            server.close()


def outcome(there: Scripted, server: Server, sent: Iterable[Call]) -> Outcome:
    """Sends the calls to their end. No text that comes out holds the key."""
    started, replies = time.monotonic(), list[Reply]()
    error: SealError | None = None
    try:
        replies.extend(send(server, sent))
    except SealError as found:
        error = found
        assert found.__cause__ is None and found.__context__ is None
    assert isinstance(server.progress, Notes)
    out = Outcome(replies, error, server.progress.notes, server.usage, time.monotonic() - started, len(there.asked))
    assert CANARY not in f"{out}{error!r}"
    return out


def asked(script: Script, sent: Sequence[Call] = (call("0"),), **named: Any) -> Outcome:
    """What comes of the calls where the server does so. `named`: see `serving`."""
    with serving(script, **named) as (there, server):
        return outcome(there, server, sent)


def answered(behaviour: Behaviour, **named: Any) -> Outcome:
    """What comes of one call to a server that always does so."""
    return asked(always(behaviour), **named)
