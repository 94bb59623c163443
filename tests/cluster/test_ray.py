"""A crew of workers, whoever of them dies: every line comes once, and nobody is blamed for what others did."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from stages.cluster import ray as crews
from stages.cluster.ray import RayWorkers
from stages.cluster.settings import Cluster
from stages.cluster.workers import Delivery
from stages.errors import Crashed
from stages.interfaces import NullProgress, Progress
from tests.cluster.fake_ray import FakeRay, Handle, Words

pytestmark = pytest.mark.fast


class Echo:
    """Gives every key back, and knows what it was told of."""

    opened: ClassVar[list["Echo"]] = []

    def __init__(self, finished: Sequence[str]) -> None:
        self.finished, self.told = finished, list[list[str]]()
        Echo.opened.append(self)

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[str]:
        self.told.append(list(self.finished))
        yield from keys
        progress.note(f"1 of {len(keys)} lines are short")
        progress.note("memory ran out: from here on 4 at a time")

    def report(self) -> Iterable[str]:
        yield "all well"


class Told(NullProgress):
    """A Progress that remembers."""

    def __init__(self) -> None:
        self.notes, self.given_up = list[str](), list[str]()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def give_up(self, names: Sequence[str]) -> None:
        self.given_up += names


Hire = Callable[..., RayWorkers]


@pytest.fixture
def ray() -> FakeRay:
    return FakeRay()


@pytest.fixture
def hire(ray: FakeRay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hire:
    """Opens workers that run from, and write to, a folder of the test's own."""
    monkeypatch.setattr(crews, "start_ray", lambda cluster: ray)
    monkeypatch.setattr(crews, "import_ray", lambda: ray)
    monkeypatch.setattr(Echo, "opened", [])
    monkeypatch.chdir(tmp_path)

    def open_workers(lease: int = 2, open_worker: Any = Echo, **more: Any) -> RayWorkers:
        return RayWorkers(Cluster("auto", lease=lease), open_worker, Words(), folders=[tmp_path], **more)

    return open_workers


def dies_of(*keys: str) -> Callable[[Handle, Delivery], bool]:
    return lambda handle, delivery: any(line in keys for _, line in delivery.lines)


def test_lines_come_once_and_every_worker_reports(hire: Hire, ray: FakeRay) -> None:
    workers = hire()
    assert sorted(workers.make("abcdefg")) == list("abcdefg")
    assert len(ray.handles) == 2  # as many as fit
    assert workers.report() == ["all well"]
    assert ray.shut


def test_what_all_leases_say_is_said_once_and_what_they_count_is_summed(hire: Hire) -> None:
    told = Told()
    list(hire(lease=1).make("abcde", told))
    assert told.notes == ["memory ran out: from here on 4 at a time", "5 of 5 lines are short"]


def test_finished_lines_of_a_deadly_unit_are_kept_and_only_the_others_are_given_up(hire: Hire, ray: FakeRay) -> None:
    ray.strike, told = dies_of("x3"), Told()
    workers = hire(unit_of=lambda key: key[0], finished=["x0"])
    made = list(workers.make(["x1", "x2", "x3", "x4", "y1"], told))
    assert sorted(made) == ["x1", "x2", "y1"]
    assert told.given_up == ["x3", "x4"]
    known = [each for worker in Echo.opened for each in worker.told]
    assert ["x0"] in known
    assert ["x0", "x1", "x2"] in known


def test_lines_of_a_unit_that_is_finished_are_held_no_longer(hire: Hire) -> None:
    workers = hire(unit_of=lambda key: key[0], finished=["x0"])
    for _ in workers.make(["x1", "x2", "y1", "z1", "z2"]):
        pass
    assert workers.kin
    assert workers.kin.lines == {}


def test_the_latest_line_of_a_kin_is_told_to_whoever_makes_another(hire: Hire, ray: FakeRay) -> None:
    ray.rooms = {"one": {"CPU": 1.0}}
    workers = hire(lease=1, kin_of=lambda key: key[0], finished=["x0"])
    assert sorted(workers.make(["x1", "x2", "y1", "y2"])) == ["x1", "x2", "y1", "y2"]
    (worker,) = Echo.opened
    assert worker.told == [["x0"], ["x1"], [], ["y1"]]


def test_what_a_node_took_with_it_is_made_by_others_and_blamed_on_nobody(hire: Hire, ray: FakeRay) -> None:
    def take_away(handle: Handle, delivery: Delivery) -> bool:
        if delivery.lines and not ray.gone:
            ray.gone.add(handle.node)
        return False

    ray.strike, told = take_away, Told()
    made = list(hire(lease=8).make("abcdefgh", told))
    assert sorted(made) == list("abcdefgh")
    assert told.given_up == []
    assert told.notes.count("a node is gone; what its workers had to do goes to others") == 1


def test_nodes_that_go_while_their_workers_start_are_no_fault_of_the_model(hire: Hire, ray: FakeRay) -> None:
    left = [1, 2, 3, 4]

    def die(finished: Sequence[str]) -> Echo:
        assert ray.current
        if left and left.pop():
            ray.why, ray.current.dead = "The actor died because its node has died.", True
        return Echo(finished)

    told = Told()
    assert sorted(hire(open_worker=die).make("abc", told)) == ["a", "b", "c"]
    assert told.notes.count("a node is gone; what its workers had to do goes to others") == 4


def test_a_model_whose_workers_die_before_it_is_loaded_ends_the_run(hire: Hire, ray: FakeRay) -> None:
    def die(finished: Sequence[str]) -> Echo:
        assert ray.current
        ray.current.dead = True
        return Echo(finished)

    with pytest.raises(Crashed, match="workers died 3 times before their model was loaded: the actor died"):
        list(hire(open_worker=die).make("abc"))


def test_records_that_all_kill_their_workers_are_not_to_blame(hire: Hire, ray: FakeRay) -> None:
    ray.strike = dies_of(*"abcd")
    with pytest.raises(Crashed, match="workers died over 3 records in a row"):
        list(hire().make("abcd"))


def test_the_proofs_are_there_as_long_as_the_crew_and_late_workers_find_them(
    hire: Hire, ray: FakeRay, tmp_path: Path
) -> None:
    workers = hire()
    list(workers.make("ab"))
    ray.strike = lambda handle, delivery: len(ray.handles) < 3
    assert sorted(workers.make("cd")) == ["c", "d"]
    assert len(ray.handles) > 2
    (proof,) = tmp_path.glob(".seal-*")
    assert proof.read_text() == proof.name
    workers.report()
    assert not list(tmp_path.glob(".seal-*"))


def test_reports_of_dead_and_of_silent_workers_are_not_waited_for(hire: Hire, ray: FakeRay) -> None:
    ray.rooms = {str(number): {"CPU": 1.0} for number in range(3)}
    workers = hire(lease=1)
    list(workers.make("abc"))
    ray.handles[0].dead = True
    ray.hanging.add(ray.handles[1])
    assert workers.report() == ["all well"]
    assert ray.shut
