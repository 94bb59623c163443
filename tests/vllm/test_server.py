"""What a vLLM server answers when adapters come and go: what the engine behind it may rely on."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stages.engines.hf import HFEngine
from stages.interfaces import Request
from tests.engines.test_hf_adapters import make_adapter
from tests.tiny_models import answers
from tests.vllm.conftest import GREEDY, NEEDS_VLLM, QUESTIONS
from tests.vllm.server import call

pytestmark = NEEDS_VLLM
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"


@pytest.fixture
def name(request: pytest.FixtureRequest, server: str) -> Iterator[str]:
    """A name for this test's adapter, free again when it is over."""
    own = request.node.name[:60]
    yield own
    call(server, UNLOAD, {"lora_name": own})


def load(server: str, name: str, path: Path) -> tuple[int, str]:
    status, told = call(server, LOAD, {"lora_name": name, "lora_path": str(path)})
    return status, told if isinstance(told, str) else told["error"]["message"]


def ask(server: str, model: str) -> list[list[int]]:
    """Tokens of the greedy answers to all questions."""
    body = {"model": model, "prompt": list(QUESTIONS), "max_tokens": 24, "temperature": 0, "return_token_ids": True}
    status, told = call(server, "/v1/completions", body)
    assert status == 200, told
    return [choice["token_ids"] for choice in told["choices"]]


def test_it_answers_as_the_transformers_engine_does(
    server: str, hf: HFEngine, adapters: dict[str, Path], name: str
) -> None:
    assert load(server, name, adapters["A"]) == (200, f"Success: LoRA adapter '{name}' added successfully.")
    for model, adapter in (("base", None), (name, adapters["A"])):
        expected = answers(hf, [Request(text, text, GREEDY, adapter) for text in QUESTIONS])
        for tokens, answer in zip(ask(server, model), expected, strict=True):
            assert hf.tokenizer.decode(tokens) == answer.text


def test_a_name_is_free_again_when_it_was_unloaded(server: str, adapters: dict[str, Path], name: str) -> None:
    load(server, name, adapters["A"])
    first = ask(server, name)
    assert load(server, name, adapters["B"])[0] == 400
    assert ask(server, name) == first
    assert call(server, UNLOAD, {"lora_name": name}) == (200, f"Success: LoRA adapter '{name}' removed successfully.")
    assert load(server, name, adapters["B"])[0] == 200
    assert ask(server, name) != first


def test_what_is_not_there_is_a_404(server: str, tmp_path: Path, name: str) -> None:
    status, told = load(server, name, tmp_path / "absent")
    assert (status, told) == (404, f"Loading lora {name} failed: No adapter found for <path>")
    status, told = call(server, "/v1/completions", {"model": name, "prompt": "a"})
    assert status == 404
    assert told["error"]["message"].startswith(f"The model `{name}` does not exist.")
    assert call(server, UNLOAD, {"lora_name": name})[0] == 404


def test_a_rank_that_it_has_no_room_for_is_a_500_with_the_reason(
    server: str, llama: Path, tmp_path: Path, name: str
) -> None:
    status, told = load(server, name, make_adapter(llama, tmp_path / "wide", 1, {"r": 17}))
    assert status == 500
    assert "LoRA rank 17 is greater than max_lora_rank 16" in told


def test_dora_and_broken_weights_are_500s_with_the_reason(
    server: str, llama: Path, adapters: dict[str, Path], tmp_path: Path, name: str
) -> None:
    status, told = load(server, name, make_adapter(llama, tmp_path / "dora", 1, {"use_dora": True}))
    assert (status, "does not yet support DoRA" in told) == (500, True)
    weights = Path(shutil.copytree(adapters["A"], tmp_path / "cut"), "adapter_model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-50])
    status, told = load(server, name, tmp_path / "cut")
    assert (status, "file not fully covered" in told) == (500, True)


def test_it_listens_on_this_machine_alone(server: str) -> None:
    port = int(server.rpartition(":")[2])
    mine = psutil.Process(os.getpid()).children(recursive=True)
    listening = {each.laddr for process in mine for each in process.net_connections("inet") if each.status == "LISTEN"}
    assert port in {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}
