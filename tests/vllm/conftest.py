"""A random Llama that vLLM's CPU build takes, adapters of many kinds for it, and one engine for all tests."""

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines.hf import HFEngine
from stages.engines.vllm import VLLMEngine
from stages.interfaces import Request
from stages.models.device import Device
from stages.settings import Sampling
from tests.conftest import ROOT
from tests.engines.test_hf_adapters import KINDS, make_adapter
from tests.tiny_models import make_llama
from tests.vllm.server import serving

os.environ.setdefault("OMP_NUM_THREADS", "1")
NEEDS_VLLM = [
    pytest.mark.vllm,
    pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed here (make test-vllm)"),
]
FLOAT32 = Device("auto", "float32")
GREEDY = Sampling(0.0, 1.0, 24)
TINY = ROOT / "examples" / "tiny" / "model"
SIZES = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512}
QUESTIONS = (
    "Who?",
    "The inn is red and the door is blue. What colour is the inn?",
    "a",
    "Topic: ships\n",
    "Is it old?",
)
USABLE: dict[str, dict[str, Any]] = {
    **{name: settings for name, (settings, _) in KINDS.items() if name not in ("dora", "bias", "saved")},
    "alphas": {"alpha_pattern": {"v_proj": 32}},
    "embedding": {"target_modules": ["embed_tokens", "q_proj"]},
    "wide": {"r": 9},
}


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama whose heads have 32 dimensions, the fewest that vLLM has attention for on a CPU."""
    return make_llama(tmp_path_factory.mktemp("vllm") / "llama", **SIZES)


@pytest.fixture(scope="session")
def adapters(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: make_adapter(llama, folder / name, seed, settings) for seed, (name, settings) in enumerate(USABLE.items())
    }


@pytest.fixture(scope="session")
def hf(llama: Path) -> HFEngine:
    return HFEngine(str(llama), device=FLOAT32)


@contextmanager
def running(model: Path, **settings: Any) -> Iterator[VLLMEngine]:
    """A process holds one of vLLM's engines at a time: whichever ends takes vLLM's global state with it."""
    share = 0.3 if torch.cuda.is_available() else None  # of a GPU's memory: the server needs some too
    engine = VLLMEngine(str(model), **{"device": FLOAT32, "memory_fraction": share, **settings})
    try:
        yield engine
    finally:
        engine.llm.engine_core.shutdown()
        del engine.llm
        gc.collect()


@pytest.fixture(scope="module")
def engine(llama: Path) -> Iterator[VLLMEngine]:
    """Room for 8 completions and 3 adapters of at most rank 16 at a time."""
    with running(llama, batch_size=8, max_rank=16, slots=3) as engine:
        yield engine


@pytest.fixture(scope="session")
def server(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that calls the Llama `base` and has 32 slots for adapters of rank 16, no more."""
    with serving(llama, tmp_path_factory.mktemp("server") / "log", slots=32) as url:
        yield url


def ask(name: str, adapters: Mapping[str, Path], questions: Sequence[str] = QUESTIONS) -> list[Request]:
    """Greedy requests with the adapter of this name; none has the name ""."""
    about = name or "plain"
    return [Request(f"{about} {number}", text, GREEDY, adapters.get(name)) for number, text in enumerate(questions)]
