"""Models that cannot be used as they are: each a small random model, written by transformers and then broken."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

WEIGHTS, SETTINGS, INDEX = "model.safetensors", "config.json", "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 1343\n"


def edit(path: Path, **changes: Any) -> None:
    """Other values in a JSON file; None takes a key out."""
    found = {**(json.loads(path.read_text()) if path.exists() else {}), **changes}
    path.write_text(json.dumps({key: value for key, value in found.items() if value is not None}))


def settings(**changes: Any) -> Callable[[Path], None]:
    """Breaks config.json."""
    return lambda folder: edit(folder / SETTINGS, **changes)


def reweighed(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    """Breaks the weights."""

    def apply(folder: Path) -> None:
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})

    return apply


def more(**tensors: tuple[int, ...]) -> Callable[[Path], None]:
    """Weights beside those that the class has; `__` stands for a dot."""
    made = {name.replace("__", "."): torch.ones(shape) for name, shape in tensors.items()}
    return reweighed(lambda state: {**state, **made})


def renamed(old: str, new: str) -> Callable[[Path], None]:
    return reweighed(lambda state: {name.replace(old, new, 1): tensor for name, tensor in state.items()})


def without(name: str) -> Callable[[Path], None]:
    return reweighed(lambda state: {each: tensor for each, tensor in state.items() if each != name})


def quantized(method: str, **more: Any) -> Callable[[Path], None]:
    return settings(quantization_config={"quant_method": method, **more})


def add_adapter(folder: Path) -> None:
    edit(folder / "adapter_config.json", peft_type="LORA", r=2, lora_alpha=4, target_modules=["q_proj"])
    edit(folder / "adapter_config.json", base_model_name_or_path="owner/base", task_type="CAUSAL_LM")
    layers = [f"base_model.model.model.layers.{layer}.self_attn.q_proj" for layer in range(2)]
    halves = {f"{name}.lora_A.weight": torch.ones(2, 32) for name in layers}
    halves |= {f"{name}.lora_B.weight": torch.ones(32, 2) for name in layers}
    save_file(halves, folder / "adapter_model.safetensors", {"format": "pt"})


def only_adapter(folder: Path) -> None:
    add_adapter(folder)
    (folder / SETTINGS).unlink()
    (folder / WEIGHTS).unlink()


def gguf(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / SETTINGS).unlink()
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))


def gguf_with_config(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def shard_missing(folder: Path) -> None:
    state = load_file(folder / WEIGHTS)
    places = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(state)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def encoder(folder: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=300, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48
    )
    BertForMaskedLM(config).save_pretrained(folder)


def encoder_decoder(folder: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=300, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(folder)


def classifier(folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).save_pretrained(folder)


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def sentencepiece(folder: Path) -> None:
    without_tokenizer(folder)
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")


def newer_tokenizer(folder: Path) -> None:
    found = json.loads((folder / "tokenizer.json").read_text())
    found["model"]["type"] = "SuperBPE"
    (folder / "tokenizer.json").write_text(json.dumps(found))


def fit_rows(folder: Path) -> Any:
    """The tokenizer, with exactly as many rows in the model's embedding as it has tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows, wide = len(tokenizer), ("model.embed_tokens.weight", "lm_head.weight")
    reweighed(lambda state: {name: each[:rows].clone() if name in wide else each for name, each in state.items()})(
        folder
    )
    edit(folder / SETTINGS, vocab_size=rows)
    return tokenizer


def added(role: str, text: str, *, template: str | None = None) -> Callable[[Path], None]:
    """A special token behind the embedding's last row, and what it is for."""

    def apply(folder: Path) -> None:
        tokenizer = fit_rows(folder)
        tokenizer.add_special_tokens({role: text if role.endswith("_token") else [text]})
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder)

    return apply


def added_by_itself(folder: Path) -> None:
    added("cls_token", "[CLS]")(folder)
    place = json.loads((folder / SETTINGS).read_text())["vocab_size"]
    special = {"[CLS]": {"id": "[CLS]", "ids": [place], "tokens": ["[CLS]"]}}
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    template = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": special}
    edit(folder / "tokenizer.json", post_processor=template)


def unknown_beyond(folder: Path) -> None:
    added("unk_token", "<unk>")(folder)
    path = folder / "tokenizer.json"
    model = json.loads(path.read_text())["model"]
    place = json.loads((folder / SETTINGS).read_text())["vocab_size"]
    edit(path, model={**model, "unk_token": "<unk>", "vocab": {**model["vocab"], "<unk>": place}}, pre_tokenizer=None)


def added_words(folder: Path) -> None:
    tokenizer = fit_rows(folder)
    tokenizer.add_tokens(["protein", "kinase"])
    tokenizer.save_pretrained(folder)


def pad_in_both(folder: Path) -> None:
    added("pad_token", "[PAD]")(folder)
    edit(folder / SETTINGS, pad_token_id=json.loads((folder / SETTINGS).read_text())["vocab_size"])


def remote_code(folder: Path) -> None:
    edit(
        folder / SETTINGS,
        model_type="chatglm",
        architectures=["ChatGLMModel"],
        auto_map={"AutoConfig": "configuration_chatglm.ChatGLMConfig", "AutoModelForCausalLM": "modeling_chatglm.X"},
    )


