"""What there is for workers: too much is refused where no more can come, and told where it can."""

import pytest

from stages.cluster import start
from stages.cluster.settings import Cluster
from stages.cluster.start import count_room, note_shares, start_ray
from stages.errors import BadConfig, Unavailable
from tests.cluster.fake_ray import FakeRay

pytestmark = pytest.mark.fast


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    ray = FakeRay({"one": {"CPU": 4.0, "GPU": 2.0}, "two": {"CPU": 4.0}})
    monkeypatch.setattr(start, "import_ray", lambda: ray)
    return ray


def test_more_than_this_machine_has_is_refused(ray: FakeRay) -> None:
    with pytest.raises(BadConfig, match="each worker wants 1 CPUs and 3 GPUs, a node has 4 and 2 at most"):
        start_ray(Cluster("local", gpus_per_worker=3))
    assert ray.shut
    assert start_ray(Cluster("local", gpus_per_worker=2)) is ray


def test_a_cluster_of_another_version_is_told_with_both(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise RuntimeError("Version mismatch: The cluster:\n    Ray: 2.54.0\nThis process:\n    Ray: 2.60.0\n")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(Unavailable, match=r"^--ray auto: Version mismatch: .* Ray: 2.54.0 This process: Ray: 2.60.0$"):
        start_ray(Cluster("auto"))


def test_a_node_of_a_cluster_that_may_still_come_is_waited_for_with_a_word(ray: FakeRay) -> None:
    wanted = Cluster("auto", cpus_per_worker=8, gpus_per_worker=1)
    assert start_ray(wanted) is ray
    (told,) = note_shares(ray, wanted)
    assert told.endswith("waiting for a node that has them")


def test_workers_that_leave_gpus_alone_are_told_of(ray: FakeRay) -> None:
    (told,) = note_shares(ray, Cluster("auto"))
    assert told == "note: the cluster has 2 GPUs, and --gpus-per-worker 0 leaves them alone"
    assert list(note_shares(ray, Cluster("auto", gpus_per_worker=0.5))) == []


@pytest.mark.parametrize(("cpus", "gpus", "count"), [(1, 0, 8), (3, 0, 2), (1, 0.5, 4), (1, 3, 1)])
def test_as_many_workers_fit_as_the_nodes_have_room_for(ray: FakeRay, cpus: float, gpus: float, count: int) -> None:
    assert count_room(ray, Cluster("auto", cpus_per_worker=cpus, gpus_per_worker=gpus)) == count
