"""Find the files of a dataset folder's configs and splits, by its card or by their names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, BadInput, one_line
from stages.file_kinds import CODE_SUFFIXES, DOCUMENT_SUFFIXES
from stages.sources.datasets.compressed import strip_gz
from stages.sources.datasets.folders import JSON_SUFFIXES, OF_DATASET, TABLE_SUFFIXES, holds_tables, walk
from stages.sources.documents import ReadContext

_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}  # as `datasets` tells them by the names of files
_SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}")  # as `datasets` calls the files of a split
_CACHE = re.compile(r"cache-\w+\.arrow")  # that `datasets` lays beside what it has stored
_FRONT = re.compile(r"\ufeff?---[ \t]*\n(.*?\n)---[ \t]*(\n|$)", re.DOTALL)
_OF_CARD = re.compile(
    r"^(configs|dataset_info|task_categories|size_categories|annotations_creators|source_datasets|license)[ \t]*:",
    re.MULTILINE,
)
_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]/]+\]|[^*?\[]+|\[")
_AS_PATTERN = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "[": r"\["}


@dataclass(frozen=True)
class CardPart:
    """Files that a dataset card names. `split` None: the files' own names say it."""

    config: str
    split: str | None
    files: re.Pattern[str]
    is_default: bool


@dataclass
class Selection:
    """The files to read of a folder. `is_dataset`: they are a dataset's, not texts and whatever else."""

    root: Path
    is_dataset: bool
    config: str | None
    split: str | None
    parts: Sequence[CardPart] = ()
    found: set[str] = field(default_factory=set)  # the splits that there are

    @property
    def other_suffixes(self) -> tuple[str, ...]:
        """The endings of code and documents, which are read beside texts and not beside a dataset's tables."""
        return () if self.is_dataset else (*CODE_SUFFIXES, *DOCUMENT_SUFFIXES)

    def leave(self, path: Path) -> str | None:
        """Return the kind under which a file is left out; None for one that is read."""
        if _CACHE.fullmatch(path.name):
            return "cache of datasets"
        if self.is_dataset and OF_DATASET.match(path.name):
            return "about the dataset"
        name = path.relative_to(self.root)
        parts = [part for part in self.parts if part.files.fullmatch(name.as_posix())]
        if self.config is not None and not (parts if self.parts else self.config in name.parts[:-1]):
            return f"not of the config {self.config}"
        if self.split is None:
            return None
        told = {part.split for part in parts if part.split}
        fits = told & set(self.split.split("+")) if told else self.is_of_split(name)
        return None if fits else f"not of the split {self.split}"

    def is_of_split(self, name: Path) -> bool:
        wanted = (self.split or "").split("+")
        return any(_is_of_split(name, each) for each in wanted) or not set(wanted).isdisjoint(self.name_splits(name))

    def name_splits(self, name: Path) -> set[str]:
        """Return a file's splits: by the card, by the folder of `save_to_disk`, or by its name."""
        told = {part.split for part in self.parts if part.split and part.files.fullmatch(name.as_posix())}
        if told:
            return told
        if len(name.parts) > 1 and (self.root / name.parent / "state.json").is_file():
            return {name.parent.name}
        usual = {split for split in _SPLITS if _is_of_split(name, split)}
        shard = _SHARD.fullmatch(name.stem)
        return usual or ({shard[1]} if shard and shard[1] != "data" else set())


def select_files(root: Path, reading: ReadContext) -> Selection:
    """Select what to read of a folder, and note what is not. Raises BadInput if the user must choose."""
    parts = _read_card(root / "README.md", reading)
    is_dataset = parts is not None or holds_tables(root)
    chosen = Selection(root, is_dataset, reading.config, reading.split, parts or ())
    chosen.config = _pick_config(chosen, reading)
    chosen.parts = [part for part in chosen.parts if part.config == chosen.config]
    if is_dataset:
        _tell_splits(chosen, reading)
    return chosen


