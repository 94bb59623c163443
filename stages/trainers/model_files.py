"""Write models as directories of transformers: complete or absent, and only what the stages can load again."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, MissingInput
from stages.files import atomic_directory, check_space, partial_directory, write_file
from stages.models.checkpoints import CHECKPOINT_FILE, measure_files
from stages.models.libraries import explain_library_errors, summarize_error
from stages.models.loading import load_network, load_tokenizer


def check_saving(network: Any, tokenizer: Any, out: Path, name: str, weight_bytes: int) -> list[str]:
    """Mend what would keep the model from being saved after training, and return what was mended. Writes little.

    Raises BadConfig for a model that cannot be saved, NoSpace or OSError where its directory cannot be.
    """
    if getattr(network, "hf_quantizer", None) is not None:
        raise BadConfig(f"--model {name}: its weights are quantized, and whole ones are written; take one that is not")
    mended = _repair_generation_config(network.generation_config, name)
    check_space(out.parent, weight_bytes * network.num_parameters(), "the model's weights")
    with partial_directory(out) as folder, explain_library_errors(name, "cannot be saved, and so is not trained"):
        network.save_pretrained(str(folder), state_dict=get_shared_weights(network))
        tokenizer.save_pretrained(str(folder))
    return mended


def get_shared_weights(network: Any) -> dict[str, Any]:
    """Return the first row of all weights that share storage, by which transformers decides whether it can save."""
    places: dict[int, list[str]] = {}
    state = network.state_dict()
    for key, weight in state.items():
        places.setdefault(weight.untyped_storage().data_ptr(), []).append(key)
    shared = [key for keys in places.values() if len(keys) > 1 for key in keys]
    return {key: state[key][:1] if state[key].dim() else state[key] for key in shared}


def _repair_generation_config(config: Any, name: str) -> list[str]:
    """Make the settings of generation such that transformers saves them; what was changed. Here they are not used.

    Raises BadConfig where they cannot be mended without a guess.
    """
    mended, file = list[str](), "generation_config.json"
    if config.pad_token_id is not None and config.pad_token_id < 0:
        config.pad_token_id = None
        mended.append(f"{file} has a negative pad_token_id: the new model's has none")
    try:
        config.validate(strict=True)
    except ValueError:
        if config.do_sample is not True:  # sampling settings say that it is meant
            config.do_sample = True
            mended.append(f"{file} says how to sample but not do_sample: the new model's has do_sample true")
    try:
        config.validate(strict=True)
    except ValueError as error:
        lines = [line.removeprefix("- ") for line in str(error).splitlines() if line.startswith("- ")]
        why = lines[0] if lines else summarize_error(error)
        raise BadConfig(f"--model {name}: {file} cannot be saved again: {why}; mend it first") from None
    return mended


def save_model(network: Any, tokenizer: Any, out: Path, describe: Callable[[Path], Mapping[str, Any]]) -> None:
    """Save model and tokenizer as safetensors, with their origin and sizes: the directory is complete or absent.

    `describe` is given the folder with all files, and says what its seal.json is to tell of their origin.
    """
    from safetensors import SafetensorError

    with atomic_directory(out) as partial:
        try:
            network.save_pretrained(str(partial))
        except SafetensorError as error:  # its word for a full disk
            raise OSError(f"{partial}: {error}") from None
        tokenizer.save_pretrained(str(partial))
        try:  # by the very functions that load it for the stages
            load_tokenizer(str(partial))
            load_network(str(partial), device_map="meta")
        except (BadConfig, BadInput, MissingInput) as error:
            raise BadConfig(f"the model cannot be used as it was trained: {error}") from None
        names = sorted(path.relative_to(partial).as_posix() for path in partial.rglob("*") if path.is_file())
        told = {**describe(partial), "files": measure_files(partial, names)}
        about = partial / CHECKPOINT_FILE
        write_file(about, (json.dumps(told, indent=1) + "\n").encode())
        for name in names:  # safetensors makes its files for their owner alone
            (partial / name).chmod(about.stat().st_mode & 0o777)
