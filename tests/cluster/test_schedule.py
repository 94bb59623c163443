"""A cluster's workers are busy: the real driver in virtual seconds, on the lengths of the paper's own self-edits."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from stages.cluster.ray import RayWorkers
from stages.cluster.settings import Cluster
from tests.bench.simulated_cluster import VirtualRay, draw_adapters, draw_scores, simulate
from tests.cluster.fake_ray import Words


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


def test_lines_that_come_at_once_are_synced_at_once_and_the_driver_waits_with_none_unsynced() -> None:
    class Watched(VirtualRay):
        def wait(self, references: Sequence[Any], **how: Any) -> tuple[list[Any], list[Any]]:
            assert not unsynced
            return super().wait(references, **how)

    unsynced, syncs = list[str](), 0
    with patch("stages.cluster.ray.start_ray", lambda cluster: Watched(lambda key: 1.0)):
        workers = RayWorkers(Cluster("local", workers=4, lease=1), lambda finished: None, Words())
    for line in workers.make([str(number) for number in range(24)]):
        unsynced.append(line)
        if not workers.has_more:
            unsynced.clear()
            syncs += 1
    assert syncs == 24 / 4
