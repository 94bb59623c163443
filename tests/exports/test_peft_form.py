"""Adapters with one rank and one alpha: peft answers the same with them. And vLLM's command."""

import json
import shlex
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.errors import BadConfig
from stages.export import Export
from tests.exports.tiny import KINDS, compute_logits, load, make_lora


@pytest.mark.parametrize("kind", KINDS)
def test_peft_answers_the_same_with_one_rank(
    kind: str, bases: dict[str, Path], loras: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "even"
    assert Export(to="peft", out=out).run(loras[kind]) == str(out)
    config = json.loads((out / "adapter_config.json").read_bytes())
    assert (config["r"], config["lora_alpha"]) == (4, 6)
    assert not any(config[key] for key in ("rank_pattern", "alpha_pattern", "use_rslora"))
    assert {
        weight.shape[0] for name, weight in load_file(out / "adapter_model.safetensors").items() if "_A" in name
    } == {4}
    wanted, found = (compute_logits(load(bases[kind], adapter)) for adapter in (loras[kind], out))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_an_even_adapter_keeps_its_weights(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = make_lora(bases["llama"], tmp_path / "adapter", r=3, lora_alpha=5)
    Export(to="peft", out=tmp_path / "even").run(adapter)
    before, after = (load_file(path / "adapter_model.safetensors") for path in (adapter, tmp_path / "even"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_layers_that_a_name_alone_does_not_tell_are_told_by_their_whole_names(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    chosen = {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"}
    adapter = make_lora(bases["llama"], tmp_path / "adapter", **chosen)
    Export(to="peft", out=tmp_path / "even").run(adapter)
    config = json.loads((tmp_path / "even/adapter_config.json").read_bytes())
    assert config["target_modules"] == ["model.layers.1.self_attn.q_proj"]
    wanted, found = (compute_logits(load(bases["llama"], path)) for path in (adapter, tmp_path / "even"))
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_a_lora_on_the_embedding_is_named(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = make_lora(bases["llama"], tmp_path / "adapter", target_modules=["embed_tokens"])
    with pytest.raises(BadConfig, match=r"has a LoRA on 'model.embed_tokens', an embedding"):
        Export(to="peft", out=tmp_path / "even").run(adapter)


def test_vllm_is_told_the_adapter_and_the_least_rank_that_it_knows(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = make_lora(bases["llama"], tmp_path / "an adapter", r=9)
    words = shlex.split(Export(to="vllm", name="seal").run(adapter))
    assert words[:3] == ["vllm", "serve", str(bases["llama"])]
    assert words[3:] == ["--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"seal={adapter}"]


def test_vllm_gets_one_rank_where_the_layers_have_different_ones(loras: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="different ranks or factors; give --out DIR"):
        Export(to="vllm").run(loras["llama"])
    words = shlex.split(Export(to="vllm", out=tmp_path / "even").run(loras["llama"]))
    assert words[-1] == f"llama={tmp_path / 'even'}" and words[5] == "8"
    assert (tmp_path / "even/adapter_model.safetensors").is_file()


def test_a_rank_beyond_vllms_is_named(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = make_lora(bases["qwen2"], tmp_path / "adapter", r=513, target_modules=["q_proj"])
    with pytest.raises(BadConfig, match="rank 513, and vLLM takes 512 at most"):
        Export(to="vllm").run(adapter)


def test_a_name_or_a_place_that_vllm_would_cut_is_told_as_json(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = make_lora(bases["llama"], tmp_path / "lr=1e-3, two")
    *_, told = shlex.split(Export(to="vllm", name="a b").run(adapter))
    assert json.loads(told) == {"name": "a b", "path": str(adapter)}