BROKEN: dict[str, Callable[[Path], None]] = {
    "lora beside base": more(model__layers__0__self_attn__q_proj__lora_A__weight=(2, 32)),
    "unmerged peft": renamed("q_proj.weight", "q_proj.base_layer.weight"),
    "fewer layers": settings(num_hidden_layers=1),
    "more layers": settings(num_hidden_layers=3),
    "bias unused": more(model__layers__0__self_attn__q_proj__bias=(32,)),
    "bias wanted": settings(attention_bias=True),
    "scales": more(model__layers__0__mlp__up_proj__weight_scale_inv=(1, 1)),
    "no scales": reweighed(
        lambda state: {name: each.to(torch.int8) if "up_proj" in name else each for name, each in state.items()}
    ),
    "compiled prefix": renamed("", "_orig_mod."),
    "parallel prefix": renamed("", "module."),
    "peft prefix": renamed("", "base_model.model."),
    "lm_head gone": without("lm_head.weight"),
    "layer gone": without("model.layers.1.mlp.up_proj.weight"),
    "sizes off": settings(intermediate_size=64),
    "vocabulary off": settings(vocab_size=310),
    "heads off": settings(num_attention_heads=3),
    "tied yet both": settings(tie_word_embeddings=True),
    "classifier": classifier,
    "adapter inside": add_adapter,
    "only adapter": only_adapter,
    "pad beyond": added("pad_token", "[PAD]"),
    "pad beyond in both": pad_in_both,
    "end beyond": added("eos_token", "</s>"),
    "start beyond": added("bos_token", "<s>"),
    "turn beyond": added("additional_special_tokens", "<turn>", template="<turn>{{ messages[0]['content'] }}"),
    "words beyond": added_words,
    "added beyond": added_by_itself,
    "unknown beyond": unknown_beyond,
    "unused beyond": added("additional_special_tokens", "<image>"),
    "bitsandbytes": quantized("bitsandbytes", load_in_4bit=True, bnb_4bit_quant_type="nf4"),
    "gptq": quantized("gptq", bits=4, group_size=128),
    "awq": quantized("awq", bits=4, group_size=128, version="gemm"),
    "hqq": quantized("hqq", quant_config={"weight_quant_params": {"nbits": 4, "group_size": 64}}),
    "torchao": quantized("torchao", quant_type={"default": {"_type": "Int4WeightOnlyConfig", "_data": {}}}),
    "compressed-tensors": quantized("compressed-tensors", format="float-quantized", config_groups={}),
    "fp8": quantized("fp8", weight_block_size=[128, 128]),
    "mxfp4": quantized("mxfp4"),
    "unknown quantization": quantized("madeup"),
    "mlx": settings(quantization={"group_size": 64, "bits": 4}),
    "newer mlx": settings(quantization_config={"group_size": 64, "bits": 4}),
    "activation": settings(hidden_act="gelu_brandnew"),
    "rope": settings(rope_parameters={"rope_type": "brandnew", "rope_theta": 10000.0, "factor": 2.0}),
    "dtype": settings(dtype="float9"),
    "torch_dtype": settings(dtype=None, torch_dtype="float9"),
    "model_type": settings(model_type="brandnew"),
    "no model_type": settings(model_type=None),
    "flash": settings(_attn_implementation="flash_attention_2"),
    "flash kernel": settings(_attn_implementation="kernels-community/flash-attn3"),
    "remote code": remote_code,
    "newer tokenizer": newer_tokenizer,
    "no tokenizer": without_tokenizer,
    "sentencepiece": sentencepiece,
    "no end token": lambda folder: edit(folder / "tokenizer_config.json", eos_token=None),
    "tokenizer class": lambda folder: edit(folder / "tokenizer_config.json", tokenizer_class="BrandNewTokenizer"),
    "tokenizer code": lambda folder: edit(
        folder / "tokenizer_config.json",
        tokenizer_class="QWenTokenizer",
        auto_map={"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]},
    ),
    "cut off": cut,
    "pointer": lambda folder: (folder / WEIGHTS).write_text(POINTER),
    "tokenizer pointer": lambda folder: (folder / "tokenizer.json").write_text(POINTER),
    "settings pointer": lambda folder: (folder / SETTINGS).write_text(POINTER),
    "pickle": pickled,
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "encoder": encoder,
    "encoder-decoder": encoder_decoder,
    "gguf": gguf,
    "gguf with settings": gguf_with_config,
    "shard missing": shard_missing,
    "odd sizes": settings(hidden_size="thirty-two"),
    "negative layers": settings(num_hidden_layers=-1),
    "no heads": settings(num_attention_heads=0),
    "generation list": lambda folder: (folder / "generation_config.json").write_text("[]"),
    "end of text": lambda folder: edit(folder / "generation_config.json", eos_token_id=["</s>"]),
    "ends of lists": lambda folder: edit(folder / "generation_config.json", eos_token_id=[[0]]),
    "generation torn": lambda folder: (folder / "generation_config.json").write_text('{"temp'),
    "tuples": settings(return_dict=False),
    "pad in settings": settings(pad_token_id=300),
}


def break_model(model: Path, folder: Path, name: str) -> Path:
    """A copy of the model, broken in this way."""
    shutil.copytree(model, folder)
    BROKEN[name](folder)
    return folder
