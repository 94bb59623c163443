"""A model with an adapter merged in, as a directory of transformers: file by file, in the precision of the base."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from stages.errors import BadConfig, BadInput, MissingInput
from stages.exports.weights import INDEX, WHOLE, ModelWeights, list_weight_files
from stages.files import atomic_directory, check_space, replace_file, write_file
from stages.fingerprints import MODEL_FILES
from stages.models.checkpoints import CHECKPOINT_FILE, measure_files
from stages.models.directories import read_object
from stages.models.loading import load_network, load_tokenizer
from stages.trainers.checkpoints import encode_header

_TIED = "tie_word_embeddings"
_TEXT = "text_config"


def write_merged_model(weights: ModelWeights, out: Path, about: Mapping[str, object]) -> None:
    """Write the directory: complete or absent. `about` goes into its seal.json.

    No more than one weight is in memory at a time, besides the adapter. Raise NoSpace or OSError where it cannot be
    written, BadConfig where the stages could not load it.
    """
    check_space(out.parent, sum(info.bytes for info in weights.tensors.values()), "the merged model")
    with atomic_directory(out) as partial:
        for file, names in list_weight_files(weights):
            replace_file(partial / file, _encode(weights, names))
        if not (weights.folder / WHOLE).exists():
            write_file(partial / INDEX, _encode_index(weights))
        _copy_settings(weights, partial)
        check_written_model(partial)
        files = sorted(path.name for path in partial.iterdir())
        told = {**about, "files": measure_files(partial, files)}
        write_file(partial / CHECKPOINT_FILE, (json.dumps(told, indent=1) + "\n").encode())


def check_written_model(folder: Path) -> None:
    """Raise BadConfig for a model that the stages, by the functions with which they load it, could not use."""
    try:
        load_tokenizer(str(folder))
        load_network(str(folder), device_map="meta")
    except (BadConfig, BadInput, MissingInput) as error:
        raise BadConfig(f"the model could not be used as it was written: {error}") from None


def encode_tensor(tensor: torch.Tensor) -> memoryview:
    """Return the bytes of a tensor, as safetensors has them."""
    numbers: Any = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return memoryview(numbers)


def _encode(weights: ModelWeights, names: Sequence[str]) -> Iterator[bytes | memoryview]:
    """A safetensors file in parts: its header, then the numbers of each tensor."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        info = weights.tensors[name]
        start, end = end, end + info.bytes
        header[name] = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [start, end]}
    yield encode_header(header)
    for name in names:
        yield encode_tensor(weights.read(name))


def _encode_index(weights: ModelWeights) -> bytes:
    found = read_object(weights.folder / INDEX)
    about = found.get("metadata")
    size = sum(info.bytes for info in weights.tensors.values())
    found["metadata"] = {**(about if isinstance(about, dict) else {}), "total_size": size}
    found["weight_map"] = dict(sorted(weights.files.items()))
    return (json.dumps(found, indent=2) + "\n").encode()


def _copy_settings(weights: ModelWeights, to: Path) -> None:
    """Copy the settings and the tokenizer. Of a model whose head is its own now the settings say so."""
    found = {path for pattern in (*MODEL_FILES, "LICENSE*") for path in weights.folder.glob(pattern) if path.is_file()}
    for path in sorted(found):
        if path.suffix != ".safetensors" and path.name != INDEX:
            shutil.copyfile(path, to / path.name)
    if weights.is_untied:
        config = read_object(weights.folder / "config.json")
        config[_TIED] = False
        if isinstance(config.get(_TEXT), dict):
            config[_TEXT][_TIED] = False
        write_file(to / "config.json", (json.dumps(config, indent=2) + "\n").encode())
