"""Structured output: a schema is obeyed, in process and by a server, by the requests that have one and no others."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from stages.engines.openai import OpenAIEngine
from stages.interfaces import Completion, Request
from stages.services.client import Server
from stages.services.vllm_server import probe_server
from stages.settings import Sampling
from tests.tiny_models import answers
from tests.vllm.conftest import NEEDS_VLLM, QUESTIONS, running

pytestmark = NEEDS_VLLM
WARM = Sampling(1.0, 1.0, 200)
SWITCH = {
    "type": "object",
    "properties": {"on": {"type": "boolean"}},
    "required": ["on"],
    "additionalProperties": False,
}
FREE = [Request(f"free {n}", QUESTIONS[0], replace(WARM, seed=n)) for n in range(8)]
BOUND = [replace(request, id=f"bound {n}", schema=SWITCH) for n, request in enumerate(FREE)]


def switches(found: Iterable[Completion]) -> list[bool]:
    """What the finished ones say. A random model may write blanks for ever, which JSON allows."""
    said = [json.loads(each.text) for each in found if each.id.startswith("bound") and each.finish == "stop"]
    assert all(list(one) == ["on"] and type(one["on"]) is bool for one in said)
    return [one["on"] for one in said]


def test_a_schema_is_obeyed_by_each_request_that_has_one(llama: Path) -> None:
    with running(llama, batch_size=16, structured=True) as engine:
        found, alone = answers(engine, [*BOUND, *FREE]), answers(engine, FREE)
    assert len(switches(found)) >= 4
    assert found[8:] == alone
    assert not any(each.text.lstrip().startswith("{") for each in alone)


def test_a_server_is_told_the_schema(server: str) -> None:
    transport = Server(f"{server}/v1", key=None, concurrency=4, retry_for_s=10)
    engine = OpenAIEngine("base", transport, server=probe_server(f"{server}/v1", None))
    found = list(engine.sample(BOUND))
    transport.close()
    assert [each.error for each in found] == [None] * 8
    assert len(switches(found)) >= 4
