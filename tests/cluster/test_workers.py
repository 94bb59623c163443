"""What a worker of a cluster does, without the cluster: it proves its place, makes lines, and says what went wrong."""

import pickle
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import pytest

from stages.cluster.workers import Delivery, LeaseServer, Place
from stages.errors import BadConfig, OutOfMemory
from stages.interfaces import NullProgress, Progress


class Echo:
    """Makes a line of every key; one that is called "bad" is an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[str]:
        for key in keys:
            progress.begin_work([key])
            progress.add_written(3, 1)
            if self.error and key == "bad":
                raise self.error
            yield f"line {key}"
            progress.end_work(iter([key]))

    def report(self) -> Iterable[str]:
        yield "all well"


class Local(Exception):
    """An error that cannot travel."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    found = Place(tmp_path, (tmp_path / "out",), ".seal-proof", {"SECRET": "word"})
    found.prepare()
    return found


def serve(server: LeaseServer, *keys: str) -> Delivery:
    """All deliveries as one."""
    whole = Delivery()
    for delivery in server.serve(keys):
        whole.lines += delivery.lines
        whole.calls += delivery.calls
        whole.error = delivery.error or whole.error
    return whole


def test_lines_and_progress_come_in_their_order(place: Place) -> None:
    found = serve(LeaseServer(Echo, place, "0"), "a", "b")
    assert found.lines == ["line a", "line b"]
    assert [name for name, _ in found.calls] == ["begin_work", "add_written", "end_work"] * 2
    assert found.calls[:3] == [("begin_work", (["a"],)), ("add_written", (3, 1)), ("end_work", (["a"],))]
    assert found.error is None


def test_a_line_is_sent_before_the_next_one_is_made(place: Place) -> None:
    go_on = threading.Event()

    class Slow(Echo):
        def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[str]:
            yield "first"
            assert go_on.wait(30)
            yield "second"

    deliveries = LeaseServer(Slow, place, "0").serve(["a", "b"])
    lines: list[str] = []
    while not lines:
        lines += next(deliveries).lines
    assert lines == ["first"]
    go_on.set()
    assert [line for delivery in deliveries for line in delivery.lines] == ["second"]


def test_the_model_is_loaded_once_for_all_leases(place: Place) -> None:
    opened: list[int] = []
    server = LeaseServer(lambda: opened.append(1) or Echo(), place, "0")  # type: ignore[func-returns-value]
    serve(server, "a")
    serve(server, "b")
    assert len(opened) == 1
    assert server.report() == ["all well"]


def test_lines_before_an_error_are_kept_and_the_error_keeps_its_kind(place: Place) -> None:
    found = serve(LeaseServer(lambda: Echo(OutOfMemory("too small")), place, "0"), "a", "bad", "c")
    assert found.lines == ["line a"]
    assert isinstance(found.error, OutOfMemory)
    assert isinstance(pickle.loads(pickle.dumps(found)).error, OutOfMemory)  # noqa: S301


def test_an_error_that_cannot_travel_is_told_in_words(place: Place) -> None:
    found = serve(LeaseServer(lambda: Echo(Local("one", "other")), place, "0"), "bad")
    assert isinstance(found.error, RuntimeError)
    assert "Local: one and other" in str(found.error)


def test_a_worker_that_shares_the_folders_proves_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET", raising=False)
    host = place.enter("7")
    place.check("7", host)
    place.clear()
    assert list((place.folder / "out").iterdir()) == []


def test_a_worker_without_the_folder_is_told_of(place: Place, tmp_path: Path) -> None:
    for folder in (place.folder, *place.folders):
        elsewhere = Place(tmp_path / "nowhere" if folder == place.folder else folder, place.folders, "other")
        with pytest.raises(BadConfig, match="does not share it"):
            elsewhere.enter("0")


def test_a_worker_with_other_files_under_the_same_name_is_told_of(place: Place) -> None:
    (place.folders[0] / place.proof).write_text("something else")
    with pytest.raises(BadConfig, match="it holds other files there"):
        place.enter("0")


def test_a_worker_whose_files_do_not_arrive_is_told_of(place: Place) -> None:
    with pytest.raises(BadConfig, match="the worker on far does not share it"):
        place.check("0", "far")


def test_keys_of_servers_do_not_show(place: Place) -> None:
    assert "word" not in repr(place)
