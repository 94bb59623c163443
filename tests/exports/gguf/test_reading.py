"""A GGUF file becomes the model that it was made from: its weights, its settings, its tokenizer's start of a text."""

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from stages.engines.hf import HFEngine
from stages.errors import BadConfig, BadInput, ExistingOutput, MissingInput
from stages.export import Export
from stages.exports.gguf.header import open_gguf
from stages.exports.gguf.tokenizer import make_tokenizer_of
from stages.import_gguf import Import
from stages.models.device import Device
from stages.models.directories import check_model, read_model_tensors
from stages.models.loading import load_tokenizer
from tests.exports.gguf.rewriting import rewrite
from tests.exports.tiny import (
    KINDS,
    LLAMA3_SPLIT,
    QWEN2_SPLIT,
    TEXTS,
    compute_logits,
    load,
    make_architecture,
    make_byte_level,
    make_sentencepiece,
)

FAMILIES = {  # architecture, tokenizer, what begins each of its texts
    "qwen": ("qwen2", lambda: make_byte_level(QWEN2_SPLIT), None),
    "llama 3": ("llama", lambda: make_byte_level(LLAMA3_SPLIT, "<|begin|>"), "<|begin|>"),
    "gpt-2": ("qwen3", make_byte_level, None),
    "llama 2": ("llama", lambda: make_sentencepiece("llama"), "<s>"),
    "gemma": ("gemma3", lambda: make_sentencepiece("gemma"), "<bos>"),
}


