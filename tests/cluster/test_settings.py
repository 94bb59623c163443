"""What users give of a cluster: nothing that would do nothing, and no share that Ray does not have."""

import importlib.util
from typing import Any

import pytest

from stages.cluster.settings import Cluster
from stages.errors import BadConfig

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def _ray_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())


@pytest.mark.parametrize("shares", [{}, {"gpus_per_worker": 0.5}, {"gpus_per_worker": 2, "cpus_per_worker": 1.5}])
def test_shares_that_ray_has_are_taken(shares: dict[str, Any]) -> None:
    Cluster("auto", **shares).check()


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"gpus_per_worker": 1.5}, "--gpus-per-worker 1.5: give a share of one GPU, or whole ones"),
        ({"gpus_per_worker": float("nan")}, "--gpus-per-worker nan: give 0, or a number from 0.0001 on"),
        ({"cpus_per_worker": float("inf")}, "--cpus-per-worker inf: give 0, or a number from 0.0001 on"),
        ({"cpus_per_worker": 0.00001}, "--cpus-per-worker 1e-05: give 0, or a number from 0.0001 on"),
    ],
)
def test_shares_that_ray_does_not_have_are_refused(shares: dict[str, Any], told: str) -> None:
    with pytest.raises(BadConfig) as refused:
        Cluster("auto", **shares).check()
    assert str(refused.value) == told


def test_flags_of_workers_without_a_cluster_are_refused() -> None:
    with pytest.raises(BadConfig, match=r"--gpus-per-worker 1.*only --ray has workers; give --ray local"):
        Cluster(gpus_per_worker=1).check()
    Cluster().check()


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadConfig, match=r"--ray auto: needs the package ray; pip install 'seal-toolkit\[ray\]'"):
        Cluster("auto").check()
