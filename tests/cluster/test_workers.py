"""What a worker of a cluster does, without the cluster: it makes lines, and says what went wrong."""

import pickle
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from stages.cluster.workers import Delivery, LeaseServer, LineMaker, Opening
from stages.errors import OutOfMemory
from stages.interfaces import NullProgress, Progress
from stages.records.stored.by_key import ItemsByKey
from tests.cluster.fake_ray import Words


class Echo:
    """Makes a line of every key; one that is called "bad" is an error."""

    def __init__(self, finished: Sequence[str] = (), error: Exception | None = None) -> None:
        self.finished, self.error = finished, error

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[str]:
        for key in keys:
            progress.begin_work([key])
            progress.add_written(3, 1)
            progress.note(f"{key} behind {list(self.finished)}")
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


def load(open_worker: Callable[[Sequence[str]], LineMaker]) -> LeaseServer:
    server = LeaseServer(lambda: Opening(open_worker, Words()))
    assert server.load() is None
    return server


def serve(server: LeaseServer, *keys: str, finished: Sequence[str] = (), packed: object = None) -> Delivery:
    """All deliveries as one."""
    whole = Delivery()
    for delivery in server.serve(keys, finished, packed):
        whole.lines += delivery.lines
        assert all(key == line for key, line in delivery.lines)
        whole.notes += delivery.notes
        whole.written += delivery.written
        whole.error = delivery.error or whole.error
    return whole


def words(delivery: Delivery) -> list[str]:
    return [line for _, line in delivery.lines]


def test_lines_notes_and_tokens_come_in_their_order() -> None:
    found = serve(load(Echo), "a", "b")
    assert words(found) == ["line a", "line b"]
    assert found.notes == ["a behind []", "b behind []"]
    assert found.written == 6
    assert found.error is None


def test_each_lease_comes_with_the_finished_lines_of_its_units() -> None:
    server = load(Echo)
    assert serve(server, "a", finished=["line x", "line y"]).notes == ["a behind ['line x', 'line y']"]
    assert serve(server, "b").notes == ["b behind []"]


def test_what_comes_quickly_comes_together() -> None:
    class Quick(Echo):
        def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[str]:
            for key in keys:
                progress.add_written(25)
                time.sleep(0.0001)
                yield key

    deliveries = list(load(Quick).serve(list(map(str, range(200)))))
    assert sum(delivery.written for delivery in deliveries) == 5000
    assert sum(len(delivery.lines) for delivery in deliveries) == 200
    assert len(deliveries) < 50


def test_a_line_is_sent_before_the_next_one_is_made() -> None:
    go_on = threading.Event()

    class Slow(Echo):
        def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[str]:
            yield "first"
            assert go_on.wait(30)
            yield "second"

    deliveries = load(Slow).serve(["a", "b"])
    lines: list[str] = []
    while not lines:
        lines += words(next(deliveries))
    assert lines == ["first"]
    go_on.set()
    assert [line for delivery in deliveries for line in words(delivery)] == ["second"]


def test_the_model_is_loaded_once_for_all_leases() -> None:
    opened: list[int] = []
    server = load(lambda finished: opened.append(1) or Echo())  # type: ignore[func-returns-value]
    serve(server, "a")
    serve(server, "b")
    assert len(opened) == 1
    assert server.report() == ["all well"]


def test_lines_before_an_error_are_kept_and_the_error_keeps_its_kind() -> None:
    found = serve(load(lambda finished: Echo(error=OutOfMemory("too small"))), "a", "bad", "c")
    assert words(found) == ["line a"]
    assert isinstance(found.error, OutOfMemory)
    assert isinstance(pickle.loads(pickle.dumps(found)).error, OutOfMemory)  # noqa: S301


def test_a_model_that_cannot_be_loaded_is_told_with_its_kind() -> None:
    def fail(finished: Sequence[str]) -> LineMaker:
        raise OutOfMemory("too large")

    error = LeaseServer(lambda: Opening(fail, Words())).load()
    assert isinstance(error, OutOfMemory)
    assert str(error) == "too large"


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    found = serve(load(lambda finished: Echo(error=Local("one", "other"))), "bad")
    assert isinstance(found.error, RuntimeError)
    assert "Local: one and other" in str(found.error)


def test_what_lines_are_made_of_comes_with_their_lease() -> None:
    class Reader(Echo):
        def __init__(self, items: Mapping[str, str]) -> None:
            super().__init__()
            self.items = items

        def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[str]:
            assert list(self.items) == list(keys)  # and nothing of other leases
            yield from map(self.items.__getitem__, keys)

    items = ItemsByKey({key: key.upper() for key in "abc"})
    portion = pickle.loads(pickle.dumps(items))  # noqa: S301
    server = LeaseServer(lambda: Opening(lambda finished: Reader(portion), Words(), portion))
    assert server.load() is None
    for keys in ("ab", "c"):
        assert words(serve(server, *keys, packed=items.pack(keys))) == list(keys.upper())
