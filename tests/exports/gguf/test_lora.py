"""A LoRA as GGUF says what llama.cpp is to add: held against peft's own change of each weight."""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from stages.errors import BadConfig
from stages.export import Export
from tests.exports.test_plain_lora import peft_changes
from tests.exports.tiny import KINDS, load, make_lora

LAYERS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def read_changes(path: Path) -> tuple[gguf.GGUFReader, dict[str, torch.Tensor]]:
    """What llama.cpp adds to each of its weights: alpha / rank · B·A."""
    reader = gguf.GGUFReader(path)
    tensors = {each.name: torch.tensor(each.data.copy()) for each in reader.tensors}
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    names = {name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")}
    assert tensors.keys() == {f"{name}.lora_{side}" for name in names for side in "ab"}
    sides = {name: (tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]) for name in names}
    return reader, {name: alpha / len(down) * up @ down for name, (down, up) in sides.items()}


def interleave(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """A head's rows 0 … n/2, n/2 … n as llama.cpp has them: 0, n/2, 1, n/2 + 1, …"""
    size = len(rows) // heads
    order = [
        head * size + half * size // 2 + row for head in range(heads) for row in range(size // 2) for half in (0, 1)
    ]
    return rows[order]


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_gets_what_peft_gives_it(
    kind: str, bases: dict[str, Path], loras: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "adapter.gguf"
    assert Export(to="gguf", out=out, name="mine").run(loras[kind]) == str(out)
    reader, found = read_changes(out)
    said = {key: reader.fields[f"general.{key}"].contents() for key in ("architecture", "type", "name")}
    assert said == {"architecture": kind, "type": "adapter", "name": "mine"}
    assert reader.fields["adapter.type"].contents() == "lora"
    config, wanted = load(bases[kind]).config, peft_changes(bases[kind], loras[kind])
    assert len(found) == len(wanted) == 7 * config.num_hidden_layers
    for name, change in found.items():
        _, layer, kept, _ = name.split(".")
        own = wanted[f"model.layers.{layer}.{LAYERS[kept]}"]
        if kind == "llama" and kept in ("attn_q", "attn_k"):
            own = interleave(own, config.num_attention_heads if kept == "attn_q" else config.num_key_value_heads)
        torch.testing.assert_close(change, own, rtol=1e-5, atol=1e-6)


def test_half_the_precision_is_half_the_file(loras: dict[str, Path], tmp_path: Path) -> None:
    sizes = {}
    for numbers in ("f32", "f16"):
        Export(to="gguf", out=tmp_path / numbers, numbers=numbers).run(loras["qwen3"])
        reader, _ = read_changes(tmp_path / numbers)
        sizes[numbers] = sum(tensor.n_bytes for tensor in reader.tensors)
    assert sizes["f16"] * 2 == sizes["f32"]


@pytest.mark.parametrize(
    ("kind", "settings", "named"),
    [
        (
            "qwen2",
            {"target_modules": ["lm_head", "q_proj"]},
            "is on lm_head, which is the embedding too; give --merge",
        ),
        ("llama", {"target_modules": ["embed_tokens"]}, "is on 'model.embed_tokens', an embedding; give --merge"),
        ("llama", {"lora_alpha": 0}, "alpha 0 adds nothing"),
    ],
)
def test_what_llama_cpp_would_take_otherwise_is_refused(
    kind: str, settings: dict[str, Any], named: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    adapter = make_lora(bases[kind], tmp_path / "adapter", **settings)
    with pytest.raises(BadConfig, match=named):
        Export(to="gguf", out=tmp_path / "adapter.gguf").run(adapter)
    assert not (tmp_path / "adapter.gguf").exists()


def test_a_head_of_its_own_has_a_lora(bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = make_lora(bases["qwen3"], tmp_path / "adapter", target_modules=["lm_head"])
    Export(to="gguf", out=tmp_path / "adapter.gguf").run(adapter)
    _, found = read_changes(tmp_path / "adapter.gguf")
    wanted = peft_changes(bases["qwen3"], adapter)["lm_head"]
    torch.testing.assert_close(found["output.weight"], wanted, rtol=1e-5, atol=1e-6)


def test_another_architecture_is_named(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from tests.conftest import make_tokenizer

    GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=300)).save_pretrained(tmp_path / "gpt2")
    make_tokenizer().save_pretrained(tmp_path / "gpt2")
    adapter = make_lora(tmp_path / "gpt2", tmp_path / "adapter", target_modules=["c_attn"], fan_in_fan_out=True)
    with pytest.raises(
        BadConfig, match="architecture 'gpt2' is not written as GGUF \\(Llama, Qwen2, Qwen3 and Gemma 3"
    ):
        Export(to="gguf", out=tmp_path / "adapter.gguf").run(adapter)
    wanted = peft_changes(tmp_path / "gpt2", adapter)  # whose weights are (in, out)
    Export(to="merged", out=tmp_path / "merged").run(adapter)
    merged, base = load(tmp_path / "merged").state_dict(), load(tmp_path / "gpt2").state_dict()
    name = "transformer.h.0.attn.c_attn"
    torch.testing.assert_close(merged[f"{name}.weight"] - base[f"{name}.weight"], wanted[name], rtol=1e-4, atol=1e-6)
