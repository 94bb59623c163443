"""A model as GGUF: every weight and setting as llama.cpp has them, and read back by transformers' own reader."""

import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stages.errors import BadConfig
from stages.export import Export
from tests.exports.gguf.test_lora import LAYERS, interleave
from tests.exports.tiny import KINDS, compute_logits, load, make_architecture

NORMS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
}
GEMMA = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
OUTSIDE = {"token_embd": "model.embed_tokens", "output": "lm_head", "output_norm": "model.norm"}


def write(source: Path, out: Path, **settings: Any) -> gguf.GGUFReader:
    assert Export(to="gguf", out=out, **settings).run(source) == str(out)
    return gguf.GGUFReader(out)


def read_tensors(reader: gguf.GGUFReader) -> dict[str, torch.Tensor]:
    return {each.name: torch.tensor(gguf.dequantize(each.data, each.tensor_type)) for each in reader.tensors}


def get_wanted(kind: str, name: str, weights: dict[str, torch.Tensor], config: Any) -> torch.Tensor:
    """A weight of llama.cpp from transformers' model."""
    stem, _, end = name.rpartition(".")
    parts = stem.split(".")
    names = LAYERS | NORMS | (GEMMA if kind == "gemma3" else {})
    own = f"model.layers.{parts[1]}.{names[parts[2]]}" if parts[0] == "blk" else OUTSIDE[stem]
    weight = weights[f"{own}.{end}"]
    if kind == "gemma3" and own.endswith("norm"):
        return weight + 1
    if kind == "llama" and parts[-1] in ("attn_q", "attn_k"):
        return interleave(weight, config.num_attention_heads if parts[-1] == "attn_q" else config.num_key_value_heads)
    return weight


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_and_size_is_there_once(kind: str, bases: dict[str, Path], tmp_path: Path) -> None:
    network = load(bases[kind])
    weights, config, reader = network.state_dict(), network.config, write(bases[kind], tmp_path / "model.gguf")
    found = read_tensors(reader)
    assert ("rope_freqs.weight" in found) == (kind == "llama")
    found.pop("rope_freqs.weight", None)
    assert ("output.weight" in found) != config.tie_word_embeddings
    assert len(found) == len(weights) - config.tie_word_embeddings
    for name, weight in found.items():
        assert torch.equal(weight, get_wanted(kind, name, weights, config)), name
    said = {key.removeprefix(f"{kind}."): field.contents() for key, field in reader.fields.items()}
    assert said["block_count"] == config.num_hidden_layers and said["context_length"] == 512
    assert (said["attention.head_count"], said["attention.head_count_kv"]) == (4, 2)
    assert said["attention.key_length"] == said["rope.dimension_count"] == (8 if kind in ("llama", "qwen2") else 16)
    if kind == "gemma3":
        assert (said["attention.sliding_window"], said["rope.freq_base"], said["rope.freq_base_swa"]) == (8, 1e6, 1e4)


