"""The engine behind a server, against a real vLLM server: the same greedy answers, adapters on and off."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.engines.hf import HFEngine
from stages.engines.openai import OpenAIEngine
from stages.errors import BadConfig, BadInput
from stages.interfaces import Request
from stages.services.client import Server
from stages.services.vllm_server import ServerInfo, probe_server
from stages.settings import Sampling
from tests.engines.test_hf_adapters import make_adapter
from tests.vllm.conftest import GREEDY, NEEDS_VLLM, QUESTIONS
from tests.vllm.server import call

pytestmark = NEEDS_VLLM
WORDS = [f"{question} Say what you know of it." for question in QUESTIONS]


@pytest.fixture
def engine(server: str) -> Iterator[OpenAIEngine]:
    transport = Server(f"{server}/v1", key=None, concurrency=4, retry_for_s=10)
    yield OpenAIEngine("base", transport, server=probe_server(f"{server}/v1", None), max_loras=2)
    transport.close()


def asked(path: Path | None, name: str) -> list[Request]:
    return [Request(f"{name}/{number}", text, GREEDY, path) for number, text in enumerate(WORDS)]


def same(one: str, other: str) -> bool:
    """Whether the texts are equal but for half a character at the end, which the server leaves out."""
    return one == other or one.rstrip("\ufffd") == other.rstrip("\ufffd")


def served_names(server: str) -> set[str]:
    _, listed = call(server, "/v1/models")
    return {row["id"] for row in listed["data"]}


def test_the_server_says_that_it_is_vllm(server: str) -> None:
    found = probe_server(f"{server}/v1", None)
    assert found == ServerInfo(found.models, vllm=True, context=512)
    assert found.models is not None and "base" in found.models


def test_greedy_answers_are_those_of_transformers_with_adapters_and_without(
    engine: OpenAIEngine, hf: HFEngine, adapters: dict[str, Path], server: str
) -> None:
    names = list(adapters)[:5]
    requests = [request for name in names for request in asked(adapters[name], name)] + asked(None, "plain")
    before = served_names(server)
    ours = {completion.id: completion for completion in engine.sample(requests)}
    theirs = {completion.id: completion for completion in hf.sample(requests)}
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        assert same(ours[key].text, expected.text), key
        if not expected.text.rstrip("\ufffd"):  # half characters alone, which the server leaves out: it says nothing
            assert ours[key].finish == "failed"
            continue
        assert (ours[key].finish, ours[key].tokens) == (expected.finish, expected.tokens)
    assert served_names(server) == before  # ours were taken off


def test_an_answer_ends_before_its_stop_string_as_with_transformers(engine: OpenAIEngine, hf: HFEngine) -> None:
    (free,) = hf.sample([Request("a", WORDS[0], GREEDY)])
    place = next(place for place in range(2, len(free.text)) if "\ufffd" not in free.text[place : place + 2])
    drawn = Sampling(0.0, 1.0, GREEDY.max_tokens, stop=(free.text[place : place + 2],))
    (ours,), (theirs,) = (list(each.sample([Request("a", WORDS[0], drawn)])) for each in (engine, hf))
    assert (same(ours.text, theirs.text), ours.finish) == (True, "stop")
    assert (ours.tokens or 0) < GREEDY.max_tokens


def test_no_more_adapters_are_there_than_were_asked_for(
    engine: OpenAIEngine, adapters: dict[str, Path], server: str
) -> None:
    before, most = served_names(server), 0
    requests = [request for name, path in list(adapters.items())[:4] for request in asked(path, name)]
    for _ in engine.sample(requests):
        most = max(most, len(served_names(server) - before))
    assert 1 <= most <= 2


def test_an_adapter_that_the_server_has_lost_is_put_there_again(
    engine: OpenAIEngine, adapters: dict[str, Path], server: str
) -> None:
    name, path = next(iter(adapters.items()))
    before = served_names(server)
    found = []
    for completion in engine.sample(asked(path, name) * 1):
        if not found:
            (ours,) = served_names(server) - before
            call(server, "/v1/unload_lora_adapter", {"lora_name": ours})
        found.append(completion)
    lost = [completion.error for completion in found if completion.finish == "failed"]
    assert all("has no text" in str(error) for error in lost)  # half characters alone, which the server leaves out
    assert len(found) == len(WORDS)
    assert len(lost) < len(found)


def test_an_adapter_that_is_not_there_or_too_large_is_told_with_the_way_out(
    engine: OpenAIEngine, llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=r"does not find it .* must see the same files"):
        list(engine.sample(asked(tmp_path / "nowhere", "lost")))
    large = make_adapter(llama, tmp_path / "large", 0, {"r": 17})
    with pytest.raises(BadConfig, match="larger --max-lora-rank"):
        list(engine.sample(asked(large, "large")))


def test_the_same_seed_draws_the_same(engine: OpenAIEngine) -> None:
    drawn = [Request(str(n), WORDS[0], Sampling(1.0, 1.0, 12, seed=n % 2)) for n in range(4)]
    texts = {completion.id: completion.text for completion in engine.sample(drawn)}
    assert texts["0"] == texts["2"]
    assert texts["1"] == texts["3"]
    assert texts["0"] != texts["1"]


def test_a_completion_ends_where_the_context_does(engine: OpenAIEngine, hf: HFEngine) -> None:
    long = [Request("long", "a " * 250, Sampling(0.0, 1.0, 8192))]
    (ours,), (theirs,) = list(engine.sample(long)), list(hf.sample(long))
    assert (ours.finish, ours.tokens) == (theirs.finish, theirs.tokens)
    assert same(ours.text, theirs.text)


def test_a_prompt_beyond_the_context_fails_alone(engine: OpenAIEngine) -> None:
    requests = [Request("long", "a b c d " * 400, GREEDY), Request("short", "a", GREEDY)]
    found = {completion.id: completion for completion in engine.sample(requests)}
    assert found["short"].finish in ("stop", "length")
    assert found["long"].finish == "failed"
    assert "maximum context length" in str(found["long"].error)
