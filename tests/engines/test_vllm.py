"""What can be said of vLLM without it: whether it is there, what adapters need, and its errors in our words."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from seal_cli.flags.engine import EngineFlags
from seal_cli.runs.engines import select_engine
from stages.engines.local import LocalEngine
from stages.engines.vllm import explain_refusal
from stages.engines.vllm_start import RANKS, Sizes, _arguments, check_vllm, read_lora_needs, resolve_device, translate
from stages.errors import BadConfig, BadInput, MissingInput, OutOfMemory
from stages.interfaces import Request, group_by_adapter
from stages.models.device import Device
from stages.settings import Sampling
from stages.work import EngineSource
from tests.conftest import ROOT
from tests.engines.test_hf_adapters import make_adapter

SIZES = Sizes(64, None, 8, None)


def test_vllm_that_is_not_installed_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.engines.vllm_start.find_spec", lambda name: None)
    with pytest.raises(BadConfig) as caught:
        check_vllm()
    assert str(caught.value) == "--engine vllm needs vLLM: pip install 'seal-toolkit[vllm]' (or --engine hf)"


def test_looking_for_vllm_and_at_adapters_loads_nothing_heavy() -> None:
    code = (
        "import sys; from contextlib import suppress; import stages.engines.vllm\n"
        "from stages.engines.vllm_start import check_vllm, read_lora_needs\n"
        "with suppress(Exception): check_vllm()\n"
        "assert read_lora_needs([]) == (None, 0)\n"
        "print(*(name for name in ('torch', 'transformers', 'vllm') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# ---- adapters


def test_the_largest_rank_counts_and_each_adapter_once(model_dir: Path, tmp_path: Path) -> None:
    a = make_adapter(model_dir, tmp_path / "a", 1, {"r": 3})
    b = make_adapter(
        model_dir, tmp_path / "b", 1, {"r": 2, "rank_pattern": {"v_proj": 9}, "alpha_pattern": {"q_proj": 1}}
    )
    assert read_lora_needs([a, b, a]) == (9, 2)
    assert read_lora_needs([a]) == (3, 1)


@pytest.mark.parametrize(("rank", "size"), [(1, 1), (2, 8), (8, 8), (9, 16), (257, 320), (512, 512)])
def test_vllm_makes_room_for_certain_ranks_only(rank: int, size: int) -> None:
    assert _arguments(Sizes(64, rank, 8, None), on_cpu=False)["max_lora_rank"] == size
    assert size in RANKS


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"use_dora": True}, "has DoRA, which vLLM cannot use; --engine hf can use it"),
        ({"lora_bias": True}, "has a bias in lora_B, which"),
        ({"bias": "lora_only"}, r"has biases of the model \(bias\), which"),
        ({"modules_to_save": ["lm_head"]}, r"has whole layers beside the LoRA \(modules_to_save\), which"),
        ({"trainable_token_indices": [3]}, "has single tokens of the embedding, which"),
        ({"alora_invocation_tokens": [3]}, "has activated LoRA, which"),
        ({"r": 513}, "rank 513, and vLLM takes 512 at most; --engine hf can use it"),
    ],
)
def test_an_adapter_that_vllm_cannot_use_is_named(
    model_dir: Path, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    folder = make_adapter(model_dir, tmp_path / "adapter", 1, settings)
    with pytest.raises(BadInput, match=rf"adapter .*/adapter: {words}"):
        read_lora_needs([folder])


@pytest.mark.parametrize(
    "engine", [LocalEngine(name="vllm"), select_engine(EngineFlags("openai", base_url="http://x"), "m")]
)
def test_a_setting_that_nobody_knows_yet_is_not_passed_over_here_or_on_a_server(
    model_dir: Path, tmp_path: Path, engine: EngineSource
) -> None:
    folder = make_adapter(model_dir, tmp_path / "adapter", 1, {"exclude_modules": ["k_proj"]})
    adapters = {folder: str(model_dir)}
    assert engine.find_unusable(adapters, str(model_dir), ()) == {}
    settings = json.loads((folder / "adapter_config.json").read_text())
    for key in ("kasa_config", "of_a_peft_to_come"):
        (folder / "adapter_config.json").write_text(json.dumps({**settings, key: {"x": 1}}))
        found = engine.find_unusable(adapters, str(model_dir), ())
        assert f"has a setting {key}, which vLLM cannot use; --engine hf can use it" in str(found[folder])


def test_an_adapter_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"adapter .*/absent: no such directory"):
        read_lora_needs([tmp_path / "absent"])


def test_requests_of_one_adapter_lie_together_behind_those_without() -> None:
    names = ["b", "", "a", "b", "", "a"]
    requests = [Request(f"{name}{n}", "?", Sampling(), Path(name) if name else None) for n, name in enumerate(names)]
    groups = group_by_adapter(requests).values()
    assert [each.id for group in groups for each in group] == ["1", "4", "b0", "b3", "a2", "a5"]


# ---- what it is asked for, and its errors


def test_devices_that_vllm_does_not_have_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadConfig, match="--dtype float64: vLLM takes float32 or bfloat16; use --engine hf"):
        resolve_device(Device("cpu", "float64"))
    monkeypatch.setattr(Device, "resolve", lambda self: (torch.device("cuda:1"), torch.bfloat16))
    words = "--device cuda:1: vLLM takes the first GPU it sees; set CUDA_VISIBLE_DEVICES instead"
    with pytest.raises(BadConfig, match=words):
        resolve_device(Device("cuda:1"))


FREE = "Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than desired GPU memory utilization (0.92)."
CACHE = (
    "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
)
LONG = "To serve at least one request with the model's max seq len (32768), 7 GiB KV cache is needed.\nSee the pages."
ARCHITECTURE = (
    "1 validation error for ModelConfig\n  Value error, Model architectures ['Foo'] are not supported for now."
)


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        (FREE, OutOfMemory, "--memory-fraction 0.9: so much memory is not free .*; take a smaller one"),
        (
            CACHE,
            OutOfMemory,
            "--memory-fraction 0.9: no room for m's context .*; take a larger one, or use --engine hf",
        ),
        (LONG, OutOfMemory, "--memory-fraction 0.9: no room for m's context .*max seq len"),
        ("CUDA out of memory. Tried to", OutOfMemory, "m does not fit into the device's memory with --memory-fraction"),
        (ARCHITECTURE, BadInput, "--model m: vLLM cannot run it: Model architectures .* not supported for now; use"),
        ("", BadInput, "--model m: vLLM cannot run it: ValueError; use --engine hf"),
    ],
)
def test_an_error_of_vllm_becomes_one_line_that_says_what_to_change(text: str, kind: type, words: str) -> None:
    error = translate("m", replace(SIZES, memory_fraction=0.9), ValueError(text))
    assert type(error) is kind
    assert re.match(words, str(error))
    assert "\n" not in str(error)


def test_an_adapter_that_vllm_refuses_is_named() -> None:
    error = explain_refusal(
        Path("out/a"), ValueError("expected target modules in {'qkv_proj'} but received ['gate'].\nmore")
    )
    assert str(error).startswith("adapter out/a: vLLM cannot use it: expected target modules in")
    assert str(error).endswith("; --engine hf can use it")
    assert isinstance(explain_refusal(Path("a"), RuntimeError("CUDA out of memory")), OutOfMemory)
