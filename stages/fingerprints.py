"""What tells the files of a model or an adapter from others of the same name."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from stages.errors import BadInput

MODEL_FILES = (  # whatever changes what a model says
    "config.json",
    "*quant_config.json",  # vLLM reads these where config.json does not say how the weights are quantized
    "quantize_config.json",
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
    "*.tiktoken",
    "tekken.json",
    "*.safetensors",
)
_SAMPLE_BYTES, _SAMPLES = 4096, 512  # of one sample, of one file


def fingerprint_folder(folder: Path) -> str:
    """Return a digest of the files in a model's or an adapter's folder. Raises OSError for one that cannot be read.

    Of each file, samples from all over it are read, so that a large model takes no longer.
    """
    found = hashlib.sha256()
    for path in sorted({path for pattern in MODEL_FILES for path in folder.glob(pattern) if path.is_file()}):
        size = path.stat().st_size
        found.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(_SAMPLE_BYTES, size // _SAMPLES)):
                file.seek(start)
                found.update(file.read(_SAMPLE_BYTES))
    return found.hexdigest()[:16]


class WatchedFolders:
    """Fingerprints of folders that are going to be read, taken before that; and whether their files are still those."""

    def __init__(self, folders: Iterable[str]) -> None:
        there = (folder for folder in dict.fromkeys(folders) if os.path.isdir(folder))  # noqa: PTH112
        self.before = {folder: (_list_states(folder), fingerprint_folder(Path(folder))) for folder in there}

    def read(self, folder: str) -> str | None:
        """Return a folder's fingerprint; None where it is not here. Raises BadInput where its files are others now."""
        if folder not in self.before:
            return None
        states, found = self.before[folder]
        if _list_states(folder) != states and fingerprint_folder(Path(folder)) != found:
            way = "run the same command again when nobody writes there"
            raise BadInput(f"adapter {folder}: its files were changed while it was asked; {way}")
        return found


def _list_states(folder: str) -> list[tuple[str, int, int, int]]:
    """Name, inode, bytes and time of change of each file; nothing where the folder is gone."""
    if not os.path.isdir(folder):  # noqa: PTH112
        return []
    with os.scandir(folder) as found:
        return sorted((each.name, each.inode(), each.stat().st_size, each.stat().st_mtime_ns) for each in found)
