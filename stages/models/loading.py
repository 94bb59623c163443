"""Load a tokenizer and a model, of a directory or a hub name, or say what is wrong with them.

transformers fills missing weights at random and leaves out weights that its class has no place for. Both are in its
report of a load, and both are refused here.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.models.config import count_embedding_rows, load_config
from stages.models.device import Device
from stages.models.directories import (
    DOWNLOAD_AGAIN,
    MERGE_ADVICE,
    TensorInfo,
    check_model,
    map_tensors,
    quote_name,
    read_model_tensors,
    read_object,
)
from stages.models.libraries import explain_library_errors, find_model_folder, is_installed
from stages.models.local_copies import find_local_copy

_TOKENIZERS = {  # files that hold one, and the packages that read them
    "tokenizer.json": (),
    "vocab.*": (),
    "tekken.json": ("mistral-common",),
    "*.tiktoken": ("tiktoken",),
    "*.model": ("sentencepiece", "protobuf"),
}
_RARE_LETTERS = "a \U0002a6a5\ue000"  # a letter that hardly a vocabulary has, and one that is nobody's
_NOT_FOR_TEXT = re.compile(  # parts that no text goes through, and numbers that the class computes itself
    r"(^|\.)(vision\w*|visual|vit|image\w*|audio\w*|speech\w*|multi_modal_projector|mm_projector|embed_vision|embed_audio"
    r"|talker|token2wav|code2wav|mtp\w*|nextn\w*|v_head|pooler|seq_relationship|rotary_emb)\."
    r"|(inv_freq|masked_bias|causal_mask|position_ids|attn\.bias|attention\.bias)$"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_QUANTIZATION_SCALE = re.compile(
    r"(qweight|qzeros|g_idx|scales?|scale_inv|absmax|quant_map|quant_state\..*|weight_packed|_blocks)$"
)
_SAVED_WITH = "take the config.json that it was saved with"


# ---- the tokenizer


def load_tokenizer(name: str) -> Any:
    """Load a model's tokenizer. Without a pad token that the model knows, it pads with its end token.

    Raise BadInput without an end token, BadConfig for other tokens beyond the rows of the embedding.
    """
    from transformers import AutoTokenizer

    check_model(name)
    find_fault = partial(_find_tokenizer_fault, name)
    with explain_library_errors(name, "its tokenizer cannot be loaded", find_fault=find_fault):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        way = "set eos_token in the model's tokenizer_config.json"
        raise BadInput(f"--model {name}: its tokenizer has no end token (eos_token); {way}")
    rows = count_embedding_rows(name)
    if rows is not None:
        _check_ids(name, tokenizer, rows)
    if tokenizer.pad_token_id is None or (rows is not None and tokenizer.pad_token_id >= rows):
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _find_tokenizer_fault(name: str, folder: Path, error: Exception) -> str | None:
    """Say what is wrong with a tokenizer's files, where they tell it better than the error does.

    Raise as `load_config` does where it is the model's settings.
    """
    load_config(name)
    there = {kind: min(folder.glob(kind), default=None) for kind in _TOKENIZERS}
    if not any(there.values()):
        return "it has no tokenizer.json; copy the tokenizer's files of the model that it was made from"
    if there["tokenizer.json"] is not None:
        read_object(there["tokenizer.json"])
        newer = f"tokenizer.json is of a format that tokenizers {metadata.version('tokenizers')} does not know"
        return f"{newer}; pip install -U tokenizers transformers" if "untagged enum" in str(error) else None
    for kind, packages in _TOKENIZERS.items():
        missing = [package for package in packages if not is_installed(package)]
        if (file := there[kind]) is not None and missing:
            return f"{file.name} needs {' and '.join(missing)}; pip install {' '.join(missing)}"
    return None


def _check_ids(name: str, tokenizer: Any, rows: int) -> None:
    """Raise BadConfig for a token that a text can come to and that the embedding has no row for.

    Others may be beyond it: the pad token, and special tokens that a text only spells, which are letters there.
    """
    beyond = {number: text for text, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return
    with explain_library_errors(name, "its tokenizer cannot be used"):
        written = set(tokenizer(_RARE_LETTERS)["input_ids"])
    roles = {tokenizer.eos_token_id: "end token ", tokenizer.bos_token_id: "start token "}
    roles |= {tokenizer.unk_token_id: "unknown token "} if tokenizer.unk_token_id in written else {}
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    template = str(tokenizer.chat_template or "")
    for number, text in sorted(beyond.items(), key=lambda item: (item[0] not in roles, item[0])):
        if number in roles or number in written or number not in special or text in template:
            last = max(beyond)
            more = f" ({len(beyond)} are beyond, up to {beyond[last]!r} with id {last})" if len(beyond) > 1 else ""
            raise BadConfig(
                f"--model {name}: its tokenizer's {roles.get(number, 'token ')}{text!r} has id {number}, but the "
                f"embedding has {rows} rows{more}; take the tokenizer that it was trained with, or give the model more "
                "rows with resize_token_embeddings and save it"
            )


# ---- the model


def load_model(name: str, device: Device) -> Any:
    """Load a causal language model, frozen and in eval mode, and let it read two tokens.

    So a model that cannot run in this precision on this device is refused now, and is no bug later.
    """
    import torch
    from transformers.utils import logging

    check_model(name)
    logging.disable_progress_bar()
    place, dtype = device.resolve()
    network = _load_quantized(name, device, dtype) if device.quantizes else load_network(name, dtype=dtype)[0]
    network.requires_grad_(False)
    with explain_library_errors(name):
        network = network.to(place).eval()
    failure = f"does not run in {str(dtype).removeprefix('torch.')} on {place}"
    with explain_library_errors(name, failure), torch.no_grad():
        network(input_ids=torch.zeros(1, 2, dtype=torch.long, device=network.device))
    return network


def _load_quantized(name: str, device: Device, dtype: Any) -> Any:
    """Load a model and quantize its weights on the CPU, from the precision in which they are stored.

    They are never in memory together: what is loaded is mapped, and each part is read from the files anew.
    """
    from stages.models.quantization import find_rows, quantize_network  # late: it loads torch

    device.check_quantize()
    if method := getattr(load_config(name), "quantization_config", None):
        kind = dict(method).get("quant_method") or "bitsandbytes"
        raise BadConfig(f"--model {name}: is quantized already ({kind}); leave out --quantize {device.quantize}")
    planned, _ = load_network(name, dtype=dtype, device_map="meta")
    network, _ = load_network(name, dtype=_find_stored_dtype(name))
    files = dict[str, Path]()
    with suppress(BadInput, MissingInput):  # the hub may have converted them, and cached them elsewhere
        files = map_tensors(find_model_folder(name) or Path(name))
    with explain_library_errors(name, f"cannot be quantized as {device.quantize}"):
        quantize_network(network, device.quantize, partial(find_rows, files))
    dtypes = {path: each.dtype for path, each in [*planned.named_parameters(), *planned.named_buffers()]}
    for path, each in [*network.named_parameters(), *network.named_buffers()]:
        if each.is_floating_point() and not path.endswith(".scales"):
            wanted = dtypes.get(path, dtype)
            each.data = each.data.to(wanted, copy=True)  # a copy: else all that lies beside it in the file is held
    return network


def _find_stored_dtype(name: str) -> Any:
    """Return the precision of the model's files; float32, which holds each, where they differ or are not known."""
    import torch

    kinds = set[str]()
    with suppress(BadInput, MissingInput):
        tensors = read_model_tensors(find_model_folder(name) or Path(name))
        kinds = {info.dtype for info in tensors.values() if "F" in info.dtype}
    names = {"F16": torch.float16, "BF16": torch.bfloat16}
    return names.get(min(kinds), torch.float32) if len(kinds) == 1 else torch.float32


