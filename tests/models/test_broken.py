"""Checkpoints in the wild: what cannot be used as it is is named, with a way out, wherever it is loaded or checked."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2Model

from stages.checks.model import examine_model
from stages.engines.hf import HFEngine
from stages.errors import BadConfig, BadInput, OutOfMemory, SealError
from stages.interfaces import Example, Request
from stages.models.config import count_embedding_rows
from stages.models.device import Device
from stages.models.libraries import explain_library_errors, summarize_error
from stages.models.loading import load_model, load_network, load_tokenizer
from stages.settings import Sampling
from stages.tokens.tokenization import encode_example, encode_prompt
from tests.conftest import make_tokenizer
from tests.models.broken import BROKEN, INDEX, SETTINGS, WEIGHTS, break_model, edit, more

CPU = Device("cpu")
QUANTIZED = "its weights are quantized with "
REFUSED: dict[str, tuple[type[SealError], str]] = {
    "lora beside base": (
        BadConfig,
        "self_attn.q_proj.lora_A.weight' of an adapter, which LlamaForCausalLM leaves out; m",
    ),
    "unmerged peft": (BadConfig, "(as 'model.layers.0.self_attn.q_proj.base_layer.weight') of an adapter"),
    "fewer layers": (
        BadConfig,
        "it holds 9 weights (as 'model.layers.1.input_layernorm.weight') that LlamaForCausalLM ",
    ),
    "more layers": (
        BadConfig,
        "no weights for model.layers.2.input_layernorm.weight and 8 more; the checkpoint is not",
    ),
    "bias unused": (
        BadConfig,
        "it holds 'model.layers.0.self_attn.q_proj.bias' that LlamaForCausalLM has no place for",
    ),
    "bias wanted": (BadConfig, "no weights for model.layers.0.self_attn.k_proj.bias and 7 more"),
    "scales": (BadConfig, "as of quantized weights; config.json lacks their quantization_config"),
    "no scales": (
        BadConfig,
        "it holds 2 weights (as 'model.layers.0.mlp.up_proj.weight') of whole numbers, as of quant",
    ),
    "compiled prefix": (
        BadConfig,
        "but for '_orig_mod.lm_head.weight'; save it again without _orig_mod. before the names",
    ),
    "parallel prefix": (BadConfig, "save it again without module. before the names"),
    "peft prefix": (BadConfig, "save it again without base_model.model. before the names"),
    "lm_head gone": (BadConfig, "no weights for lm_head.weight; the checkpoint is not whole"),
    "layer gone": (BadConfig, "no weights for model.layers.1.mlp.up_proj.weight; the checkpoint is not whole"),
    "sizes off": (BadConfig, "'model.layers.0.mlp.down_proj.weight' is 32×48, by config.json 32×64; take the config"),
    "vocabulary off": (BadConfig, "'lm_head.weight' is 300×32, by config.json 310×32; take the config.json"),
    "heads off": (
        BadInput,
        "The hidden size (32) is not a multiple of the number of attention heads (3); take the conf",
    ),
    "classifier": (BadConfig, "no weights for lm_head.weight, but it holds 'score.weight' that it has no place for"),
    "adapter inside": (
        BadConfig,
        "an adapter lies in it beside the model (adapter_config.json), and would be loaded with",
    ),
    "only adapter": (
        BadConfig,
        "only an adapter of owner/base, not a model; give --model owner/base, which it was traine",
    ),
    "end beyond": (
        BadConfig,
        "its tokenizer's end token '</s>' has id 287, but the embedding has 287 rows; take the tok",
    ),
    "start beyond": (BadConfig, "start token '<s>' has id 287, but the embedding has 287 rows"),
    "turn beyond": (BadConfig, "token '<turn>' has id 287, but the embedding has 287 rows"),
    "added beyond": (BadConfig, "token '[CLS]' has id 287, but the embedding has 287 rows"),
    "unknown beyond": (BadConfig, "unknown token '<unk>' has id 287, but the embedding has 287 rows"),
    "words beyond": (
        BadConfig,
        "token 'protein' has id 287, but the embedding has 287 rows (2 are beyond, up to 'kinase' with i",
    ),
    "bitsandbytes": (
        BadConfig,
        f"{QUANTIZED}'bitsandbytes', which needs bitsandbytes; pip install bitsandbytes, or take",
    ),
    "gptq": (BadConfig, f"{QUANTIZED}'gptq', which needs optimum and gptqmodel; pip install optimum gptqmodel"),
    "awq": (BadConfig, f"{QUANTIZED}'awq', which needs gptqmodel; pip install gptqmodel"),
    "hqq": (BadConfig, f"{QUANTIZED}'hqq', which needs hqq; pip install hqq"),
    "torchao": (BadConfig, f"{QUANTIZED}'torchao', which needs torchao; pip install torchao"),
    "compressed-tensors": (
        BadConfig,
        f"{QUANTIZED}'compressed-tensors', which needs compressed-tensors; pip install c",
    ),
    "fp8": (BadConfig, f"{QUANTIZED}'fp8', which needs a GPU; take the model that is not quantized"),
    "mxfp4": (
        BadConfig,
        f"{QUANTIZED}'mxfp4', which needs kernels; pip install kernels, or take the model that is not",
    ),
    "unknown quantization": (BadConfig, f"{QUANTIZED}'madeup', which transformers "),
    "mlx": (BadConfig, f"{QUANTIZED}'MLX', which transformers "),
    "newer mlx": (BadConfig, f"{QUANTIZED}'MLX', which transformers "),
    "activation": (BadConfig, "config.json says hidden_act 'gelu_brandnew', which transformers "),
    "rope": (BadConfig, "config.json says rope_type 'brandnew', which transformers "),
    "dtype": (BadConfig, "config.json says dtype 'float9', which torch does not have"),
    "torch_dtype": (BadConfig, "config.json says torch_dtype 'float9', which torch does not have"),
    "model_type": (BadInput, "model_type 'brandnew' is none that this transformers knows ("),
    "no model_type": (
        BadInput,
        "its settings cannot be read: config.json has no model_type; copy or download it again",
    ),
    "flash": (
        BadConfig,
        "config.json asks for flash_attention_2, which needs flash-attn; pip install flash-attn, or take",
    ),
    "flash kernel": (
        BadConfig,
        "config.json asks for kernels-community/flash-attn3, which needs kernels; pip install ke",
    ),
    "remote code": (BadInput, "none that this transformers knows ("),
    "newer tokenizer": (BadConfig, "its tokenizer cannot be loaded: tokenizer.json is of a format that tokenizers "),
    "no tokenizer": (
        BadConfig,
        "it has no tokenizer.json; copy the tokenizer's files of the model that it was made from",
    ),
    "sentencepiece": (BadConfig, "tokenizer.model needs sentencepiece"),
    "no end token": (
        BadInput,
        "its tokenizer has no end token (eos_token); set eos_token in the model's tokenizer_config",
    ),
    "tokenizer code": (
        BadConfig,
        "its tokenizer cannot be loaded: it needs code that comes with it (auto_map), which is ",
    ),
    "cut off": (BadInput, "model.safetensors: cut off or damaged, no whole safetensors file"),
    "pointer": (BadInput, "model.safetensors: a Git LFS pointer, not the file; fetch it in its folder: git lfs pull"),
    "tokenizer pointer": (BadInput, "tokenizer.json: a Git LFS pointer"),
    "settings pointer": (BadInput, "config.json: a Git LFS pointer"),
    "pickle": (BadInput, "only a .bin, which is not read; take a revision with safetensors, or convert it"),
    "no weights": (BadInput, "no weights; copy or download it again"),
    "encoder": (BadConfig, "bert is an encoder, which sees what comes after; take a causal language model"),
    "encoder-decoder": (BadConfig, "t5 is an encoder-decoder model; take a causal language model"),
    "gguf": (
        BadConfig,
        "only GGUF ('model-Q4_K_M.gguf'), which llama.cpp and Ollama read; make a model directory of it: seal import",
    ),
    "gguf with settings": (BadConfig, "only GGUF ('model-Q4_K_M.gguf'), which llama.cpp and Ollama read"),
    "shard missing": (BadInput, "model-00002-of-00002.safetensors: no such file"),
    "odd sizes": (BadInput, "Field 'hidden_size' expected int, got str (value: 'thirty-two'); take the config.json"),
    "negative layers": (BadConfig, "that LlamaForCausalLM has no place for: config.json says num_hidden_layers -1"),
    "no heads": (
        BadInput,
        "its settings cannot be read: ZeroDivisionError: integer modulo by zero; copy or download it",
    ),
    "generation list": (BadInput, "generation_config.json: a JSON list, not an object"),
    "end of text": (BadInput, "which is no id of a token, nor a list of such; take it out, or mend it"),
    "ends of lists": (BadInput, "generation_config.json says eos_token_id '[[0]]', which is no id of a token"),
    "generation torn": (BadInput, "generation_config.json: not JSON"),
}
FINE = [
    "tied yet both",
    "pad beyond",
    "pad beyond in both",
    "unused beyond",
    "pad in settings",
    "tokenizer class",
    "tuples",
]


def test_every_broken_model_has_its_sentence() -> None:
    assert {*REFUSED, *FINE} == BROKEN.keys()


@pytest.fixture(scope="module")
def folder(model_dir: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """The broken model of this name."""
    return break_model(model_dir, tmp_path_factory.mktemp("broken") / "model", request.param)


@pytest.mark.parametrize(("folder", "name"), [(name, name) for name in REFUSED], indirect=["folder"])
def test_a_broken_model_is_refused_by_name_and_doctor_says_the_same_without_loading_it(folder: Path, name: str) -> None:
    kind, words = REFUSED[name]
    with pytest.raises(kind) as caught:
        load_tokenizer(str(folder))
        load_model(str(folder), CPU)
    said = str(caught.value)
    assert words in said
    assert str(folder) in said
    assert "\n" not in said
    found = list(examine_model(str(folder), CPU, deep=False))
    wrong = [f"{finding.found}; {finding.advice}" for finding in found if finding.ok is False]
    assert any(words in told for told in wrong), wrong


@pytest.mark.parametrize(("folder", "name"), [(name, name) for name in FINE], indirect=["folder"])
def test_what_can_be_mended_or_does_no_harm_is_used(folder: Path, name: str) -> None:
    loaded = load_tokenizer(str(folder)), load_model(str(folder), CPU)
    assert (
        HFEngine(str(folder), loaded=loaded).tokenizer.pad_token_id < loaded[1].get_input_embeddings().weight.shape[0]
    )
    (answer,) = HFEngine(str(folder), loaded=loaded).sample([Request("a", "A house.", Sampling(max_tokens=2))])
    assert answer.error is None
    assert all(finding.ok for finding in examine_model(str(folder), CPU, deep=True))


@pytest.mark.parametrize("text", ["a <image> b", "<image>", "<image><image> \n"])
@pytest.mark.parametrize("folder", ["unused beyond"], indirect=True)
def test_a_special_token_beyond_the_embedding_that_a_text_has_is_letters(folder: Path, text: str) -> None:
    tokenizer, rows = load_tokenizer(str(folder)), count_embedding_rows(str(folder))
    assert tokenizer("<image>")["input_ids"] == [rows]
    for prompt in ("", text):
        sequence = encode_example(tokenizer, Example(prompt, text), end=True).ids
        for ids in (sequence, encode_prompt(tokenizer, text)):
            assert rows is not None
            assert max(ids) < rows
            assert text in tokenizer.decode(ids)
    for turns in ([{"role": "user", "content": text}], text):
        tokenizer.chat_template = "{% for each in messages %}{{ each.content }}|{% endfor %}"
        assert max(encode_example(tokenizer, Example(turns, text), end=True).ids) < rows


def test_words_beyond_the_embedding_are_counted_up_to_the_pad_token() -> None:
    cases = Path(__file__).parents[2].parent / "shared" / "cases" / "models" / "pad_beyond_embedding"
    if not cases.is_dir():
        pytest.skip("the cases are not beside the project")
    with pytest.raises(
        BadConfig, match=r"'<x20>' has id 320, but the embedding has 320 rows \(11 are beyond, up to '\[PAD\]'"
    ):
        load_tokenizer(str(cases))


def test_a_model_of_the_hub_is_looked_at_as_well(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    repo = tmp_path / "models--owner--name"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    (repo / "snapshots").mkdir()
    break_model(model_dir, repo / "snapshots" / "abc", "no scales")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(BadConfig, match=r"--model owner/name: it holds 2 weights .* of whole numbers"):
        load_network("owner/name", dtype=torch.float32)


# ---- weights that the class rightly leaves out, or has under other names


@pytest.mark.parametrize(
    "name",
    [
        "model.vision_tower.encoder.layers.0.mlp.fc1.weight",
        "visual.blocks.0.attn.qkv.weight",
        "multi_modal_projector.linear.weight",
        "mtp.layers.0.mlp.weight",
        "v_head.summary.weight",
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        "transformer.h.0.attn.masked_bias",
    ],
)
def test_parts_that_no_text_goes_through_are_left_out_and_named(model_dir: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    more(**{name.replace(".", "__"): (1,)})(tmp_path / "model")
    for settings in ({"dtype": torch.float32}, {"device_map": "meta"}):
        assert load_network(str(tmp_path / "model"), **settings)[1] in ([name], [])  # [] where transformers knows it
    found = [finding for finding in examine_model(str(tmp_path / "model"), CPU, deep=False) if finding.ok is False]
    assert found == []


def test_layers_that_predict_further_tokens_may_follow_the_others(model_dir: Path, tmp_path: Path) -> None:
    folder = break_model(model_dir, tmp_path / "model", "fewer layers")
    edit(folder / SETTINGS, num_nextn_predict_layers=1)
    _, beside = load_network(str(folder), dtype=torch.float32)
    assert len(beside) == 9
    assert all(name.startswith("model.layers.1.") for name in beside)


def test_a_checkpoint_of_the_bare_model_is_whole_where_the_head_is_tied(tmp_path: Path) -> None:
    GPT2Model(GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2)).save_pretrained(tmp_path / "bare")
    make_tokenizer().save_pretrained(tmp_path / "bare")
    assert not any(name.startswith("transformer.") for name in load_file(tmp_path / "bare" / WEIGHTS))
    load_model(str(tmp_path / "bare"), CPU)


def test_a_checkpoint_in_shards_is_read_as_one(model_dir: Path, tmp_path: Path) -> None:
    network = load_model(str(model_dir), CPU)
    network.save_pretrained(tmp_path / "model", max_shard_size="60KB")
    assert (tmp_path / "model" / INDEX).is_file()
    again = load_model(str(tmp_path / "model"), CPU)
    assert all(torch.equal(one, other) for one, other in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("stated", [True, False])
def test_rows_are_those_of_the_text_part_also_where_only_the_class_knows_them(tmp_path: Path, stated: bool) -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 32, **({"vocab_size": 77} if stated else {})}
    edit(tmp_path / SETTINGS, model_type="gemma3", text_config=text)
    assert count_embedding_rows(str(tmp_path)) == (77 if stated else 262_208)


# ---- whose error it is


def test_any_error_of_a_library_is_the_models_and_one_of_ours_stays_a_bug(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise LookupError("no such thing\n  in the library")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", fail)
    with pytest.raises(BadConfig, match="cannot be loaded: LookupError: no such thing; copy or download it"):
        load_model(str(model_dir), CPU)
    monkeypatch.undo()
    monkeypatch.setattr("stages.models.loading.check_report", fail)
    with pytest.raises(LookupError):
        load_model(str(model_dir), CPU)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_memory_that_runs_out_is_not_the_models_fault(model_dir: Path, error: Exception) -> None:
    with pytest.raises((MemoryError, OutOfMemory)), explain_library_errors(str(model_dir)):
        raise error


def test_a_full_disk_is_not_the_models_fault(model_dir: Path) -> None:
    for number in (errno.ENOSPC, errno.EIO, errno.EROFS):
        with pytest.raises(OSError, match=os.strerror(number)), explain_library_errors(str(model_dir)):
            raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  one   of:\n  two.\n"), "one of: two"),
        (ValueError("Validation error for field 'x':\n  TypeError: bad"), "TypeError: bad"),
        (ValueError(""), "ValueError"),
        (ValueError("x" * 999), "x" * 300),
    ],
)
def test_an_error_is_told_on_one_line(error: Exception, words: str) -> None:
    assert summarize_error(error) == words