@pytest.fixture(scope="session")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """A model directory of each family of tokenizers, and its GGUF file."""
    found, folder = {}, tmp_path_factory.mktemp("families")
    for name, (kind, make, _) in FAMILIES.items():
        tokenizer = make()
        base = make_architecture(folder / name, kind, vocab_size=len(tokenizer) + 8)
        tokenizer.chat_template = "{{ messages[0]['content'] }}"
        tokenizer.save_pretrained(base)
        Export(to="gguf", out=folder / f"{name}.gguf").run(base)
        found[name] = base, folder / f"{name}.gguf"
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_is_the_model_that_it_was_made_from(
    family: str, families: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    base, file = families[family]
    told = Import(out=tmp_path / "model").run(file)
    start = FAMILIES[family][2]
    assert (f"each text begins with {start}" if start else "no start token") in told
    wanted, found = load(base), load(tmp_path / "model")
    for name, weight in wanted.state_dict().items():
        off = 1.2e-7 if family == "gemma" and "norm" in name else 0  # of norms, which were stored with one added
        torch.testing.assert_close(found.state_dict()[name], weight, rtol=0, atol=off)
    torch.testing.assert_close(compute_logits(found), compute_logits(wanted), rtol=0, atol=2e-5)
    own, ours = AutoTokenizer.from_pretrained(base), load_tokenizer(str(tmp_path / "model"))
    for text in (*TEXTS, f"{start or '<|im_start|>'}{TEXTS[0]}<think>"):
        assert ours(text)["input_ids"] == own(text)["input_ids"]
        assert ours.decode(ours(text)["input_ids"]) == own.decode(own(text)["input_ids"])
    assert ours.chat_template == own.chat_template
    config = json.loads((tmp_path / "model/config.json").read_bytes())
    assert config["transformers_version"] == transformers.__version__
    assert "quantization_config" not in config and config["dtype"] == "float32"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("said", [True, False, None])
def test_a_text_starts_as_the_file_says_else_as_its_kind_of_vocabulary_does(
    family: str, said: bool | None, families: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    start = FAMILIES[family][2]
    changes: dict[str, Any] = {"tokenizer.ggml.add_bos_token": said}
    if start is None:
        changes["tokenizer.ggml.bos_token_id"] = 1
    file = rewrite(families[family][1], tmp_path / "model.gguf", changes)
    Import(out=tmp_path / "model").run(file)
    tokenizer = load_tokenizer(str(tmp_path / "model"))
    begins = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    assert begins == (said if said is not None else start is not None)
    assert tokenizer("a", add_special_tokens=False)["input_ids"][0] != tokenizer.bos_token_id


@pytest.mark.parametrize(
    ("pre", "starts"),
    [
        *(
            (pre, True)
            for pre in ("llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken")
        ),
        *((pre, False) for pre in ("qwen2", "deepseek-r1-qwen", "smollm", "gpt-2", "smaug-bpe", "llama4")),
    ],
)
def test_a_file_that_does_not_say_is_started_by_the_way_it_cuts_words_as_llama_cpp_starts_it(
    pre: str, starts: bool, families: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    changes = {"tokenizer.ggml.pre": pre, "tokenizer.ggml.add_bos_token": None}
    with open_gguf(rewrite(families["llama 3"][1], tmp_path / "model.gguf", changes)) as file:
        tokenizer = make_tokenizer_of(file)
    assert tokenizer.bos_token == "<|begin|>"  # noqa: S105
    assert (tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id) == starts
    assert tokenizer.backend_tokenizer.model.ignore_merges == starts


@pytest.mark.parametrize("family", ["qwen", "llama 2", "gemma"])
def test_an_answer_ends_at_every_token_that_is_called_as_an_end(
    family: str, families: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    """Files name one of them: a base model's own, or that of a chat's turn."""
    file = rewrite(families[family][1], tmp_path / "model.gguf", {"tokenizer.ggml.eot_token_id": None})
    tokens = gguf.GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()
    expected = {"qwen": ["<|endoftext|>", "<|im_end|>"], "llama 2": ["</s>"], "gemma": ["<eos>"]}[family]
    Import(out=tmp_path / "model").run(file)
    engine = HFEngine(str(tmp_path / "model"), device=Device("cpu", "float32"))
    assert sorted(tokens[number] for number in engine.ends) == sorted(expected)
    assert engine.tokenizer.eos_token == expected[0]


def test_a_text_ends_as_the_file_says(families: dict[str, tuple[Path, Path]], tmp_path: Path) -> None:
    changes = {"tokenizer.ggml.add_eos_token": True, "tokenizer.ggml.eot_token_id": 3}
    Import(out=tmp_path / "model").run(rewrite(families["llama 3"][1], tmp_path / "model.gguf", changes))
    tokenizer = load_tokenizer(str(tmp_path / "model"))
    assert tokenizer("a")["input_ids"][::2] == [tokenizer.bos_token_id, tokenizer.eos_token_id]
    generation = json.loads((tmp_path / "model/generation_config.json").read_bytes())
    assert generation["eos_token_id"] == [0, 3]


@pytest.mark.parametrize("numbers", ["f16", "bf16", "q8_0"])
def test_weights_of_fewer_bits_are_those_that_the_file_has(
    numbers: Any, bases: dict[str, Path], tmp_path: Path
) -> None:
    Export(to="gguf", out=tmp_path / "model.gguf", numbers=numbers).run(bases["qwen2"])
    Import(out=tmp_path / "model").run(tmp_path / "model.gguf")
    found = load(tmp_path / "model").state_dict()["model.layers.1.mlp.up_proj.weight"]
    stored = {each.name: each for each in gguf.GGUFReader(tmp_path / "model.gguf").tensors}["blk.1.ffn_up.weight"]
    assert np.array_equal(found.numpy(), gguf.dequantize(stored.data, stored.tensor_type))


def test_the_precision_is_chosen(bases: dict[str, Path], tmp_path: Path) -> None:
    Export(to="gguf", out=tmp_path / "model.gguf").run(bases["qwen3"])
    Import(out=tmp_path / "model", dtype="bfloat16").run(tmp_path / "model.gguf")
    assert {info.dtype for info in read_model_tensors(tmp_path / "model").values()} == {"BF16"}
    assert json.loads((tmp_path / "model/config.json").read_bytes())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("kind", "rope"),
    [
        ("llama", {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}),
        ("qwen2", {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 128}),
        ("gemma3", {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}}),
    ],
)
def test_scaled_positions_are_scaled_again(kind: str, rope: dict[str, Any], tmp_path: Path) -> None:
    if kind == "gemma3":
        rope = {**rope, "sliding_attention": {"rope_type": "default", "rope_theta": 2e4}}
    base = make_architecture(tmp_path / "base", kind, rope_parameters=rope)
    Export(to="gguf", out=tmp_path / "model.gguf").run(base)
    Import(out=tmp_path / "model").run(tmp_path / "model.gguf")
    torch.testing.assert_close(compute_logits(load(tmp_path / "model")), compute_logits(load(base)), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_lacks_a_weight_or_a_setting_is_refused_by_its_name(
    kind: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "source.gguf"
    Export(to="gguf", out=source).run(bases[kind])
    for number, (changes, tensors, error, words) in enumerate(
        (
            ({f"{kind}.block_count": None}, {}, BadInput, f"{kind}.block_count is None, no size"),
            ({f"{kind}.embedding_length": "32"}, {}, BadInput, r"embedding_length' is '32', no int"),
            ({f"{kind}.expert_count": 8}, {}, BadConfig, "has expert_count, which"),
            ({}, {"blk.1.ffn_up.weight": None}, BadInput, "has no blk.1.ffn_up.weight"),
            ({}, {"blk.1.ffn_up.weight": np.zeros((3, 32))}, BadInput, r"blk.1.ffn_up.weight is 3×32, by its settings"),
            ({}, {"blk.0.attn_sinks.weight": np.zeros(4)}, BadConfig, "holds 'blk.0.attn_sinks.weight', which"),
            ({"tokenizer.ggml.tokens": None}, {}, BadInput, "its vocabulary has no tokens"),
            ({"tokenizer.ggml.pre": "unheard-of"}, {}, BadConfig, "cuts words as 'unheard-of', which is not read"),
            ({"tokenizer.ggml.model": "t5"}, {}, BadConfig, "its tokenizer is 't5', and llama and gpt2 are read"),
            ({"tokenizer.ggml.eos_token_id": 99999}, {}, BadInput, "its eos token has id 99999"),
            ({"tokenizer.ggml.eos_token_id": None}, {}, BadInput, "names no end token, so that no answer would end"),
            ({"tokenizer.ggml.pre": None}, {}, BadConfig, "cuts words as 'default', which is not read"),
            ({"general.type": "adapter"}, {}, BadConfig, "holds 'adapter', no model"),
        )
    ):
        file = rewrite(source, tmp_path / f"{number}.gguf", changes, tensors)
        with pytest.raises(error, match=words):
            Import(out=tmp_path / "model").run(file)
    assert not (tmp_path / "model").exists()


def test_another_architecture_and_another_scaling_are_named(bases: dict[str, Path], tmp_path: Path) -> None:
    Export(to="gguf", out=tmp_path / "llama.gguf").run(bases["llama"])
    other = rewrite(tmp_path / "llama.gguf", tmp_path / "mamba.gguf", {}, name="mamba")
    with pytest.raises(BadConfig, match=r"architecture 'mamba' is not read \(Llama, Qwen2, Qwen3 and Gemma 3 are\)"):
        Import(out=tmp_path / "model").run(other)
    other = rewrite(tmp_path / "llama.gguf", tmp_path / "odd.gguf", {}, {"rope_freqs.weight": np.array([1, 5, 2, 8])})
    with pytest.raises(BadConfig, match="is of no scaling of Llama 3's"):
        Import(out=tmp_path / "model").run(other)


def test_a_model_that_is_a_file_is_told_how_to_become_a_directory(bases: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    Export(to="gguf", out=file).run(bases["llama"])
    with pytest.raises(
        BadConfig, match=r"a GGUF file; make a model directory of it: seal import .*model.gguf --out DIR"
    ):
        check_model(str(file))
    for source, error in ((tmp_path, BadInput), (tmp_path / "nowhere", MissingInput)):
        with pytest.raises(error, match="gguf file"):
            Import(out=tmp_path / "model").run(source)
    Import(out=tmp_path / "model").run(file)
    with pytest.raises(ExistingOutput, match="exists already; give --overwrite"):
        Import(out=tmp_path / "model").run(file)
    Import(out=tmp_path / "model", overwrite=True).run(file)
    check_model(str(tmp_path / "model"))


def test_only_what_an_import_has_written_is_replaced(bases: dict[str, Path], tmp_path: Path) -> None:
    own, project = tmp_path / "own", tmp_path / "project"
    project.mkdir()
    for name in ("config.json", "main.c"):
        (project / name).write_text("{}")
    Export(to="gguf", out=tmp_path / "model.gguf").run(bases["llama"])
    Import(out=own).run(tmp_path / "model.gguf")
    (own / "more").mkdir()
    for out in (project, own):
        with pytest.raises(ExistingOutput, match="is there and was not made by `seal import`; give another directory"):
            Import(out=out, overwrite=True).run(tmp_path / "model.gguf")
    (own / "more").rmdir()
    (own / "my-notes.txt").write_text("mine")
    with pytest.raises(ExistingOutput, match="is there and was not made by `seal import`"):
        Import(out=own, overwrite=True).run(tmp_path / "model.gguf")
    assert (own / "my-notes.txt").read_text() == "mine"
    (own / "my-notes.txt").unlink()
    inside = (tmp_path / "model.gguf").rename(own / "model.gguf")
    with pytest.raises(ExistingOutput, match=r"holds .*model\.gguf, which is read; give another directory"):
        Import(out=own, overwrite=True).run(inside)
    assert inside.is_file() and (project / "main.c").is_file()


def test_numbers_that_a_precision_cannot_hold_are_refused(bases: dict[str, Path], tmp_path: Path) -> None:
    base = shutil.copytree(bases["llama"], tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"][3] = 1e6
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    Export(to="gguf", out=tmp_path / "model.gguf").run(base)
    with pytest.raises(BadConfig, match=r"model\.norm\.weight has numbers that float16 cannot hold; give --dtype bf"):
        Import(out=tmp_path / "out", dtype="float16").run(tmp_path / "model.gguf")
    assert not (tmp_path / "out").exists()
