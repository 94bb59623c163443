"""Whether the adapter that is there is the one that was asked, on the model that it was trained on."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.fingerprints import fingerprint_folder
from stages.models.adapter_checks import read_base_weights, read_quantization
from stages.records.record import Adapter
from stages.reporting.cards.answers import AnswerSheet
from stages.reporting.cards.baselines import get_weights, list_ways


@dataclass(frozen=True)
class Proof:
    """What speaks against taking the adapter that is there for the one that the card is about, and what nobody knows.

    `fingerprint`: of the files that answered; None: not every line says. With a fault no gate holds.
    """

    fingerprint: str | None
    faults: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def prove_adapter(adapter: Adapter, sheets: Iterable[AnswerSheet], *, released: bool) -> Proof:
    """Compare the adapter's files and its model with those that answered; `sheets`: all rows and probes of it.

    `released`: it is what a gate will release, so that what nobody knows is a fault, too.
    """
    asked = list(sheets)
    said = {each for sheet in asked for each in sheet.fingerprints}
    silent = [sheet.file for sheet in asked if None in sheet.fingerprints]
    fingerprint = None if silent else next(iter(said), None)
    faults, unknown = list[str](), list[str]()
    place = Path(adapter.path) if adapter.path else None
    if place is None:
        unknown.append(f"the adapter {adapter.id} does not exist: {adapter.error or 'its lines name no path'}")
    elif not place.is_dir():
        unknown.append(f"the adapter {place} is not there: no such directory; copy it there, or run `seal adapt` again")
    else:
        faults += _compare_files(place, said)
        faults += [] if faults else _compare_models(place, asked)
    for file in () if place is None else silent:
        way = f"rm {file}, and run the `seal eval` that made it again"
        unknown.append(f"{file} does not say which files of the adapter answered; {way}")
    told = (*faults, *unknown)
    return Proof(fingerprint, told if released else tuple(faults), () if released else tuple(unknown))


def _compare_files(place: Path, said: Iterable[str | None]) -> Iterator[str]:
    now = fingerprint_folder(place)
    for then in (each for each in said if each not in (None, now)):
        way = "ask it again (the same `seal eval`), or put the files back"
        yield f"the adapter {place} has other files ({now}) than those that answered ({then}); {way}"


def _compare_models(place: Path, sheets: Iterable[AnswerSheet]) -> Iterator[str]:
    """Say of which rows the model is not the one that the adapter was trained on, where both are known."""
    base, kind = read_base_weights(place), read_quantization(place)
    for sheet in sheets:
        own = {weights for model in sheet.models if (weights := get_weights(sheet, model))}
        if base and own - {base}:
            told = f"{sheet.file} was answered with the weights {min(own - {base})}"
            yield f"the adapter {place} was trained on the weights {base}, and {told}; ask it on its own model"
        asked = list_ways(sheet.settings)["quantize"]
        if asked not in (None, kind):
            told = f"with --quantize {kind}, and {sheet.file} was answered with --quantize {asked}"
            yield f"the adapter {place} was trained {told}; ask it on its own: --quantize {kind}"
