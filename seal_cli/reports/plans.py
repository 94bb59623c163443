"""Forecasts and accounts of several stages as one table with a sum."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seal_cli.terminal.console import width_of
from seal_cli.terminal.costs import format_seconds, format_size
from seal_cli.terminal.tables import as_text
from stages.errors import BadInput, MissingInput

Costs = Mapping[str, Any]
_SUMS = (
    *("requests", "tokens_in", "tokens_out", "trainings", "steps", "tokens_trained"),
    *("calls", "call_tokens_in", "call_tokens_out", "cost"),
    *("load_s", "work_s", "load_cpu_s", "work_cpu_s", "line_bytes", "model_bytes"),
)
_PEAKS = ("peak_bytes", "device_peak_bytes")
_WITHOUT_MODEL = ("tasks", "filter", "merge")  # the stages whose manifests tell no cost


@dataclass(frozen=True)
class CostRow:
    """What a stage will cost, and has cost; None where nobody says."""

    name: str
    predicted: Costs | None
    actual: Costs | None


def read_costs(file: Path) -> Iterator[CostRow]:
    """Yield the rows of a file of forecasts, or of a manifest; `-` is stdin. Raises BadInput for anything else.

    The manifest of a stage that asks no model has none.
    """
    if str(file) == "-":
        file, text = Path("stdin"), sys.stdin.buffer.read().decode("utf-8", "replace")
    elif file.exists() and not file.is_dir():
        text = file.read_text(encoding="utf-8", errors="replace")
    else:
        raise MissingInput(f"{file}: no such file; make it: seal generate … --dry-run --json > {file}")
    if not text.strip():
        raise BadInput(f"{file}: empty; make it: seal generate … --dry-run --json")
    found = _parse(text)
    if isinstance(found, dict) and "settings" in found:
        if "actual" not in found and found.get("stage") in _WITHOUT_MODEL:
            return
        if not isinstance(found.get("actual"), dict):
            raise BadInput(f"{file}: the manifest tells no cost: its lines were made by an earlier version, or at once")
        predicted = found["predicted"] if isinstance(found.get("predicted"), dict) else None
        for costs in (predicted or {}, found["actual"]):
            _check_numbers(costs, str(file))
        yield CostRow(file.name.removesuffix(".manifest.json"), predicted, found["actual"])
        return
    for number, line in enumerate(text.rstrip("\n").split("\n"), 1):
        told = _parse(line)
        if not isinstance(told, dict) or not {"stage", "requests", "trainings"} <= told.keys():
            raise BadInput(f"{file}:{number}: is no forecast (--dry-run --json), and no manifest of a run")
        _check_numbers(told, f"{file}:{number}")
        yield CostRow(str(told["stage"]), told, None)


def _check_numbers(costs: Costs, place: str) -> None:
    """Raise BadInput for what cannot be added up: no number, a negative one, or none that is finite."""
    for name in (*_SUMS, *_PEAKS):
        value = costs.get(name)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
        if value is not None and not fits:
            raise BadInput(f"{place}: {name} is {json.dumps(value)[:40]}, no count or cost; make the forecast again")


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def add_costs(several: Sequence[Costs | None]) -> dict[str, Any] | None:
    """Add up costs: of memory the most. None where a part is not known, and for no costs at all."""
    known = [each for each in several if each is not None]
    if not known or len(known) < len(several):
        return None
    total: dict[str, Any] = {}
    for names, combine in ((_SUMS, sum), (_PEAKS, max)):
        for name in names:
            values = [each.get(name) for each in known]
            numbers = [value for value in values if isinstance(value, int | float)]
            optional = name in ("cost", "device_peak_bytes")
            total[name] = combine(numbers) if numbers and (optional or len(numbers) == len(values)) else None
    return total


def show_costs(rows: Sequence[CostRow], *, as_json: bool) -> None:
    """Print the rows and their sum to stdout."""
    whole = CostRow("sum", add_costs([row.predicted for row in rows]), add_costs([row.actual for row in rows]))
    every = [*rows, whole]
    if as_json:
        for row in every:
            _print(json.dumps(vars(row), ensure_ascii=False) + "\n")
        return
    columns = ["stage", *_CELLS]
    cells = [[row.name, *(_make_cell(row, make) for make in _CELLS.values())] for row in every]
    kept = [place for place in range(len(columns)) if any(row[place] for row in cells)]
    table = [[row[place] for place in kept] for row in cells]
    _print(as_text([columns[place] for place in kept], table, width_of(1)))


def _print(text: str) -> None:
    os.write(1, text.encode("utf-8", "replace"))


def _make_cell(row: CostRow, make: Callable[[Costs], str]) -> str:
    """Write `predicted → actual`, or the one that is there."""
    told = [make(costs) for costs in (row.predicted, row.actual) if costs is not None]
    return told[0] if len(set(told)) == 1 else " → ".join(text or "?" for text in told) if any(told) else ""


def _count(*names: str) -> Callable[[Costs], str]:
    """Return what writes the sum of these counts; nothing for 0, or where one is not known."""

    def write(costs: Costs) -> str:
        values = [costs.get(name) for name in names]
        return f"{sum(values):,}" if None not in values and any(values) else ""  # type: ignore[arg-type]

    return write


def _measure(format_value: Callable[[float], str], *names: str) -> Callable[[Costs], str]:
    """Return what writes the sum of these values in their unit; `?` where one is not known."""

    def write(costs: Costs) -> str:
        values = [costs.get(name) for name in names]
        return "?" if None in values else format_value(sum(values))  # type: ignore[arg-type]

    return write


def _write_cost(costs: Costs) -> str:
    return "" if costs.get("cost") is None else f"{costs['cost']:.4g}"


def _write_device(costs: Costs) -> str:
    return format_size(costs["device_peak_bytes"]) if costs.get("device_peak_bytes") else ""


_CELLS: Mapping[str, Callable[[Costs], str]] = {
    "requests": _count("requests"),
    "tokens in": _count("tokens_in"),
    "out": _count("tokens_out"),
    "trainings": _count("trainings"),
    "tokens trained": _count("tokens_trained"),
    "calls": _count("calls"),
    "time": _measure(format_seconds, "load_s", "work_s"),
    "CPU": _measure(format_seconds, "load_cpu_s", "work_cpu_s"),
    "memory": _measure(format_size, "peak_bytes"),
    "GPU": _write_device,
    "disk": _measure(format_size, "line_bytes", "model_bytes"),
    "cost": _write_cost,
}
