"""Adapter directories before they are used: whole, of the rank they say, made for this model's layers and weights."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from stages.errors import BadInput, MissingInput
from stages.models.inspection import misfits, model_tensors, read_adapter
from stages.models.loading import fingerprint
from stages.models.safetensors_header import read_header

UNKNOWN = "unknown"  # the fingerprint of a model that was in memory already
BASE = "base"  # in the metadata of the weights: the fingerprint of the model that they were trained on


def is_whole(path: Path) -> bool:
    """Whether the directory holds all that its files say. No weight is read."""
    return _passes(lambda: read_adapter(path))


def usable_on(model: str) -> Callable[[Path], bool]:
    """Whether an adapter that was trained on this model passes `adapter_check`, which is made when first asked for."""
    check = cache(lambda: adapter_check(model))
    return lambda path: _passes(lambda: check()(path, model))


def _passes(check: Callable[[], object]) -> bool:
    try:
        check()
    except (BadInput, MissingInput):
        return False
    return True


def _base_of(path: Path) -> str | None:
    """The fingerprint of the model that the adapter was trained on; None where nothing says it."""
    try:
        found = read_header(path / "adapter_model.safetensors").metadata.get(BASE)
    except (BadInput, MissingInput, OSError):
        return None
    return None if found == UNKNOWN else found


def foreign(adapters: Iterable[tuple[Path, str]], model: str) -> set[str]:
    """The models whose adapters were trained on other weights than this one has, wherever they lie."""
    named = [(path, trained_on) for path, trained_on in adapters if trained_on != model]
    weights = fingerprint(model) if named else ""
    return {trained_on for path, trained_on in named if _base_of(path) != weights}


def find_moved(adapters: Mapping[Path, str], folders: Iterable[Path]) -> str | None:
    """The model that all adapters were trained on, where it lies no more under the one name that they give it.

    It is looked for under each of their names, and by the end of it in the folders and those above, and known by its
    weights. None where nothing has moved, or where it is not found.
    """
    names = sorted(set(adapters.values()))
    if not names or (len(names) == 1 and Path(names[0]).is_dir()):
        return None
    bases = {_base_of(path) for path in adapters}
    every = [above for folder in folders for above in (folder, *folder.parents)]
    ends = [Path(*Path(name).parts[start:]) for name in names for start in range(len(Path(name).parts))]
    places = [*map(Path, names), *(above / end for end in ends if not end.is_absolute() for above in every)]
    there = (str(place) for place in places if (place / "config.json").is_file())
    return next((place for place in there if bases == {fingerprint(place)}), None)


def adapter_check(model: str) -> Callable[[Path, str], None]:
    """Called with an adapter and the name of the model that it was trained on, before a model is loaded.

    The one check that an adapter passes before its line is written, when it is used, and when its training is repeated.
    Raises BadInput or MissingInput for one that cannot be used on `model`, naming the directory and what is wrong:
    another model of the same name is refused. Raises at once where the model itself is not whole.
    """
    weights = fingerprint(model)
    tensors = model_tensors(Path(model)) if Path(model).is_dir() else None

    def check(path: Path, trained_on: str) -> None:
        adapter = read_adapter(path)
        bad, _ = misfits(adapter, tensors) if tensors is not None else ([], [])
        if bad:
            raise BadInput(f"adapter {path}: does not fit {model}: {bad[0]}")
        if trained_on == model and _base_of(path) not in (None, weights):
            raise BadInput(
                f"adapter {path}: was trained on other weights than {model} has now; run `seal adapt` again, or give "
                "the model that it was trained on with --model"
            )

    return check
