"""What transformers makes of a checkpoint, and what is wrong with it, in a sentence with a way out.

transformers fills weights that are not there at random, and leaves out weights that its class has no place for. Both
are in its report, which is read here.
"""

import errno
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput, OutOfMemory, SealError, Unavailable
from stages.models.checkpoints import MERGE, check_folder, text_part
from stages.models.inspection import model_tensors, read_object
from stages.models.safetensors_header import TensorInfo, shown

_AGAIN = "copy or download it again"
_UNREADABLE = "its settings cannot be read"
_NEWER = "take a model of a known architecture, or pip install -U transformers"
_BESIDE = re.compile(  # parts that no text goes through, and numbers that the class computes itself
    r"(^|\.)(vision\w*|visual|vit|image\w*|audio\w*|speech\w*|multi_modal_projector|mm_projector|embed_vision|embed_audio"
    r"|talker|token2wav|code2wav|mtp\w*|nextn\w*|v_head|pooler|seq_relationship|rotary_emb)\."
    r"|(inv_freq|masked_bias|causal_mask|position_ids|attn\.bias|attention\.bias)$"
)
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
_SCALED = re.compile(
    r"(qweight|qzeros|g_idx|scales?|scale_inv|absmax|quant_map|quant_state\..*|weight_packed|_blocks)$"
)
_PACKAGES = {  # what transformers needs for weights that are quantized in these ways
    "bitsandbytes": ("bitsandbytes",),
    "gptq": ("optimum", "gptqmodel"),
    "awq": ("gptqmodel",),
    "aqlm": ("aqlm",),
    "quanto": ("optimum-quanto",),
    "hqq": ("hqq",),
    "torchao": ("torchao",),
    "compressed-tensors": ("compressed-tensors",),
    "auto-round": ("auto-round",),
    "fbgemm_fp8": ("fbgemm-gpu",),
    "mxfp4": ("kernels",),
}
_TOKENIZERS = {  # files that hold one, and the packages that read them
    "tokenizer.json": (),
    "vocab.*": (),
    "tekken.json": ("mistral-common",),
    "*.tiktoken": ("tiktoken",),
    "*.model": ("sentencepiece", "protobuf"),
}
_ON_GPUS = ("fp8", "mxfp8", "mxfp4", "nvfp4", "fbgemm_fp8")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))  # asking torch would begin CUDA in a process that forks later
_DTYPES = re.compile(r"(torch\.)?(auto|half|float|double|b?float16|float32|float64|float8_\w+)")
_FLASH = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3", "flash_attention_4": "flash-attn-4"}


