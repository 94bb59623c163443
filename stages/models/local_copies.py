"""Copies of models on a machine's own disk, so that its workers need not all read the weights from a shared one."""

import fcntl
import os
import shutil
from pathlib import Path

from stages.errors import BadInput
from stages.files import atomic_directory, check_space, make_folder, remove_partials
from stages.fingerprints import MODEL_FILES, fingerprint_folder
from stages.records.frozen import content_id

MODEL_CACHE = "SEAL_MODEL_CACHE"  # the variable that holds a worker's --model-cache


def find_local_copy(name: str) -> str:
    """Return where to read the model's files from: with --model-cache a copy here, made by the first who asks.

    Others wait meanwhile. Files of other sizes or times are another copy. Raises NoSpace, and BadInput where the model
    changes while it is copied. A name of the hub stays one.
    """
    cache = os.environ.get(MODEL_CACHE)
    if not cache or not Path(name).is_dir():
        return name
    files = _list_files(Path(name))
    sizes = {file.name: file.stat().st_size for file in files}
    stamp = content_id([sorted(sizes.items()), [file.stat().st_mtime_ns for file in files]])
    copy = Path(cache) / f"{Path(name).resolve().name}-{stamp}"
    make_folder(copy.parent)
    descriptor = os.open(f"{copy}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if {file.name: file.stat().st_size for file in _list_files(copy)} != sizes:
            _copy(files, copy, sum(sizes.values()), name)
    finally:
        os.close(descriptor)
    return str(copy)


def _list_files(folder: Path) -> list[Path]:
    """Return the files that seal reads of a model: settings, tokenizer and safetensors, none of its other formats."""
    found = {path for pattern in (*MODEL_FILES, "*.json") for path in folder.glob(pattern) if path.is_file()}
    return sorted(found)


def _copy(files: list[Path], copy: Path, size: int, name: str) -> None:
    remove_partials(copy.parent, [copy.name])
    check_space(copy.parent, size, f"the files of {name}")
    with atomic_directory(copy) as partial:
        for file in files:
            shutil.copyfile(file, partial / file.name)
        if fingerprint_folder(partial) != fingerprint_folder(files[0].parent):
            raise BadInput(f"--model {name}: it changed while it was copied to {copy}; wait until it is whole")
