"""The files of `seal card`: the rows and probes that it reads, and the card that it writes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seal_cli.exit_codes import UsageError
from stages.errors import BadConfig, MissingInput

if TYPE_CHECKING:
    from stages.card import Card
    from stages.reporting.cards.answers import AnswerSheet
    from stages.reporting.cards.cost import FileCost

_ORDER = ("none", "passage", "in-context", "rag", "adapter", "adapter-rag")
_MAKES = {  # how a row of a run that is needed is made
    ("rows", "none"): "seal eval {run}/exam.jsonl --model DIR -o {file}",
    ("rows", "adapter"): "seal eval {run}/adapters.jsonl --on {run}/exam.jsonl --retain ANCHORS -o {file}",
    ("probes", "none"): "seal eval PROBES --model DIR -o {file}",
    ("probes", "adapter"): "seal eval {run}/adapters.jsonl --on PROBES -o {file}",
}


@dataclass(frozen=True)
class CardFiles:
    """What a card is made of; `run`: the folder of a run, if it is one's, and `base` where paths are told from."""

    rows: "Mapping[str, AnswerSheet]"
    probes: "Mapping[str, AnswerSheet]"
    costs: "Sequence[FileCost]"
    run: Path | None
    base: Path


def read_card_files(given: Sequence[str], probes: Sequence[str], output: Path | None) -> CardFiles:
    """Read the rows of a run, and those that are given by name, which take the place of its own.

    Raises MissingInput for a row that is needed, with the command that makes it.
    """
    from stages.reporting.cards.cost import list_costs

    if output and output.suffix not in (".json", ".md"):
        raise BadConfig(f"-o {output}: the file must end in .json or .md")
    folders = [Path(text) for text in given if Path(text).is_dir()]
    if len(folders) > 1:
        raise UsageError(f"{folders[1]}: a second run; a card is about one")
    run = folders[0] if folders else None
    named = _split_names(text for text in given if not Path(text).is_dir())
    rows = _find_files(run, "rows", named)
    probed = _find_files(run, "probes", _split_names(probes))
    base = run or (output.parent if output else Path())
    return CardFiles(_read(rows), _read(probed), list_costs(run) if run else (), run, base)


def _split_names(texts: Iterator[str] | Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts:
        name, mark, path = text.partition("=")
        if not (mark and name and path):
            ways = "give NAME=FILE, or the folder of a run"
            raise MissingInput(f"{text}: no such folder; {ways}") if not mark else UsageError(f"{text}: {ways}")
        if name in found:
            raise UsageError(f"{text}: the row {name} is given twice")
        found[name] = Path(path)
    return found


def _find_files(run: Path | None, folder: str, named: Mapping[str, Path]) -> dict[str, Path]:
    """Find the files of rows, in the order of a card. Raises MissingInput where one that is needed is missing."""
    own = {path.stem: path for path in (run / folder).glob("*.jsonl")} if run else {}
    found = {**own, **named}
    for (place, name), command in _MAKES.items():
        if place == folder and name not in found and (found or folder == "rows"):
            file = f"{run}/{folder}/{name}.jsonl" if run else f"{name}.jsonl"
            way = command.format(run=run or ".", file=file)
            given = "" if run else f", and give {'' if folder == 'rows' else '--probe '}{name}={file}"
            raise MissingInput(f"{file}: a card needs this row; make it: {way}{given}")
    last = len(_ORDER)
    names = sorted(found, key=lambda name: (_ORDER.index(name) if name in _ORDER else last, name))
    return {name: found[name] for name in names}


def _read(files: Mapping[str, Path]) -> "dict[str, AnswerSheet]":
    from seal_cli.runs.stdio import input_records, with_places
    from stages.reporting.cards.answers import AnswerSheet, read_sheet
    from stages.reporting.cards.cost import read_settings_of, read_usage

    found = dict[str, AnswerSheet]()
    for name, path in files.items():
        lines = with_places(input_records(path, ("score",)), path)
        found[name] = read_sheet(name, str(path), lines, read_usage(path), read_settings_of(path))
    return found


def write_card(card: "Card", files: CardFiles, output: Path | None) -> list[Path]:
    """Write the card of a run beside it, and to `output`, each file whole or not at all. Return where it is."""
    from seal_cli.terminal.card_tables import format_card_page
    from stages.card import dump_card
    from stages.files import make_folder, replace_file

    places = [files.run / f"card{end}" for end in (".json", ".md")] if files.run else []
    places += [output] if output else []
    page = format_card_page(card)
    text = json.dumps(dump_card(card), ensure_ascii=False, indent=1) + "\n"
    for path in places:
        make_folder(path.parent)
        replace_file(path, (text if path.suffix == ".json" else page).encode("utf-8", "replace"))
    return places
