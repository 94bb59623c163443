"""Adapter directories are judged by settings and headers; what is wrong with one is named."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from stages.errors import BadInput, MissingInput, SealError
from stages.models.adapter_checks import (
    BASE_KEY,
    make_adapter_check,
    make_usability_check,
    read_adapter,
    read_adapter_config,
    shape_mismatches,
)
from stages.models.directories import TensorInfo, read_model_tensors
from tests.tiny_models import make_adapter

FUZZ = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def whole_adapter(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(model_dir, tmp_path_factory.mktemp("adapter") / "whole", rank=3)


@pytest.fixture
def adapter(whole_adapter: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(whole_adapter, tmp_path / "adapter"))


def setting(adapter: Path, **changes: object) -> None:
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def spoil(adapter: Path, changed: Mapping[str, torch.Tensor | None]) -> None:
    """Other tensors under names that end so; None removes them."""
    state = load_file(adapter / WEIGHTS)
    for end, tensor in changed.items():
        name = next(name for name in state if name.endswith(end))
        del state[name]
        if tensor is not None:
            state[name] = tensor
    save_file(state, adapter / WEIGHTS)


def refusal(path: Path) -> str:
    with pytest.raises(SealError) as caught:
        read_adapter(path)
    return str(caught.value)


def test_a_whole_adapter_tells_its_targets_and_its_base(whole_adapter: Path, model_dir: Path) -> None:
    found = read_adapter(whole_adapter)
    assert found.base == str(model_dir)
    assert found.tensors == 2 * len(found.targets) > 0
    assert {(target.down[0], target.up[1]) for target in found.targets} == {(3, 3)}
    assert shape_mismatches(found, read_model_tensors(model_dir)) == ([], [])


def test_a_rank_that_differs_from_the_settings_is_named(adapter: Path) -> None:
    setting(adapter, r=4)
    assert "has rank 3, not 4; make it again with `seal adapt`" in refusal(adapter)
    setting(adapter, rank_pattern={"q_proj": 3})
    assert read_adapter(adapter).targets
    spoil(adapter, {"v_proj.lora_B.weight": torch.zeros(16, 5)})
    assert "lora_B of 'model.layers.0.self_attn.v_proj' has rank 5, not 3 or 4" in refusal(adapter)


@pytest.mark.parametrize("rank", [None, 0, True, "3", 2.0, [3]])
def test_a_rank_that_is_no_number_is_refused(adapter: Path, rank: object) -> None:
    setting(adapter, r=rank)
    assert "r and rank_pattern are not all whole numbers" in refusal(adapter)


def test_half_a_layer_is_refused(adapter: Path) -> None:
    spoil(adapter, {"q_proj.lora_B.weight": None})
    assert "q_proj' has no lora_A and lora_B" in refusal(adapter)
    save_file({"x": torch.zeros(1)}, adapter / WEIGHTS)
    assert "a LoRA without lora_A and lora_B" in refusal(adapter)


def test_an_adapter_that_is_cut_off_is_refused(adapter: Path) -> None:
    content = (adapter / WEIGHTS).read_bytes()
    (adapter / WEIGHTS).write_bytes(content[:-1])
    assert f"{WEIGHTS}: cut off" in refusal(adapter)


def test_an_adapter_of_another_model_does_not_fit(whole_adapter: Path, model_dir: Path, qwen_dir: Path) -> None:
    found = read_adapter(whole_adapter)
    tensors = read_model_tensors(model_dir)
    name = "model.layers.1.self_attn.q_proj.weight"
    bad, unclear = shape_mismatches(found, {**tensors, name: TensorInfo("F32", (32, 64))})
    assert bad == ["'model.layers.1.self_attn.q_proj' is 32×64, the adapter for 32×32"]
    assert not unclear
    layerless = {name: info for name, info in tensors.items() if ".layers.1." not in name}
    assert shape_mismatches(found, layerless)[0][0] == "no layer 'model.layers.1.self_attn.q_proj'"


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_embedding_and_the_names_of_a_bare_model_fit(model_dir: Path, tmp_path: Path) -> None:
    path = make_adapter(model_dir, tmp_path / "a", targets=("embed_tokens", "down_proj", "lm_head"))
    found, tensors = read_adapter(path), read_model_tensors(model_dir)
    assert any(target.embedding for target in found.targets)
    assert shape_mismatches(found, tensors) == ([], [])
    bare = {name.removeprefix("model."): info for name, info in tensors.items()}
    assert shape_mismatches(found, bare) == ([], [])
    del bare["lm_head.weight"]  # tied to the embedding, so that no file has it
    assert shape_mismatches(found, bare) == ([], ["no layer 'lm_head'"])


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set")
def test_the_turned_weights_of_gpt2_fit(tmp_path: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=30)).save_pretrained(tmp_path / "model")
    path = make_adapter(tmp_path / "model", tmp_path / "adapter", targets=("c_attn",))
    found, tensors = read_adapter(path), read_model_tensors(tmp_path / "model")
    assert shape_mismatches(found, tensors) == ([], [])
    (target,) = found.targets
    assert (target.down, target.up) == ((2, 16), (48, 2))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["r", "rank_pattern", "peft_type", "init_lora_weights", "fan_in_fan_out", "target_modules"])


@FUZZ
@given(changes=st.dictionaries(KEYS, JSON, max_size=3))
def test_adapter_settings_of_any_type_are_read_or_refused(
    whole_adapter: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    copy = Path(shutil.copytree(whole_adapter, tmp_path / "copy", dirs_exist_ok=True))
    setting(copy, **changes)
    try:
        shape_mismatches(read_adapter(copy), {})
    except SealError as error:
        assert str(copy) in str(error)


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (
            lambda folder: shutil.rmtree(folder),
            MissingInput,
            "no such directory (run `seal adapt` again",
        ),
        (
            lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
            BadInput,
            "only a .bin, which is not read; it needs adapter_model.safetensors",
        ),
        (
            lambda folder: (folder / "adapter_model.safetensors").unlink(),
            BadInput,
            "no weights; it needs adapter_model.safetensors",
        ),
        (lambda folder: (folder / "adapter_config.json").unlink(), MissingInput, "adapter_config.json: no such file"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), BadInput, "adapter_config.json: not JSON"),
        (
            lambda folder: (folder / "adapter_config.json").write_text("[]"),
            BadInput,
            "adapter_config.json: a JSON list",
        ),
    ],
)
def test_what_is_no_adapter_is_named(
    adapter: Path, spoil: Callable[[Path], object], kind: type[SealError], words: str
) -> None:
    spoil(adapter)
    with pytest.raises(kind) as caught:
        read_adapter_config(adapter)
    assert words in str(caught.value)
    assert str(adapter) in str(caught.value)


def test_an_adapter_that_would_change_the_base_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "init_lora_weights": "pissa"}')
    with pytest.raises(BadInput, match="begun with pissa, which changes the base model; convert it"):
        read_adapter_config(tmp_path)


@pytest.mark.parametrize("method", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"])
def test_an_adapter_that_puts_tokens_before_the_prompt_is_refused(adapter: Path, method: str) -> None:
    setting(adapter, peft_type=method)
    with pytest.raises(BadInput, match=f"peft_type {method} puts tokens before the prompt; take an adapter of layers"):
        read_adapter(adapter)


def test_an_adapter_without_its_method_is_refused(adapter: Path) -> None:
    setting(adapter, peft_type=None)
    with pytest.raises(BadInput, match="its settings have no peft_type"):
        read_adapter(adapter)


def test_a_model_that_is_torn_condemns_none_of_its_adapters(
    whole_adapter: Path, model_dir: Path, tmp_path: Path
) -> None:
    assert make_usability_check(str(model_dir))(whole_adapter)
    model = Path(shutil.copytree(model_dir, tmp_path / "model"))
    (model / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(BadInput, match=r"model\.safetensors: cut off"):
        make_usability_check(str(model))(whole_adapter)


def test_a_model_that_has_changed_is_known_under_every_name_that_leads_to_it(
    adapter: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Path(shutil.copytree(model_dir, tmp_path / "model"))
    metadata = {"format": "pt", BASE_KEY: "the weights before"}
    save_file(load_file(adapter / WEIGHTS), adapter / WEIGHTS, metadata)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(model)
    check = make_adapter_check("model")
    for name in ("model", "./model", "model/", str(model), "link"):
        with pytest.raises(BadInput, match="was trained on other weights than model has now"):
            check(adapter, name)
    check(adapter, str(model_dir))  # another one, which `seal eval` tells of