@pytest.mark.parametrize("off", [0, 1])
def test_a_head_in_the_files_is_written_where_it_is_another_than_the_embedding(
    off: int, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = shutil.copytree(bases["qwen2"], tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + off
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    found = read_tensors(write(base, tmp_path / "model.gguf"))
    assert ("output.weight" in found) == bool(off)
    head = found.get("output.weight", found["token_embd.weight"])
    assert torch.equal(head, load(base).lm_head.weight)  # which transformers takes although its settings tie the two


def test_llama_3s_frequencies_are_those_of_transformers(bases: dict[str, Path], tmp_path: Path) -> None:
    factors = read_tensors(write(bases["llama"], tmp_path / "model.gguf"))["rope_freqs.weight"]
    network = load(bases["llama"])
    plain = 1 / 500000 ** (torch.arange(0, 8, 2) / 8)
    torch.testing.assert_close(plain / factors, network.model.rotary_emb.inv_freq, rtol=1e-6, atol=0)
    assert factors[0] == 1 and factors[-1] == 8


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma3"])  # of Qwen3 that reader takes no size of heads but 128
def test_transformers_own_reader_answers_as_the_model(kind: str, tmp_path: Path) -> None:
    plain = {"rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}} if kind == "llama" else {}
    more: dict[str, Any] = {"head_dim": 8} if kind in ("llama", "qwen2") else {}
    base = make_architecture(tmp_path / "base", kind, **plain, **more)
    write(base, tmp_path / "model.gguf")
    network = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32).eval()
    if kind == "gemma3":
        network.config.query_pre_attn_scalar = 16  # which no GGUF file says
        for layer in network.model.layers:
            layer.self_attn.scaling = 16**-0.5
    torch.testing.assert_close(compute_logits(network), compute_logits(load(base)), rtol=0, atol=2e-5)


def test_an_adapter_is_merged_into_the_file(bases: dict[str, Path], loras: dict[str, Path], tmp_path: Path) -> None:
    found = read_tensors(write(loras["qwen3"], tmp_path / "merged.gguf", merge=True))
    Export(to="merged", out=tmp_path / "merged").run(loras["qwen3"])
    weights = load(tmp_path / "merged").state_dict()
    assert all(torch.equal(weight, get_wanted("qwen3", name, weights, None)) for name, weight in found.items())


@pytest.mark.parametrize(("numbers", "worst"), [("f16", 2**-11), ("bf16", 2**-8), ("q8_0", 2**-7)])
def test_weights_of_fewer_bits_are_near_the_others(numbers: Any, worst: float, tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "base", "qwen2", hidden_size=64, intermediate_size=64)
    reader = write(base, tmp_path / "model.gguf", numbers=numbers)
    assert {each.tensor_type.name for each in reader.tensors if len(each.shape) == 2} == {numbers.upper()}
    assert {each.tensor_type.name for each in reader.tensors if len(each.shape) == 1} == {"F32"}
    weights = load(base).state_dict()
    for name, weight in read_tensors(reader).items():
        wanted = get_wanted("qwen2", name, weights, None)
        assert (weight - wanted).abs().max() <= worst * wanted.abs().max()


def test_a_bfloat16_model_is_written_as_one_to_the_bit(tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "base", "qwen3", torch.bfloat16)
    reader = write(base, tmp_path / "model.gguf")
    assert {each.tensor_type.name for each in reader.tensors if len(each.shape) == 2} == {"BF16"}
    weights = {name: weight.float() for name, weight in load(base).state_dict().items()}
    assert all(
        torch.equal(each, get_wanted("qwen3", name, weights, None)) for name, each in read_tensors(reader).items()
    )


def test_rows_that_q8_cannot_divide_are_half_precision(tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "base", "qwen2")  # 48 columns in the middle
    reader = write(base, tmp_path / "model.gguf", numbers="q8_0")
    kinds = {each.name: each.tensor_type.name for each in reader.tensors}
    assert kinds["blk.0.ffn_down.weight"] == "F16" and kinds["blk.0.ffn_up.weight"] == "Q8_0"
    assert np.isfinite(reader.tensors[0].data).all()


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        ("llama", {"hidden_act": "relu"}, "hidden_act relu"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type dynamic"),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 0}, "a sliding window"),
        ("qwen3", {"attention_bias": True}, "attention_bias"),
        ("gemma3", {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ("gemma3", {"query_pre_attn_scalar": 7}, "query_pre_attn_scalar 7"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "layers whose attention is not full in each sixth"),
    ],
)
def test_a_setting_that_llama_cpp_computes_otherwise_is_named(
    kind: str, settings: dict[str, Any], named: str, tmp_path: Path
) -> None:
    base = make_architecture(tmp_path / "base", kind, **settings)
    with pytest.raises(BadConfig, match=f"{named}.*, which llama.cpp computes otherwise"):
        write(base, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()


def test_a_whole_model_has_no_adapters_formats(bases: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="a whole model, and --to peft writes adapters; give --to gguf"):
        Export(to="peft", out=tmp_path / "out").run(bases["llama"])
    with pytest.raises(BadConfig, match=r"--merge: .* is a whole model"):
        Export(to="gguf", out=tmp_path / "out", merge=True).run(bases["llama"])
    with pytest.raises(BadConfig, match="--numbers f16: is for --to gguf and --to ollama, not for merged"):
        Export(to="merged", out=tmp_path / "out", numbers="f16").run(bases["llama"])
