"""A merged model answers as the base with the adapter does, in the base's own precision and files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from stages.errors import BadConfig, ExistingOutput
from stages.export import Export
from stages.models.directories import read_model_tensors
from tests.conftest import make_tokenizer
from tests.exports.tiny import KINDS, compute_logits, load, make_architecture, make_lora

NOISE = 2e-5  # of float32 logits up to about 20; the largest seen is 7e-6


def merge(adapter: Path, out: Path) -> Path:
    assert Export(to="merged", out=out).run(adapter) == str(out)
    return out


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_answers_as_the_base_with_the_adapter(
    kind: str, bases: dict[str, Path], loras: dict[str, Path], tmp_path: Path
) -> None:
    wanted = compute_logits(load(bases[kind], loras[kind]))
    assert (wanted - compute_logits(load(bases[kind]))).abs().max() > 1
    found = compute_logits(load(merge(loras[kind], tmp_path / "merged")))
    torch.testing.assert_close(found, wanted, rtol=0, atol=NOISE)


def test_a_bfloat16_model_stays_one_and_is_rounded_once(tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "base", "qwen3", torch.bfloat16)
    adapter = make_lora(base, tmp_path / "adapter")
    out = merge(adapter, tmp_path / "merged")
    assert {info.dtype for info in read_model_tensors(out).values()} == {"BF16"}
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    exact = PeftModel.from_pretrained(network, str(adapter)).merge_and_unload().state_dict()
    with safe_open(out / "model.safetensors", "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    wrong = [name for name, weight in found.items() if not torch.equal(weight, exact[name].to(torch.bfloat16))]
    assert len(wrong) <= 1  # a number in a thousand lies so near the middle of two that float32 decides it otherwise
    assert all(torch.isclose(found[name].float(), exact[name], rtol=2**-8, atol=0).all() for name in found)


def test_the_files_of_a_sharded_base_are_those_of_the_merged_model(tmp_path: Path, loras: dict[str, Path]) -> None:
    base = make_architecture(tmp_path / "base", "llama")
    AutoModelForCausalLM.from_pretrained(base).save_pretrained(base, max_shard_size="40KB")
    (base / "model.safetensors").unlink()
    shards = sorted(path.name for path in base.glob("model-*.safetensors"))
    assert len(shards) > 2
    adapter = make_lora(base, tmp_path / "adapter")
    out = merge(adapter, tmp_path / "merged")
    assert sorted(path.name for path in out.glob("*.safetensors")) == shards
    index = json.loads((out / "model.safetensors.index.json").read_bytes())
    assert index["weight_map"] == json.loads((base / "model.safetensors.index.json").read_bytes())["weight_map"]
    torch.testing.assert_close(compute_logits(load(out)), compute_logits(load(base, adapter)), rtol=0, atol=NOISE)


def test_one_weight_for_embedding_and_head_stays_one(
    bases: dict[str, Path], loras: dict[str, Path], tmp_path: Path
) -> None:
    out = merge(loras["qwen2"], tmp_path / "merged")
    assert "lm_head.weight" not in read_model_tensors(out)
    assert load(out).config.tie_word_embeddings is True
    assert (out / "config.json").read_bytes() == (bases["qwen2"] / "config.json").read_bytes()


@pytest.mark.parametrize("targets", [["lm_head", "q_proj"], ["embed_tokens", "q_proj"], ["embed_tokens", "lm_head"]])
def test_a_lora_on_one_of_the_two_parts_them(targets: list[str], bases: dict[str, Path], tmp_path: Path) -> None:
    adapter = make_lora(bases["qwen2"], tmp_path / "adapter", target_modules=targets)
    wanted = compute_logits(load(bases["qwen2"], adapter))
    merged = load(merge(adapter, tmp_path / "merged"))
    assert merged.config.tie_word_embeddings is False
    torch.testing.assert_close(compute_logits(merged), wanted, rtol=0, atol=NOISE)


def test_what_is_merged_is_told_and_nothing_is_replaced_unasked(loras: dict[str, Path], tmp_path: Path) -> None:
    out = merge(loras["llama"], tmp_path / "merged")
    told = json.loads((out / "seal.json").read_bytes())
    assert told["export"] == "merged" and told["files"]["model.safetensors"] > 1000
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(ExistingOutput, match="exists already; give --overwrite"):
        merge(loras["llama"], out)
    Export(to="merged", out=out, overwrite=True).run(loras["llama"])
    assert (out / "model.safetensors").read_bytes() == before
    for own, form in ((out, "merged"), (tmp_path / "peft", "peft")):
        Export(to=form, out=own, overwrite=own.exists()).run(loras["llama"])  # type: ignore[arg-type]
        (own / "my-notes.txt").write_text("mine")
        with pytest.raises(ExistingOutput, match="is there and is no export"):
            Export(to=form, out=own, overwrite=True).run(loras["llama"])  # type: ignore[arg-type]
    (tmp_path / "notes").mkdir()
    with pytest.raises(ExistingOutput, match="is there and is no export"):
        Export(to="merged", out=tmp_path / "notes", overwrite=True).run(loras["llama"])


def test_a_layer_that_the_files_do_not_have_is_named(
    loras: dict[str, Path], bases: dict[str, Path], tmp_path: Path
) -> None:
    base = shutil.copytree(bases["qwen2"], tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights["model.layers.0.self_attn.qkv_proj.weight"] = weights.pop("model.layers.0.self_attn.q_proj.weight")
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadConfig, match=r"'model.layers.0.self_attn.q_proj' has no weight of its own in"):
        Export(to="merged", out=tmp_path / "out", model=str(base)).run(loras["qwen2"])
    assert not (tmp_path / "out").exists()


def test_square_layers_of_both_ways_round_are_each_merged_their_own_way(tmp_path: Path) -> None:
    """GPT-2's layers are (in, out) and its head is not, and the one setting of an adapter is that of its last layer."""
    base = tmp_path / "base"
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, tie_word_embeddings=False)
    GPT2LMHeadModel(config).save_pretrained(base)
    make_tokenizer().save_pretrained(base)
    for name, targets in (("head last", ["attn.c_proj", "lm_head"]), ("blocks", ["attn.c_proj", "c_attn", "c_fc"])):
        adapter = make_lora(base, tmp_path / name, target_modules=targets)
        wanted, out = compute_logits(load(base, adapter)), merge(adapter, tmp_path / f"{name} merged")
        found = compute_logits(load(out))
        torch.testing.assert_close(found, wanted, rtol=0, atol=NOISE)


