"""How long work takes: seconds as a sum of features (steps, tokens, …), each at its own rate, fitted to measurements.

Rates are never negative. Each measurement counts by its relative error, so that short ones are as good as long ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Features = Mapping[str, float]
_SWEEPS = 3000  # of coordinate descent; a fit has some ten measurements and features


@dataclass(frozen=True)
class Measurement:
    """What some work took: seconds on the wall and of the processor, and the bytes of memory above what there was."""

    features: Features
    wall_s: float
    cpu_s: float
    grown: int = 0
    device_grown: int = 0


def fit_rates(measured: Sequence[tuple[Features, float]]) -> dict[str, float]:
    """Return the rate of each feature: least squares of relative errors, no rate below 0."""
    names = sorted({name for features, _ in measured for name, value in features.items() if value})
    rows = [[features.get(name, 0.0) / (took or 1e-9) for name in names] for features, took in measured]
    scales = [max((abs(row[place]) for row in rows), default=0.0) or 1.0 for place in range(len(names))]
    rows = [[value / scale for value, scale in zip(row, scales, strict=True)] for row in rows]
    found = [0.0] * len(names)
    errors = [1.0] * len(rows)  # of a relative time of 1 each
    squares = [sum(row[place] ** 2 for row in rows) or 1.0 for place in range(len(names))]
    for _ in range(_SWEEPS):
        moved = 0.0
        for place, square in enumerate(squares):
            step = sum(row[place] * error for row, error in zip(rows, errors, strict=True)) / square
            step = max(step, -found[place])
            moved = max(moved, abs(step))
            found[place] += step
            errors = [error - step * row[place] for row, error in zip(rows, errors, strict=True)]
        if moved < 1e-9:
            break
    return {name: rate / scale for name, rate, scale in zip(names, found, scales, strict=True)}


def apply_rates(rates: Mapping[str, float], features: Features) -> float:
    """Return the seconds (or bytes) that the features come to."""
    return sum(rate * features.get(name, 0.0) for name, rate in rates.items())


def add_features(several: Iterable[Features]) -> dict[str, float]:
    """Return the sum of each feature."""
    total: dict[str, float] = {}
    for features in several:
        for name, value in features.items():
            total[name] = total.get(name, 0.0) + value
    return total