def load_network(name: str, **settings: Any) -> tuple[Any, Sequence[str]]:
    """Return the causal language model and the names of weights not for text. device_map="meta" reads headers only.

    Raise BadInput for files that are not whole, BadConfig where weights and class are not one model.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(name)
    if Path(name).is_dir():
        try:
            read_model_tensors(Path(name))
        except (BadInput, MissingInput) as error:
            raise BadInput(f"--model {name}: cannot be loaded: {error}") from None
    reading = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    if type(pad) is int and type(rows) is int and pad >= rows:  # torch would not make the embedding
        text.pad_token_id, reading["config"] = None, config
    files = name if settings.get("device_map") == "meta" else find_local_copy(name)
    with explain_library_errors(name):
        network, report = AutoModelForCausalLM.from_pretrained(
            files, **reading, ignore_mismatched_sizes=True, **settings
        )
    if getattr(network, "_hf_peft_config_loaded", False):  # of a hub name; a directory's is seen before
        raise BadConfig(f"--model {name}: an adapter lies beside the model, and was loaded with it; {MERGE_ADVICE}")
    text = network.config.get_text_config()
    text.return_dict = network.config.return_dict = True  # old settings may say that tuples come back
    if getattr(text, "output_router_logits", None):  # for a training loss, which single tokens do not have
        text.output_router_logits = False
    left_out = check_report(name, type(network).__name__, config, report)
    if getattr(network, "hf_quantizer", None) is None:
        _check_numbers(name, network)
    return network, left_out


def _check_numbers(name: str, network: Any) -> None:
    """Raise BadConfig for whole numbers where the model computes with fractions: their scales are missing."""
    stored = dict[str, TensorInfo]()
    with suppress(BadInput, MissingInput):  # the hub may have converted them, and cached them elsewhere
        stored = read_model_tensors(find_model_folder(name) or Path(name))
    whole = {key for key, info in stored.items() if info.dtype[0] in "IU"}
    fractions = {key for key, weight in network.state_dict().items() if weight.is_floating_point()} if whole else set()
    if wrong := sorted(whole & fractions):
        told = f"{_list_keys(wrong)} of whole numbers, as of quantized weights, and no scales for them"
        raise BadConfig(f"--model {name}: {told}; take the model that is not quantized")


def check_report(name: str, kind: str, config: Any, report: Mapping[str, Any]) -> list[str]:
    """Return the weights that the class rightly leaves out, such as a vision tower.

    Raise BadConfig for others that it leaves out, for weights of another size, and for missing ones, which
    transformers has drawn at random.
    """
    unused, left_out = list[str](), list[str]()
    for key in sorted(report["unexpected_keys"]):
        (left_out if _is_not_for_text(key, config) else unused).append(key)
    if report["mismatched_keys"]:
        key, there, wanted = min(report["mismatched_keys"])
        there, wanted = ("×".join(map(str, shape)) or "a number" for shape in (there, wanted))
        fault = f"{quote_name(key)} is {there}, by config.json {wanted}; {_SAVED_WITH}"
    elif merged := [key for key in unused if "lora_" in key or ".base_layer." in key]:
        fault = f"{_list_keys(merged)} of an adapter, which {kind} leaves out; {MERGE_ADVICE}"
    elif report["missing_keys"]:
        fault = _describe_missing(report["missing_keys"], unused)
    elif unused:
        fault = _describe_unused(unused, kind, config)
    else:
        return left_out
    raise BadConfig(f"--model {name}: {fault}")


def _is_not_for_text(key: str, config: Any) -> bool:
    """True for a weight that changes nothing in what a model writes: of another sense, a training head, or a buffer."""
    layer, text = _LAYER.search(key), config.get_text_config()
    last = getattr(text, "num_hidden_layers", None)
    ahead = getattr(text, "num_nextn_predict_layers", None)  # they follow the others (DeepSeek, GLM)
    extra = bool(layer and last and ahead and last <= int(layer[1]) < last + ahead)
    return extra or _NOT_FOR_TEXT.search(key) is not None


def _describe_missing(missing: Collection[str], unused: Sequence[str]) -> str:
    """Say which weights are missing, and under which names they are there instead."""
    told = f"no weights for {min(missing)}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    for other in unused:
        if absent := max((key for key in missing if other.endswith(f".{key}")), key=len, default=""):
            prefix = other.removesuffix(absent)
            return f"{told}, but for {quote_name(other)}; save it again without {prefix} before the names"
    instead = f", but {_list_keys(unused)} that it has no place for" if unused else ""
    whole = "the checkpoint is not whole, or of another class"
    return f"{told}{instead}; {whole}: {DOWNLOAD_AGAIN}, with its config.json"


def _describe_unused(unused: Sequence[str], kind: str, config: Any) -> str:
    """Say which weights have no place, and the likely reason."""
    told = f"{_list_keys(unused)} that {kind} has no place for"
    last = getattr(config.get_text_config(), "num_hidden_layers", None)
    layers = [int(found[1]) for found in map(_LAYER.search, unused) if found]
    if layers and last is not None and max(layers) >= last:
        return f"{told}: config.json says num_hidden_layers {last}; {_SAVED_WITH}"
    if any(map(_QUANTIZATION_SCALE.search, unused)):
        return f"{told}, as of quantized weights; config.json lacks their quantization_config: {DOWNLOAD_AGAIN}"
    return f"{told}, so that it would not be the model that was saved; {_SAVED_WITH}"


def _list_keys(keys: Sequence[str]) -> str:
    first = quote_name(keys[0])
    return f"it holds {len(keys)} weights (as {first})" if len(keys) > 1 else f"it holds {first}"
