"""What an adapter adds, by layer; what is more than that is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from stages.errors import BadConfig
from stages.export import Export
from stages.exports.plain_lora import read_lora
from tests.exports.tiny import load, make_lora


def peft_changes(base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """What peft itself adds to each weight."""
    before = load(base).state_dict()
    after = PeftModel.from_pretrained(load(base), str(adapter)).merge_and_unload().state_dict()
    changes = {name.removesuffix(".weight"): after[name] - before[name] for name in after}
    return {layer: change for layer, change in changes.items() if change.any()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"use_rslora": True, "rank_pattern": {"q_proj": 9}, "alpha_pattern": {r"0\.self_attn.v_proj": 1}},
        {"rank_pattern": {"layers.1.mlp.up_proj": 1, "up_proj": 7}, "alpha_pattern": {"k_proj": 20}},
        {"target_modules": ["q_proj", "up_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "down_proj"], "exclude_modules": "model.layers.0.mlp.down_proj"},
    ],
)
def test_the_change_of_each_layer_is_that_of_peft_before_and_after_it_is_evened_out(
    settings: dict[str, Any], bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = make_lora(bases["llama"], tmp_path / "adapter", **settings)
    wanted, lora = peft_changes(bases["llama"], adapter), read_lora(adapter)
    for found in (lora, lora.even_out()):
        assert found.parts.keys() == wanted.keys()
        for layer, part in found.parts.items():
            torch.testing.assert_close(part.compute_change(torch.float32), wanted[layer], rtol=1e-5, atol=1e-6)
    assert lora.even_out().is_even


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "has 'use_dora', which is more than a LoRA; merge it"),
        ({"lora_bias": True}, "has 'lora_bias'"),
        ({"bias": "all"}, "has 'bias'"),
        ({"modules_to_save": ["lm_head"]}, "has 'modules_to_save'"),
    ],
)
def test_what_is_more_than_a_lora_is_named(
    settings: dict[str, Any], named: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(BadConfig, match=named):
        read_lora(make_lora(bases["qwen2"], tmp_path / "adapter", **settings))


def test_a_copy_of_the_bases_own_head_is_none_of_the_adapters_and_another_is_refused(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = make_lora(bases["qwen3"], tmp_path / "adapter", target_modules=["lm_head"])
    weights = adapter / "adapter_model.safetensors"
    loaded, (copied,) = load_file(weights), read_lora(adapter).copies
    assert copied == "lm_head" and Export(to="vllm").run(adapter)
    loaded["base_model.model.lm_head.base_layer.weight"][3, 3] += 1
    save_file(loaded, weights, {"format": "pt"})
    with pytest.raises(BadConfig, match="brings a 'lm_head' that is not the model's"):
        Export(to="vllm").run(adapter)
