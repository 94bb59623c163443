"""Read the archive in which a service gives an adapter: nothing in it is trusted.

Two files are read from it, each into a place of ours; no name, link or owner in the archive counts.
"""

import gzip
import json
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import torch

from stages.errors import BadConfig, BadInput, MissingInput
from stages.models.adapter_checks import list_unusual_settings, read_adapter
from stages.models.directories import quote_name, read_object

SLACK_BYTES = 2**24  # of an archive beside the weights: settings, headers, a page about the adapter
_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_DAMAGED = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile)
Shapes = Mapping[str, tuple[tuple[int, int], tuple[int, int]]]  # by layer: down (rank, in), up (out, rank)


def read_archive(archive: Path, folder: Path, shapes: Shapes, alpha: float, said: str) -> dict[str, torch.Tensor]:
    """Return the weights of the adapter in an archive, under peft's names. `folder`: an empty one, to unpack into.

    Raise BadInput for an archive that is damaged, and BadConfig for an adapter of other layers, sizes or alpha than
    were asked for. `said`: what to name in front of it.
    """
    most = count_bytes(shapes) + SLACK_BYTES
    try:
        with archive.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            plain: Any = gzip.GzipFile(fileobj=file) if packed else file
            limited: Any = _Limited(plain, most)
            with tarfile.open(fileobj=limited, mode="r|") as members:
                found = _unpack(members, folder, most)
    except _DAMAGED as error:
        raise BadInput(f"its archive is cut off or damaged ({type(error).__name__})") from None
    if _WEIGHTS not in found:
        held = ", ".join(map(quote_name, sorted(found)[:5])) or "nothing"
        raise BadConfig(f"{said}: its archive has no {_WEIGHTS}, but {held}; take a service that saves adapters")
    try:
        settings = {"peft_type": "LORA", **read_object(folder / _SETTINGS)}  # which a service may leave unsaid
        (folder / _SETTINGS).write_text(json.dumps(settings))
        adapter = read_adapter(folder)
    except MissingInput as error:
        raise BadInput(str(error)) from None
    if fault := _find_fault(
        adapter.config, {each.layer: (each.down, each.up) for each in adapter.targets}, shapes, alpha
    ):
        raise BadConfig(f"{said}: {fault}")
    if adapter.tensors != 2 * len(shapes):
        raise BadConfig(f"{said}: its adapter holds more than LoRA weights; take a service that trains nothing else")
    return _load(folder / _WEIGHTS)


def count_bytes(shapes: Shapes) -> int:
    """Return the most bytes that the weights of such an adapter have, as float32; in half the precision, half of it."""
    return 4 * sum(down[0] * down[1] + up[0] * up[1] for down, up in shapes.values())


class _Limited:
    """A stream of bytes that ends with an error behind so many: what is packed may be far longer than the archive."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self.stream, self.left, self.most = stream, most, most

    def read(self, count: int) -> bytes:
        data = self.stream.read(count)
        self.left -= len(data)
        if self.left < 0:
            raise BadInput(f"its archive unpacks to more than {self.most:,} bytes, more than an adapter has")
        return data


def _unpack(members: tarfile.TarFile, folder: Path, most: int) -> set[str]:
    """Write the two files of an adapter into the folder. Returns the bare names of all files."""
    found = set[str]()
    for member in members:
        name = PurePosixPath(member.name).name
        if name in (_SETTINGS, _WEIGHTS):
            content = members.extractfile(member) if member.isreg() else None
            if content is None or name in found:
                told = "is there twice" if name in found else "is a link or no file"
                raise BadInput(f"{name} in its archive {told}")
            if member.issparse() or member.size > most:  # which unpacks to more bytes than are read from the archive
                raise BadInput(f"{name} in its archive has holes, or more bytes than an adapter has")
            with (folder / name).open("xb") as file:
                shutil.copyfileobj(content, file)
        if not member.isdir():
            found.add(name)
    return found


def _find_fault(config: Mapping[str, Any], found: Mapping[str, object], shapes: Shapes, alpha: float) -> str | None:
    """Say in what the adapter is not the one that was asked for."""
    given = config.get("lora_alpha")
    if given != alpha:
        return f"it trains with alpha {given}, not {alpha:g}: give --alpha {given}"
    unusual = list_unusual_settings(config)
    if unusual or config.get("use_rslora") or config["peft_type"] != "LORA":
        what = unusual[0] if unusual else "use_rslora" if config.get("use_rslora") else config["peft_type"]
        return f"it trains adapters with {quote_name(str(what))}, which is no plain LoRA; take another service"
    more, fewer = sorted(found.keys() - shapes.keys()), sorted(shapes.keys() - found.keys())
    if more:
        return f"it trains {quote_name(more[0])}, which was not asked for; give --target all-linear, or another service"
    if fewer:
        return f"it does not train {fewer[0]}, which --target asks for; take other layers, or another service"
    other = next((layer for layer in shapes if found[layer] != shapes[layer]), None)
    return other and f"its {other} has parts of {found[other]}, not {shapes[other]}; name its model with --base-model"


def _load(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    loaded = load_file(path)
    named = (name.removeprefix("base_model.model.").removesuffix(".weight") for name in loaded)
    return {f"base_model.model.{name}.weight": weight for name, weight in zip(named, loaded.values(), strict=True)}
