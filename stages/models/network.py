"""Load a causal language model through transformers, and read its report of what did not fit.

transformers fills missing weights at random and leaves out weights that its class has no place for. Both are in its
report, and both are refused here.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.models.config import load_config
from stages.models.inspection import MERGE_ADVICE, read_model_tensors
from stages.models.library_errors import explain_library_errors
from stages.models.safetensors_header import DOWNLOAD_AGAIN, TensorInfo, quote_name

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


def load_network(name: str, **settings: Any) -> tuple[Any, Sequence[str]]:
    """Return the causal language model and the names of weights not for text. device_map="meta" reads headers only.

    Raise BadInput for files that are not whole, BadConfig where weights and class are not one model.
    """
    from transformers import AutoModelForCausalLM

    config = load_config(name)
    stored: Mapping[str, TensorInfo] = {}
    if Path(name).is_dir():
        try:
            stored = read_model_tensors(Path(name))
        except (BadInput, MissingInput) as error:
            raise BadInput(f"--model {name}: cannot be loaded: {error}") from None
    reading = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    if _drop_pad_token(config):
        reading["config"] = config
    with explain_library_errors(name):
        network, report = AutoModelForCausalLM.from_pretrained(
            name, **reading, ignore_mismatched_sizes=True, **settings
        )
    if getattr(network, "_hf_peft_config_loaded", False):  # of a hub name; a directory's is seen before
        raise BadConfig(f"--model {name}: an adapter lies beside the model, and was loaded with it; {MERGE_ADVICE}")
    text = network.config.get_text_config()
    text.return_dict = network.config.return_dict = True  # old settings may say that tuples come back
    if getattr(text, "output_router_logits", None):  # for a training loss, which single tokens do not have
        text.output_router_logits = False
    left_out = check_report(name, type(network).__name__, config, report)
    if getattr(network, "hf_quantizer", None) is None:
        _check_numbers(name, network, stored)
    return network, left_out


def _drop_pad_token(config: Any) -> bool:
    """Drop a pad token beyond the embedding, with which torch would not make the embedding. Tell whether it was."""
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    beyond = type(pad) is int and type(rows) is int and pad >= rows
    if beyond:
        text.pad_token_id = None
    return beyond


def _check_numbers(name: str, network: Any, stored: Mapping[str, TensorInfo]) -> None:
    """Raise BadConfig for whole numbers where the model computes with fractions: their scales are missing."""
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
        sizes = f"{_format_shape(there)}, by config.json {_format_shape(wanted)}"
        raise BadConfig(f"--model {name}: {quote_name(key)} is {sizes}; {_SAVED_WITH}")
    if unused and (merged := [key for key in unused if "lora_" in key or ".base_layer." in key]):
        raise BadConfig(f"--model {name}: {_list_keys(merged)} of an adapter, which {kind} leaves out; {MERGE_ADVICE}")
    if missing := report["missing_keys"]:
        raise BadConfig(f"--model {name}: {_describe_missing(missing, unused)}")
    if unused:
        raise BadConfig(f"--model {name}: {_describe_unused(unused, kind, config)}")
    return left_out


def _is_not_for_text(key: str, config: Any) -> bool:
    """Tell whether a weight changes nothing in what a model writes: of another sense, a training head, or a buffer."""
    layer, text = _LAYER.search(key), config.get_text_config()
    last = getattr(text, "num_hidden_layers", None)
    ahead = getattr(text, "num_nextn_predict_layers", None)  # they follow the others (DeepSeek, GLM)
    extra = bool(layer and last and ahead and last <= int(layer[1]) < last + ahead)
    return extra or _NOT_FOR_TEXT.search(key) is not None


def _describe_missing(missing: Collection[str], unused: Sequence[str]) -> str:
    first = min(missing)
    told = f"no weights for {first}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    other = next((key for key in unused for absent in missing if key.endswith(f".{absent}")), None)
    if other is not None:
        absent = max((key for key in missing if other.endswith(f".{key}")), key=len)
        prefix = other.removesuffix(absent)
        return f"{told}, but for {quote_name(other)}; save it again without {prefix} before the names"
    instead = f", but {_list_keys(unused)} that it has no place for" if unused else ""
    whole = "the checkpoint is not whole, or of another class"
    return f"{told}{instead}; {whole}: {DOWNLOAD_AGAIN}, with its config.json"


def _describe_unused(unused: Sequence[str], kind: str, config: Any) -> str:
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


def _format_shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a number"
