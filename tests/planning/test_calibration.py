"""A calibration is read as it was written, or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from stages.planning.calibration import Calibration, PartSpeed, read_calibration
from stages.planning.rates import Measurement

PART = PartSpeed(1.0, 0.5, 2**20, 2**19, 0, (0.1, 0.1), [Measurement({"tokens": 9.0}, 1.0, 1.0)], [({"x": 1.0}, 5, 0)])


def test_a_calibration_is_what_was_measured(tmp_path: Path) -> None:
    Calibration({"engine": PART}).write(tmp_path / "c.json", {})
    found = read_calibration(tmp_path / "c.json")
    assert found and found.parts == {"engine": PART}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("load_s",), "fast"),
        (("load_peak",), None),
        (("base",), []),
        (("warm_s",), [1.0]),
        (("made", 0, "wall_s"), float("nan")),
        (("made", 0, "features", "tokens"), "9"),
        (("memory", 0, 0, "x"), float("inf")),
        (("memory", 0, 1), "much"),
        (("made",), 7),
    ],
)
def test_one_that_holds_something_else_is_none(place: tuple[Any, ...], value: Any, tmp_path: Path) -> None:
    Calibration({"engine": PART}).write(tmp_path / "c.json", {})
    told = json.loads((tmp_path / "c.json").read_text())
    inner = told["parts"]["engine"]
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (tmp_path / "c.json").write_text(json.dumps(told))
    assert read_calibration(tmp_path / "c.json") is None