def _pick_config(chosen: Selection, reading: ReadContext) -> str | None:
    """The config that is read: the one that is asked for, or the card's only or default one.

    Raises BadConfig for one that there is not, BadInput where one must be asked for.
    """
    names = list(dict.fromkeys(part.config for part in chosen.parts))
    if chosen.config in names:
        return chosen.config
    if chosen.config is not None:
        if not (names or chosen.config in _name_folders(chosen.root)):
            raise BadConfig(f"{chosen.root} --config {chosen.config}: no folder in it is called so, and it has no card")
        if names:
            raise BadConfig(f"{chosen.root} --config {chosen.config}: its card has the configs {', '.join(names)}")
        return chosen.config
    default = next((part.config for part in chosen.parts if part.is_default or part.config == "default"), None)
    if len(names) > 1 and default is None:
        raise BadInput(f"{chosen.root}: has the configs {', '.join(names)}; --config NAME takes one")
    if len(names) > 1:
        others = ", ".join(name for name in names if name != default)
        reading.note(f"of {chosen.root} the config {default} is read; --config NAME takes another ({others})")
    return default or next(iter(names), None)


def _name_folders(root: Path) -> set[str]:
    """The names of the folders in which files of data lie."""
    files = (path.relative_to(root) for path in _data_files(root))
    return {part for name in files for part in name.parts[:-1]}


def _data_files(root: Path) -> Iterator[Path]:
    for path in walk(root, refuse=lambda reject: None):
        if strip_gz(path).suffix.lower() in (*TABLE_SUFFIXES, *JSON_SUFFIXES) and not OF_DATASET.match(path.name):
            yield path


def _tell_splits(chosen: Selection, reading: ReadContext) -> None:
    """Choose the split of a dataset if none was asked for, and say so. Raises BadInput where it cannot."""
    asked, chosen.split = chosen.split, None
    names = [path.relative_to(chosen.root) for path in _data_files(chosen.root) if chosen.leave(path) is None]
    chosen.found = {split for name in names for split in chosen.name_splits(name)}
    known = ", ".join(sorted(chosen.found - {"train"} if asked is None else chosen.found))
    chosen.split = asked or ("train" if "train" in chosen.found else None)
    if asked is None and len(chosen.found) > 1:
        if chosen.split is None:  # so that train is not among them
            raise BadInput(f"{chosen.root}: has the splits {known}; --split NAME takes one")
        reading.note(f"of {chosen.root} the split train is read; --split NAME takes another ({known})")
    folders = {name.parts[0] for name in names if len(name.parts) > 1 and not chosen.name_splits(Path(name.parts[0]))}
    if chosen.config is None and len(folders - chosen.found) > 1:
        told = ", ".join(sorted(folders - chosen.found))
        reading.note(f"of {chosen.root} the folders {told} are read together; --config NAME takes one")


def _is_of_split(path: Path, split: str) -> bool:
    """Return whether the name of a file, or of a folder that it lies in, says that it is of the split."""
    found = _words(path.with_suffix("").as_posix())
    names = map(_words, _SPLITS.get(split.lower(), (split,)))
    return any(name == found[at : at + len(name)] for name in names for at in range(len(found)))


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


def _read_card(path: Path, reading: ReadContext) -> list[CardPart] | None:
    """The files of each config, as the card of a dataset says them; None where a README is no card or is not there."""
    import yaml

    try:
        front = _FRONT.match(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        return None
    if not front or not _OF_CARD.search(front[1]):
        return None
    try:
        configs = yaml.safe_load(front[1]).get("configs") or []
        return [part for config in configs for part in _parts_of(config)]
    except (yaml.YAMLError, AttributeError, TypeError, KeyError) as error:
        said = one_line(" ".join(str(error).split()))
        reading.note(f"{path}: a card that cannot be understood ({said}); the names of the files say their splits")
        return []


def _parts_of(config: Mapping[str, Any]) -> Iterator[CardPart]:
    """The parts of an entry of `configs`. Raises KeyError, TypeError or AttributeError for one that is none."""
    folder, default = str(config.get("data_dir", "")).strip("./"), bool(config.get("default"))
    files = config.get("data_files", "**")
    for entry in [files] if isinstance(files, str) else files:
        split = entry["split"] if isinstance(entry, dict) else ("train" if "data_files" in config else None)
        paths = entry["path"] if isinstance(entry, dict) else entry
        for text in [paths] if isinstance(paths, str) else paths:
            name = text.removeprefix("./")
            pattern = re.compile(_as_pattern(f"{folder}/{name}" if folder else name))
            yield CardPart(str(config["config_name"]), split, pattern, default)


def _as_pattern(glob: str) -> str:
    pieces = _GLOB.findall(glob)
    return "".join(_AS_PATTERN.get(piece) or (piece if piece[0] == "[" else re.escape(piece)) for piece in pieces)
