"""Loading checkpoints: tokenizer and model of a directory or a hub name, on a device, with errors that name the fix."""

import hashlib
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from stages.errors import BadConfig, BadInput, MissingInput
from stages.interfaces import Doc
from stages.models.checkpoints import check_folder
from stages.models.network import library_errors, load_network, rows_of, unavailable
from stages.models.safetensors_header import read_header
from stages.records.record import Checkpoint

ABOUT = "seal.json"  # in a directory that `seal sft` wrote: which run made it, its line, and the sizes of its files
MODEL_FILES = (  # whatever changes what a model says
    "config.json",
    "adapter_config.json",  # transformers takes an adapter that lies in the model's folder
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template*",
    "*.jinja",
    "*.model",
    "*.safetensors",
)
_RARE = "a \U0002a6a5\ue000"  # a letter that hardly a vocabulary has, and one that is nobody's
SAMPLE, SAMPLES = 4096, 512  # bytes of a sample, samples of a file


@dataclass(frozen=True)
class Device:
    """Where and in what precision a model computes. auto: cuda and bfloat16 on a GPU machine, else float32 on CPU."""

    panel: ClassVar[str] = "Engine and device"
    name: Annotated[str, Doc("auto, cpu, cuda or cuda:N.", "NAME", "--device", values=("auto", "cpu", "cuda"))] = "auto"
    dtype: Annotated[
        str,
        Doc(
            "auto, float32 or bfloat16. auto: bfloat16 on a GPU alone.",
            "NAME",
            values=("auto", "float32", "bfloat16"),
        ),
    ] = "auto"

    def resolve(self) -> tuple[Any, Any]:
        """(torch.device, torch.dtype).

        Raises BadConfig for an unknown name, an absent GPU, or bfloat16 on a CPU that only emulates it.
        """
        import torch

        gpu = torch.cuda.is_available()
        name = ("cuda" if gpu else "cpu") if self.name == "auto" else self.name
        if name.startswith("cuda") and not gpu:
            raise BadConfig(f"--device {self.name}: no GPU that this torch can use; take --device cpu")
        known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
        dtype = ("bfloat16" if name.startswith("cuda") else "float32") if self.dtype == "auto" else self.dtype
        try:
            found = torch.device(name), known[dtype]
        except KeyError:
            raise BadConfig(f"--dtype {self.dtype}: take one of auto, {', '.join(known)}") from None
        except RuntimeError:
            raise BadConfig(f"--device {self.name}: take auto, cpu, cuda or cuda:N") from None
        if name == "cpu" and dtype == "bfloat16" and not multiplies_bfloat16():
            slow = "this CPU has no bfloat16 products and only emulates them, several times slower than float32"
            raise BadConfig(f"--dtype bfloat16: {slow}; take --dtype float32 or auto")
        return found


_BFLOAT16_SETS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")  # instruction sets, the last two those of arm64


@cache
def multiplies_bfloat16() -> bool:
    """Whether the CPU has products in bfloat16, and torch's kernels (oneDNN) take them here.

    Instruction sets say so, not a trial: the times of short products on a busy machine differ by more than the two do.
    """
    import torch

    ask = getattr(torch.cpu, "get_capabilities", None)  # torch 2.12 and newer
    if ask is not None:
        has = any(ask().get(name) for name in _BFLOAT16_SETS)
    else:
        has = bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    try:  # it also knows of ONEDNN_MAX_CPU_ISA, and on arm64 of bf16
        taken = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        return False
    arm = ask is None and platform.machine() in ("aarch64", "arm64")
    return taken and (has or arm)


def check_model(name: str) -> None:
    """Raises before anything heavy is imported if `name` is a path without a model in it, or one with an adapter."""
    path = Path(name)
    if path.is_dir():
        check_folder(path, name)
        return
    if path.exists():
        raise BadInput(f"--model {name}: a file, but a model is a directory with config.json and safetensors")
    if path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise MissingInput(f"--model {name}: no such directory (hub names look like owner/name)")


def fingerprint(name: str) -> str:
    """What tells a model's weights from others under the same name: a digest of its files, or a hub name's revision.

    Of each weights file the header and samples from all over it are read, so that a large model takes no longer.
    """
    folder = Path(name)
    if not folder.is_dir():
        return _revision(name)
    found = hashlib.sha256()
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()}):
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(SAMPLE, size // SAMPLES)):
                file.seek(start)
                found.update(file.read(SAMPLE))
    return found.hexdigest()[:16]


def _revision(name: str) -> str:
    """The commit of a hub model, whose settings are downloaded for it. Raises Unavailable where they cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return Path(hf_hub_download(name, "config.json")).parent.name
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise unavailable(name, error) from None


def read_checkpoint(out: Path, run: str) -> Checkpoint | None:
    """The line of the model in `out`, if that very run made it and it is whole."""
    try:
        about = json.loads((out / ABOUT).read_bytes())
        files = list(out.glob("*.safetensors"))
        if about["run"] != run or about["files"] != sizes_in(out, about["files"]):
            return None
        if not all(read_header(path) for path in files) or not files:
            return None
        return Checkpoint.model_validate(about["checkpoint"])
    except (OSError, ValueError, KeyError, TypeError, BadInput):
        return None


def sizes_in(folder: Path, names: Iterable[str]) -> dict[str, int]:
    """{name: bytes} of these files in a model directory. Raises OSError for one that is not there."""
    return {name: (folder / name).stat().st_size for name in names}


def load_tokenizer(name: str) -> Any:
    """The model's tokenizer, with a pad token: its end token where it has none, or one that the model does not know.

    Raises BadConfig for other tokens beyond the rows of the embedding.
    """
    from transformers import AutoTokenizer

    check_model(name)
    with library_errors(name, "its tokenizer cannot be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        way = "set eos_token in the model's tokenizer_config.json"
        raise BadInput(f"--model {name}: its tokenizer has no end token (eos_token); {way}")
    rows = rows_of(name)
    if rows is not None:
        _check_ids(name, tokenizer, rows)
    if tokenizer.pad_token_id is None or (rows is not None and tokenizer.pad_token_id >= rows):
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _check_ids(name: str, tokenizer: Any, rows: int) -> None:
    """Raises BadConfig for a token that comes of a text and that the embedding has no row for.

    The pad token, and special ones that only stand in a text, do not: there they are letters (engines/controls.py).
    """
    beyond = {number: text for text, number in tokenizer.get_vocab().items() if number >= rows}
    if not beyond:
        return
    with library_errors(name, "its tokenizer cannot be used"):
        written = set(tokenizer(_RARE)["input_ids"])
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


def load_model(name: str, device: Device) -> Any:
    """The causal language model in eval mode, weights frozen, transformers' progress bars off.

    It has read two tokens: what cannot run in this precision on this device is told now and not as a bug later.
    """
    import torch
    from transformers.utils import logging

    check_model(name)
    logging.disable_progress_bar()
    place, dtype = device.resolve()
    network, _ = load_network(name, dtype=dtype)
    network.requires_grad_(False)
    with library_errors(name):
        network = network.to(place).eval()
    with library_errors(name, f"does not run in {str(dtype).removeprefix('torch.')} on {place}"), torch.no_grad():
        network(input_ids=torch.zeros(1, 2, dtype=torch.long, device=network.device))
    return network
