"""Ray without processes: actors are objects of this one, on nodes that a test takes away. Each line comes alone."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from stages.cluster.workers import Delivery


class FakeRayError(Exception):
    """As Ray has it of an actor that is gone."""


class FakeTaskError(FakeRayError):
    """As Ray has it of an actor's call that raised."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Words:
    """Lines that are words: each is its own key, and travels as it is."""

    key_of = encode = decode = staticmethod(str)


@dataclass(eq=False)
class Handle:
    """An actor, as its driver holds it."""

    ray: "FakeRay"
    actor: Any
    node: str
    dead: bool = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.actor, name)
        call = SimpleNamespace(remote=lambda *given: Call(self, lambda: method(*given)))
        call.options = lambda **how: SimpleNamespace(remote=lambda *given: Call(self, lambda: _split(method(*given))))
        return call


@dataclass(eq=False)
class Call:
    """What is awaited of an actor: a value, or deliveries one by one."""

    handle: Handle
    work: Callable[[], Any]
    items: Iterator[Any] | None = None

    def __next__(self) -> Callable[[], Any]:
        self.handle.ray.check(self.handle)
        self.items = self.items or self.work()
        assert self.items is not None
        delivery = next(self.items)
        if self.handle.ray.strike(self.handle, delivery):
            self.handle.dead = True
        self.handle.ray.check(self.handle)
        return lambda: delivery

    def __call__(self) -> Any:
        self.handle.ray.check(self.handle)
        self.handle.ray.current = self.handle
        try:
            answer = self.work()
        except Exception as error:  # noqa: BLE001 - whatever an actor raises, its driver is told
            raise FakeTaskError(error) from None
        self.handle.ray.check(self.handle)
        return answer


def _split(deliveries: Iterator[Delivery]) -> Iterator[Delivery]:
    for whole in deliveries:
        yield from (Delivery([line]) for line in whole.lines)
        yield replace(whole, lines=[])


@dataclass
class FakeRay:
    """`strike`: tells whether an actor dies instead of making this delivery. `hanging`: actors that never answer."""

    rooms: dict[str, dict[str, float]] = field(default_factory=lambda: {"one": {"CPU": 1.0}, "two": {"CPU": 1.0}})
    strike: Callable[[Handle, Delivery], bool] = lambda handle, delivery: False
    gone: set[str] = field(default_factory=set)  # nodes
    handles: list[Handle] = field(default_factory=list)
    hanging: set[Handle] = field(default_factory=set)
    current: Handle | None = None
    why: str = "the actor died"
    shut: bool = False
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayError=FakeRayError, RayTaskError=FakeTaskError))

    def check(self, handle: Handle) -> None:
        if handle.dead or handle.node in self.gone:
            raise FakeRayError(self.why)

    def remote(self, **shares: float) -> Callable[[type], Any]:
        return lambda kind: SimpleNamespace(remote=lambda: self._start(kind()))

    def _start(self, actor: object) -> Handle:
        names = [name for name in self.rooms if name not in self.gone]
        self.handles.append(Handle(self, actor, names[len(self.handles) % len(names)]))
        return self.handles[-1]

    def put(self, value: Any) -> Callable[[], Any]:
        return lambda: value

    def get(self, reference: Callable[[], Any]) -> Any:
        return reference()

    def wait(self, references: list[Call], *, num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        ready = [each for each in references if each.handle not in self.hanging][:num_returns]
        return ready, [each for each in references if each not in ready]

    def kill(self, handle: Handle) -> None:
        handle.dead = True

    def nodes(self) -> list[dict[str, Any]]:
        return [
            {"NodeID": name, "Alive": name not in self.gone, "Resources": room} for name, room in self.rooms.items()
        ]

    def available_resources(self) -> dict[str, float]:
        return {}

    def get_runtime_context(self) -> Any:
        assert self.current
        return SimpleNamespace(get_node_id=lambda node=self.current.node: node)

    def init(self, address: str, **how: Any) -> None:
        self.shut = False

    def shutdown(self) -> None:
        self.shut = True
