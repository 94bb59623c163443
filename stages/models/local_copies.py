"""Copies of models on a machine's own disk, so that its workers need not all read the weights from a shared one."""

import fcntl
import os
import shutil
from pathlib import Path

from stages.errors import BadInput
from stages.files import atomic_directory, check_space, make_folder, remove_partials
from stages.fingerprints import MODEL_FILES, fingerprint_folder

MODEL_CACHE = "SEAL_MODEL_CACHE"  # the variable that holds a worker's --model-cache


def find_local_copy(name: str) -> str:
    """Return where to read the model's files from: with --model-cache a copy here, made by the first who asks.

    Others wait meanwhile. Files with another fingerprint are another copy. Raises NoSpace, and BadInput where the model
    changes while it is copied. A name of the hub stays one.
    """
    cache = os.environ.get(MODEL_CACHE)
    if not cache or not Path(name).is_dir():
        return name
    content = fingerprint_folder(Path(name))
    copy = Path(cache) / f"{Path(name).resolve().name}-{content}"
    make_folder(copy.parent)
    descriptor = os.open(f"{copy}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if fingerprint_folder(copy) != content:
            _copy(Path(name), copy, content)
    finally:
        os.close(descriptor)
    return str(copy)


def _list_files(folder: Path) -> list[Path]:
    """Return the files that seal reads of a model: settings, tokenizer and safetensors, none of its other formats."""
    found = {path for pattern in (*MODEL_FILES, "*.json") for path in folder.glob(pattern) if path.is_file()}
    return sorted(found)


def _copy(model: Path, copy: Path, content: str) -> None:
    remove_partials(copy.parent, [copy.name])
    files = _list_files(model)
    check_space(copy.parent, sum(file.stat().st_size for file in files), f"the files of {model}")
    with atomic_directory(copy) as partial:
        for file in files:
            shutil.copyfile(file, partial / file.name)
        if fingerprint_folder(partial) != content:
            raise BadInput(f"--model {model}: it changed while it was copied to {copy}; wait until it is whole")