@contextmanager
def library_errors(name: str, told: str = "cannot be loaded", kind: type[SealError] = BadConfig) -> Iterator[None]:
    """Whatever transformers, tokenizers or torch raise within is the trouble of the model `name`, and `told` as such.

    Only calls of theirs belong in it: a bug of our own is to stay one.
    """
    try:
        yield
    except (SealError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:  # not the model's trouble
            raise
        if isinstance(error, RuntimeError) and _out_of_memory(error):
            raise OutOfMemory(f"--model {name}: does not fit into the memory; take --dtype bfloat16") from error
        folder = folder_of(name)
        if not Path(name).is_dir() and (folder is None or isinstance(error, OSError)):
            raise unavailable(name, error, "" if told == "cannot be loaded" else f"{told}: ") from error
        why = _tokenizer_fault(name, folder or Path(name), error) if "tokenizer" in told else None
        why = why or _explained(error, read_object(folder / "config.json") if folder else {})
        raise kind(f"--model {name}: {told}: {why}") from error


def _out_of_memory(error: RuntimeError) -> bool:
    from stages.trainers.batched.memory import out_of_memory  # with torch, which no process that forks imports unasked

    return out_of_memory(error)


def folder_of(name: str) -> Path | None:
    """Where a model's files lie: its directory, or that of a hub name in the local cache."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).is_dir():
        return Path(name)
    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # no hub name
        return None
    return Path(found).parent if isinstance(found, str) else None


def unavailable(name: str, error: Exception, told: str = "") -> Unavailable:
    """What is said of a hub name that leads nowhere."""
    return Unavailable(
        f"--model {name}: {told}not a directory here and not to be had from the hub: {first_line(error)}"
    )


def first_line(error: Exception) -> str:
    """What an error says, on one line: its first line, with the next one where that only announces it."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0].lower():
        lines = lines[1:]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines[0] = f"{lines[0]} {lines[1]}"
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def _explained(error: Exception, config: Mapping[str, Any]) -> str:
    """A library's error and what to do."""
    said = first_line(error)
    if isinstance(error, KeyError) and error.args and (place := _place_of(error.args[0], config)):
        return f"config.json says {place} {shown(str(error.args[0]))}, which {_transformers()} does not know; {_NEWER}"
    if "custom code" in said:
        return "it needs code that comes with it (auto_map), which is not run; take a model that transformers has"
    if type(error).__name__.startswith("StrictDataclass"):
        return f"config.json: {said}; take the config.json that it was saved with"
    if isinstance(error, ImportError):
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        return f"{said}; pip install {missing}" if missing and "pip install" not in said else said
    said = said if isinstance(error, OSError | ValueError | RuntimeError) else f"{type(error).__name__}: {said}"
    return f"{said}; {_AGAIN}, or pip install -U transformers"


def _tokenizer_fault(name: str, folder: Path, error: Exception) -> str | None:
    """What is wrong with a tokenizer that did not load, where its files tell it better than the error does.

    Raises where it is the model's settings.
    """
    load_settings(name)
    there = {kind: next(iter(sorted(folder.glob(kind))), None) for kind in _TOKENIZERS}
    if not any(there.values()):
        return "it has no tokenizer.json; copy the tokenizer's files of the model that it was made from"
    if there["tokenizer.json"] is not None:
        read_object(there["tokenizer.json"])
        newer = f"tokenizer.json is of a format that tokenizers {metadata.version('tokenizers')} does not know"
        return f"{newer}; pip install -U tokenizers transformers" if "untagged enum" in str(error) else None
    for kind, packages in _TOKENIZERS.items():
        missing = [package for package in packages if not _is_installed(package)]
        if (file := there[kind]) is not None and missing:
            return f"{file.name} needs {' and '.join(missing)}; pip install {' '.join(missing)}"
    return None


def _place_of(value: object, config: object) -> str | None:
    """The key that has this text as its value, however deep."""
    if not isinstance(config, dict) or not isinstance(value, str):
        return None
    found = (key if part == value else _place_of(value, part) for key, part in config.items())
    return next(filter(None, found), None)


def _transformers() -> str:
    return f"transformers {metadata.version('transformers')}"


# ---- by its settings


def read_settings(name: str) -> Any:
    """transformers' settings of a model of any kind. Raises BadInput or Unavailable where they cannot be read."""
    from transformers import AutoConfig

    if Path(name).is_dir() and "model_type" not in read_object(Path(name) / "config.json"):
        raise BadInput(f"--model {name}: {_UNREADABLE}: config.json has no model_type; {_AGAIN}")
    with library_errors(name, _UNREADABLE, BadInput):
        return AutoConfig.from_pretrained(name, trust_remote_code=False)


def load_settings(name: str) -> Any:
    """transformers' settings of a causal language model. Raises BadConfig where it is none, or needs what is not here.

    No weight is read.
    """
    folder = folder_of(name)
    if folder is not None:
        check_folder(folder, name)
        written, generation = read_object(folder / "config.json"), folder / "generation_config.json"
        if generation.is_file():  # transformers passes over one that it cannot read, and over its end tokens
            _check_ends(name, read_object(generation).get("eos_token_id"))
        if fault := _unknown_kind(written):
            raise BadInput(f"--model {name}: cannot be loaded: {fault}")
        faults = (_unknown_dtype, _quantized, _flash)
        if fault := next(filter(None, (find(written) for find in faults)), None):
            raise BadConfig(f"--model {name}: {fault}")
    config = read_settings(name)
    if fault := _not_causal(config):
        raise BadConfig(f"--model {name}: {fault}; take a causal language model, which writes on from a text")
    return config


def _check_ends(name: str, found: object) -> None:
    """Raises BadInput for end tokens that are no ids: the model would never stop, or transformers fail later."""
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(type(each) is int for each in ids):
        told = f"generation_config.json says eos_token_id {shown(str(found))}"
        raise BadInput(
            f"--model {name}: {told}, which is no id of a token, nor a list of such; take it out, or mend it"
        )


def rows_of(name: str) -> int | None:
    """How many tokens a model has rows for in its embedding; None where its settings do not say it."""
    written = read_object(Path(name) / "config.json") if Path(name).is_dir() else {"model_type": name}
    rows = text_part(written).get("vocab_size")
    if rows is None and "model_type" in written:
        rows = getattr(read_settings(name).get_text_config(), "vocab_size", None)
    return rows if type(rows) is int else None


def _unknown_kind(config: Mapping[str, Any]) -> str | None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type")
    if "model_type" not in config or (isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES):
        return None
    note = ", and its own code (auto_map) is not run" if config.get("auto_map") else ""
    told = f"model_type {shown(str(kind))} is none that this transformers knows"
    return f"{told} ({metadata.version('transformers')}){note}; {_NEWER}"


def _unknown_dtype(config: Mapping[str, Any]) -> str | None:
    key = "dtype" if "dtype" in config else "torch_dtype"
    name = config.get(key)
    known = not isinstance(name, str) or _DTYPES.fullmatch(name)
    return None if known else f"config.json says {key} {shown(str(name))}, which torch does not have; {_AGAIN}"


def _quantized(config: Mapping[str, Any]) -> str | None:
    """Why weights of fewer bits cannot be read here; None where they can, or where there are none."""
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    settings = config.get("quantization_config") or config.get("quantization")  # the latter is MLX's word
    if not isinstance(settings, dict) or not settings:
        return None
    bits = settings.get("load_in_4bit") or settings.get("load_in_8bit")
    method = str(settings.get("quant_method") or ("bitsandbytes" if bits else "MLX"))
    kinds = {key.removesuffix("_4bit").removesuffix("_8bit") for key in AUTO_QUANTIZER_MAPPING}
    told, instead = f"its weights are quantized with {shown(method)}", "take the model that is not quantized"
    if method not in kinds:
        return f"{told}, which {_transformers()} does not know; {instead}"
    missing = [package for package in _PACKAGES.get(method, ()) if not _is_installed(package)]
    if missing:
        names = " ".join(missing)
        return f"{told}, which needs {' and '.join(missing)}; pip install {names}, or {instead}"
    if method in _ON_GPUS and not any(map(Path.exists, _GPUS)):
        return f"{told}, which needs a GPU; {instead}"
    return None


def _flash(config: Mapping[str, Any]) -> str | None:
    """A package of attention that the settings ask for and that is not here."""
    asked = config.get("attn_implementation") or config.get("_attn_implementation")
    package = _FLASH.get(str(asked), "kernels" if "/" in str(asked) else None)
    if package is None or _is_installed(package):
        return None
    return f"config.json asks for {asked}, which needs {package}; pip install {package}, or take the key out of it"


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _not_causal(config: Any) -> str | None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    kind = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        return f"{kind} is an encoder-decoder model"
    if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        both = kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES
        return f"{kind} is an encoder, which sees what comes after" if both and not config.is_decoder else None
    sees = kind in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    why = "sees pictures and has no class for text alone" if sees else "is no causal language model"
    return f"{kind} {why} in {_transformers()}"


# ---- by its weights


def load_network(name: str, **settings: Any) -> tuple[Any, Sequence[str]]:
    """(the causal language model, names of weights beside it). With device_map="meta" only headers are read.

    Raises BadInput or MissingInput for files that are not whole, BadConfig where weights and class are not one model.
    """
    from transformers import AutoModelForCausalLM

    config = load_settings(name)
    stored: Mapping[str, TensorInfo] = {}
    if Path(name).is_dir():
        try:
            stored = model_tensors(Path(name))
        except (BadInput, MissingInput) as error:
            raise BadInput(f"--model {name}: cannot be loaded: {error}") from None
    reading = {"use_safetensors": True, "trust_remote_code": False, "output_loading_info": True}
    if _drop_pad(config):
        reading["config"] = config
    with library_errors(name):
        network, report = AutoModelForCausalLM.from_pretrained(
            name, **reading, ignore_mismatched_sizes=True, **settings
        )
    if getattr(network, "_hf_peft_config_loaded", False):  # of a hub name; a directory's is seen before
        raise BadConfig(f"--model {name}: an adapter lies beside the model, and was loaded with it; {MERGE}")
    text = network.config.get_text_config()
    text.return_dict = network.config.return_dict = True  # old settings may say that tuples come back
    if getattr(
        text, "output_router_logits", None
    ):  # for a loss of training alone, which cannot be had of single tokens
        text.output_router_logits = False
    beside = check_report(name, type(network).__name__, config, report)
    if getattr(network, "hf_quantizer", None) is None:
        _check_numbers(name, network, stored)
    return network, beside


def _check_numbers(name: str, network: Any, stored: Mapping[str, TensorInfo]) -> None:
    """Raises BadConfig for whole numbers where the model computes with fractions: their scales are not there."""
    whole = {key for key, info in stored.items() if info.dtype[0] in "IU"}
    fractions = {key for key, weight in network.state_dict().items() if weight.is_floating_point()} if whole else set()
    if wrong := sorted(whole & fractions):
        told = f"{_among(wrong)} of whole numbers, as of quantized weights, and no scales for them"
        raise BadConfig(f"--model {name}: {told}; take the model that is not quantized")


def _drop_pad(config: Any) -> bool:
    """Takes a pad token beyond the embedding out of the settings: torch would not make the embedding, nothing else."""
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    beyond = type(pad) is int and type(rows) is int and pad >= rows
    if beyond:
        text.pad_token_id = None
    return beyond


def check_report(name: str, kind: str, config: Any, report: Mapping[str, Any]) -> list[str]:
    """The weights of the checkpoint that the class rightly leaves out, as a vision tower.

    Raises BadConfig for others that it leaves out, for those of another size, and for those that are not there, which
    transformers has drawn at random.
    """
    unused, beside = list[str](), list[str]()
    for key in sorted(report["unexpected_keys"]):
        (beside if _is_beside(key, config) else unused).append(key)
    if report["mismatched_keys"]:
        key, there, wanted = min(report["mismatched_keys"])
        sizes = f"{_size(there)}, by config.json {_size(wanted)}"
        raise BadConfig(f"--model {name}: {shown(key)} is {sizes}; take the config.json that it was saved with")
    if unused and (merged := [key for key in unused if "lora_" in key or ".base_layer." in key]):
        raise BadConfig(f"--model {name}: {_among(merged)} of an adapter, which {kind} leaves out; {MERGE}")
    if missing := report["missing_keys"]:
        raise BadConfig(f"--model {name}: {_missing(missing, unused)}")
    if unused:
        raise BadConfig(f"--model {name}: {_unused(unused, kind, config)}")
    return beside


def _is_beside(key: str, config: Any) -> bool:
    """Whether a weight does nothing to what a model writes: of another sense, of a head for training, or a buffer."""
    layer, text = _LAYER.search(key), config.get_text_config()
    last = getattr(text, "num_hidden_layers", None)
    ahead = getattr(text, "num_nextn_predict_layers", None)  # they follow the others (DeepSeek, GLM)
    extra = bool(layer and last and ahead and last <= int(layer[1]) < last + ahead)
    return extra or _BESIDE.search(key) is not None


def _missing(missing: Collection[str], unused: Sequence[str]) -> str:
    first = min(missing)
    told = f"no weights for {first}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
    other = next((key for key in unused for absent in missing if key.endswith(f".{absent}")), None)
    if other is not None:
        absent = max((key for key in missing if other.endswith(f".{key}")), key=len)
        return f"{told}, but for {shown(other)}; save it again without {other.removesuffix(absent)} before the names"
    instead = f", but {_among(unused)} that it has no place for" if unused else ""
    return f"{told}{instead}; the checkpoint is not whole, or of another class: {_AGAIN}, with its config.json"


def _unused(unused: Sequence[str], kind: str, config: Any) -> str:
    told, last = (
        f"{_among(unused)} that {kind} has no place for",
        getattr(config.get_text_config(), "num_hidden_layers", None),
    )
    layers = [int(found[1]) for found in map(_LAYER.search, unused) if found]
    if layers and last is not None and max(layers) >= last:
        return f"{told}: config.json says num_hidden_layers {last}; take the config.json that it was saved with"
    if any(map(_SCALED.search, unused)):
        return f"{told}, as of quantized weights; config.json lacks their quantization_config: {_AGAIN}"
    return f"{told}, so that it would not be the model that was saved; take the config.json that it was saved with"


def _among(keys: Sequence[str]) -> str:
    return f"it holds {len(keys)} weights (as {shown(keys[0])})" if len(keys) > 1 else f"it holds {shown(keys[0])}"


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "a number"
