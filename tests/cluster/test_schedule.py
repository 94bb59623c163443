"""A cluster's workers are busy: the real driver in virtual seconds, on the lengths of the paper's own self-edits."""

import pytest

from tests.bench.simulated_cluster import draw_adapters, draw_scores, simulate


@pytest.mark.parametrize(("records", "workers", "least"), [(750, 8, 0.99), (750, 64, 0.95), (25_000, 512, 0.95)])
def test_workers_are_busy_to_the_end(records: int, workers: int, least: float) -> None:
    assert simulate(draw_adapters(records), workers)["utilisation"] >= least


def test_where_one_line_is_longer_than_a_worker_s_share_nobody_waits_for_more_than_it() -> None:
    found = simulate(draw_adapters(750), 512)
    assert found["utilisation"] < 0.5
    assert found["of_bound"] >= 0.99


def test_lines_of_unknown_length_are_shared_out_almost_as_well() -> None:
    assert simulate(draw_scores(750), 64)["utilisation"] >= 0.9


def test_a_worker_that_dies_costs_what_it_had_not_finished() -> None:
    found = simulate(draw_adapters(10_000), 64, death_rate=0.01)
    assert found["deaths"] > 90
    assert found["made_twice"] == 0
    assert found["utilisation"] >= 0.94
