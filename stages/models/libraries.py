"""Errors of transformers, tokenizers and torch, told in one sentence with the next move; their chatter is silenced."""

import errno
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, OutOfMemory, SealError, Unavailable
from stages.models.device import is_out_of_memory
from stages.models.directories import DOWNLOAD_AGAIN, quote_name, read_object

NEWER_MODEL = "take a model of a known architecture, or pip install -U transformers"
_DISK_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@contextmanager
def explain_library_errors(
    name: str,
    failure: str = "cannot be loaded",
    kind: type[SealError] = BadConfig,
    find_fault: Callable[[Path, Exception], str | None] = lambda folder, error: None,
) -> Iterator[None]:
    """Raise whatever a library raises within as an error of the model `name` that says `failure` and why.

    `find_fault` may know better than the error what is wrong with the model's folder. Only calls of libraries belong
    in the block: a bug of our own is to stay one. A full or broken disk stays an OSError.
    """
    try:
        yield
    except (SealError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:  # not the model's fault
            raise
        if is_out_of_memory(error):
            raise OutOfMemory(f"--model {name}: does not fit into the memory; take --dtype bfloat16") from error
        folder = find_model_folder(name)
        if not Path(name).is_dir() and (folder is None or isinstance(error, OSError)):
            place = "not a directory here and not to be had from the hub"
            before = "" if failure == "cannot be loaded" else f"{failure}: "
            raise Unavailable(f"--model {name}: {before}{place}: {summarize_error(error)}") from error
        why = find_fault(folder or Path(name), error)
        why = why or _explain(error, read_object(folder / "config.json") if folder else {})
        raise kind(f"--model {name}: {failure}: {why}") from error


def find_model_folder(name: str) -> Path | None:
    """Return the folder of a model's files: its directory, or that of a hub name in the local cache, or None."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).is_dir():
        return Path(name)
    try:
        found = try_to_load_from_cache(name, "config.json")
    except ValueError:  # no hub name
        return None
    return Path(found).parent if isinstance(found, str) else None


def summarize_error(error: Exception) -> str:
    """Put an error's message on one line: its first line, and the next one where the first only announces it."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and "validation error" in lines[0].lower():
        lines = lines[1:]
    if len(lines) > 1 and lines[0].endswith(":"):
        lines[0] = f"{lines[0]} {lines[1]}"
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def _explain(error: Exception, config: Mapping[str, Any]) -> str:
    """Say what a library's error means and what to do."""
    words = summarize_error(error)
    if isinstance(error, KeyError) and error.args and (key := _find_key(error.args[0], config)):
        value = quote_name(str(error.args[0]))
        return f"config.json says {key} {value}, which {describe_transformers()} does not know; {NEWER_MODEL}"
    if "custom code" in words:
        return "it needs code that comes with it (auto_map), which is not run; take a model that transformers has"
    if type(error).__name__.startswith("StrictDataclass"):
        return f"config.json: {words}; take the config.json that it was saved with"
    if isinstance(error, ImportError):
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        return f"{words}; pip install {missing}" if missing and "pip install" not in words else words
    words = words if isinstance(error, OSError | ValueError | RuntimeError) else f"{type(error).__name__}: {words}"
    return f"{words}; {DOWNLOAD_AGAIN}, or pip install -U transformers"


def _find_key(value: object, config: object) -> str | None:
    """Return the key that has this text as its value, however deep."""
    if not isinstance(config, dict) or not isinstance(value, str):
        return None
    found = (key if part == value else _find_key(value, part) for key, part in config.items())
    return next(filter(None, found), None)


def describe_transformers() -> str:
    """Return `transformers` with its version, for messages."""
    return f"transformers {metadata.version('transformers')}"


def is_installed(package: str) -> bool:
    """True if a distribution of this name is installed."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def quiet_libraries() -> None:
    """Silence progress bars and advice of transformers, datasets, the hub, torch and bitsandbytes on our stderr."""
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    warnings.filterwarnings("ignore", module=r"peft\.")
    warnings.filterwarnings("ignore", message="grad and param do not obey the gradient layout contract")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"  # read when datasets is imported, which few stages need
    hub_logging.set_verbosity_error()
    getLogger("bitsandbytes").setLevel(ERROR)  # on some CPUs it misses a hub's kernel for products that are not used
