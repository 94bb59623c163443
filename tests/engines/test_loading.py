"""Checkpoints in the wild: what cannot be used as it is is named, with a way out, wherever it is loaded or checked."""

from pathlib import Path

import pytest

from stages import doctor
from stages.engines.hf import HFEngine
from stages.engines.models import Device, load_model, load_tokenizer
from stages.failures import BadConfig, BadInput, SealError
from tests.engines.broken import BROKEN, break_model

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
    "words beyond": (
        BadConfig,
        "token 'protein' has id 287, but the embedding has 287 rows; take the tokenizer that it w",
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
    "cut off": (BadInput, "model.safetensors: cut off: its header needs at least"),
    "pointer": (BadInput, "model.safetensors: a Git LFS pointer"),
    "tokenizer pointer": (BadInput, "tokenizer.json: a Git LFS pointer"),
    "settings pointer": (BadInput, "config.json: a Git LFS pointer"),
    "pickle": (BadInput, "only a .bin, which is not read; take a revision with safetensors, or convert it"),
    "no weights": (BadInput, "no weights; copy or download it again"),
    "encoder": (BadConfig, "bert is an encoder, which sees what comes after; take a causal language model"),
    "encoder-decoder": (BadConfig, "t5 is an encoder-decoder model; take a causal language model"),
    "gguf": (BadConfig, "only GGUF ('model-Q4_K_M.gguf'), which llama.cpp and Ollama read; take the safetensors"),
    "gguf with settings": (BadConfig, "only GGUF ('model-Q4_K_M.gguf'), which llama.cpp and Ollama read"),
    "shard missing": (BadInput, "model-00002-of-00002.safetensors: no such file"),
    "odd sizes": (BadInput, "Field 'hidden_size' expected int, got str (value: 'thirty-two'); take the config.json"),
    "negative layers": (BadConfig, "that LlamaForCausalLM has no place for: config.json says num_hidden_layers -1"),
    "no heads": (
        BadInput,
        "its settings cannot be read: ZeroDivisionError: integer modulo by zero; copy or download it",
    ),
    "generation list": (BadInput, "generation_config.json: a JSON list, not an object"),
    "generation torn": (BadInput, "generation_config.json: not JSON"),
}
FINE = {"tied yet both", "pad beyond", "pad beyond in both", "unused beyond", "pad in settings", "tokenizer class"}


def test_every_broken_model_has_its_sentence() -> None:
    assert REFUSED.keys() | FINE == BROKEN.keys()


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
    found = list(doctor.check_model(str(folder), CPU, deep=False))
    wrong = [f"{finding.found}; {finding.advice}" for finding in found if finding.ok is False]
    assert any(words in told for told in wrong), wrong


@pytest.mark.parametrize(("folder", "name"), [(name, name) for name in FINE], indirect=["folder"])
def test_what_can_be_mended_or_does_no_harm_is_used(folder: Path, name: str) -> None:
    loaded = load_tokenizer(str(folder)), load_model(str(folder), CPU)
    assert (
        HFEngine(str(folder), loaded=loaded).tokenizer.pad_token_id < loaded[1].get_input_embeddings().weight.shape[0]
    )
    assert all(finding.ok for finding in doctor.check_model(str(folder), CPU, deep=True))