def test_numbers_that_the_bases_precision_cannot_hold_are_refused(tmp_path: Path) -> None:
    base = make_architecture(tmp_path / "base", "qwen3", torch.float16)
    for name, number in (("large", 1e6), ("diverged", float("nan"))):
        weights = make_lora(base, tmp_path / name) / "adapter_model.safetensors"
        loaded = load_file(weights)
        next(weight for key, weight in loaded.items() if "lora_B" in key)[0, 0] = number
        save_file(loaded, weights, {"format": "pt"})
        with pytest.raises(BadConfig, match=r"adapter .*: with it '.*' has numbers that float16 cannot hold"):
            merge(tmp_path / name, tmp_path / "merged")
        assert not (tmp_path / "merged").exists()


def test_nothing_that_is_read_and_no_folder_of_more_than_an_export_is_replaced(
    loras: dict[str, Path], bases: dict[str, Path], tmp_path: Path
) -> None:
    base = shutil.copytree(bases["llama"], tmp_path / "base")
    (base / "seal.json").write_text("{}")  # as if `seal sft` had made it
    adapter = make_lora(base, tmp_path / "adapter", target_modules=["q_proj"])
    for out in (base, tmp_path):
        with pytest.raises(ExistingOutput, match=r"holds what is exported|is there and is no export"):
            Export(to="merged", out=out, overwrite=True).run(adapter)  # the base is named by the adapter alone
    work = tmp_path / "work"
    (work / "notes").mkdir(parents=True)
    (work / "seal.json").write_text("{}")
    with pytest.raises(ExistingOutput, match="is there and is no export"):
        Export(to="peft", out=work, overwrite=True).run(adapter)
    assert (base / "model.safetensors").is_file() and (work / "notes").is_dir()
