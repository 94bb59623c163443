"""Rates are fitted to measurements: none below 0, short ones as good as long ones."""

import pytest

from stages.planning.rates import add_features, apply_rates, fit_rates

pytestmark = pytest.mark.fast


def test_rates_that_made_the_times_are_found_again() -> None:
    true = {"starts": 0.5, "steps": 0.02, "tokens": 0.001}
    shapes = [(1, 1, 10), (1, 5, 60), (1, 40, 300), (1, 3, 900), (2, 70, 70)]
    measured = [dict(zip(true, map(float, shape), strict=True)) for shape in shapes]
    found = fit_rates([(each, apply_rates(true, each)) for each in measured])
    assert found == pytest.approx(true, rel=0.02)


def test_no_rate_is_below_zero() -> None:
    found = fit_rates([({"a": 1.0, "b": 1.0}, 1.0), ({"a": 1.0, "b": 2.0}, 0.5)])
    assert min(found.values()) >= 0


def test_a_short_measurement_weighs_as_much_as_a_long_one() -> None:
    found = fit_rates([({"a": 1.0}, 1.0), ({"a": 1.0}, 3.0)])
    assert found["a"] == pytest.approx(1.2)  # not 2: the short one would be wrong by its double


def test_features_are_added_by_their_names() -> None:
    assert add_features([{"a": 1.0}, {"a": 2.0, "b": 3.0}]) == {"a": 3.0, "b": 3.0}
