"""Work spread over a Ray cluster: the driver keeps plan and journal, actors keep the models, leases go between them.

An actor's lines come back one by one while it works, so a dead one loses what it had not finished alone. Models and
adapters go by way of the disk that all nodes share; through Ray go keys, lines and words.
"""

import itertools
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.cluster.leases import Lease, Leases
from stages.cluster.settings import Cluster
from stages.cluster.workers import Delivery, LeaseServer, LineMaker, Place
from stages.errors import Crashed, SealError, Unavailable
from stages.interfaces import NullProgress, Progress

_KNOCK_S = 10.0  # until an address that does not answer is given up
_POLL_S = 1.0  # the longest wait for a delivery, after which signals and silence are looked at
_SILENCE_S = 30.0  # without any worker, until it is told
_MOST_FAILED_LOADS = 3  # in a row
_MOST_GIVEN_UP = 3  # in a row, without a line between them: it is not the records
_OBJECT_BYTES = 200 * 2**20  # of the cluster that is started here: lines alone go through its memory
_KEYS = ("OPENAI_API_KEY", "SEAL_JUDGE_API_KEY", "HF_TOKEN")


class _Actor:
    """A worker's process. All that it needs comes with the first call."""

    def meet(self, opener: Sequence[Any], place: Place, name: str) -> tuple[str, str]:
        """Enter the run's place; return the names of the machine and of the node. `opener`: a reference, in a list."""
        ray = _get_ray()
        self.server = LeaseServer(lambda: ray.get(opener[0])(), place, name)
        return self.server.greet(), ray.get_runtime_context().get_node_id()

    def serve(self, keys: Sequence[str]) -> Iterator[Delivery]:
        yield from self.server.serve(keys)

    def report(self) -> list[str]:
        return self.server.report()


@dataclass(eq=False)
class _Member:
    """One actor, as the driver knows it."""

    name: str
    actor: Any
    node: str = ""
    loaded: bool = False  # its model is there
    lease: Lease | None = None


class RayWorkers:
    """A Worker whose lines are made by actors, each with a worker of its own."""

    def __init__(
        self,
        cluster: Cluster,
        open_worker: Callable[[], LineMaker],
        key_of: Callable[[Any], str],
        *,
        folders: Sequence[Path] = (),
        unit_of: Callable[[str], str] | None = None,
        cost_of: Callable[[str], float] = lambda key: 1.0,
    ) -> None:
        self.cluster, self.key_of, self.unit_of, self.cost_of = cluster, key_of, unit_of, cost_of
        self.ray = _start(cluster)
        environment = {name: os.environ[name] for name in _KEYS if name in os.environ}
        whole = tuple(dict.fromkeys(folder.absolute() for folder in folders))
        self.place = Place(Path.cwd(), whole, f".seal-{secrets.token_hex(8)}", environment)
        self.opener = self.ray.put(open_worker)
        self.crew: list[_Member] = []
        self.idle: list[_Member] = []
        self.busy: dict[Any, _Member] = {}  # by what is awaited of them
        self.numbers = itertools.count()
        self.given_up = self.failed_loads = 0

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Any]:
        """Yield the lines of these keys as they come from the workers."""
        units: dict[str, list[str]] = {}
        for key in keys:
            units.setdefault(self.unit_of(key) if self.unit_of else key, []).append(key)
        self.place.prepare()
        try:
            yield from self._share_out(list(units.values()), progress)
        finally:
            self.place.clear()

    def report(self) -> Iterable[str]:
        """Return what the workers that are still there say of their work, each once, and leave the cluster."""
        told: dict[str, None] = {}
        with suppress(self.ray.exceptions.RayError):
            asked = [member.actor.report.remote() for member in self.idle]
            for found in self.ray.get(asked, timeout=_POLL_S * 10):
                told.update(dict.fromkeys(found))
        self.ray.shutdown()
        return list(told)

    def _share_out(self, units: Sequence[Sequence[str]], progress: Progress) -> Iterator[Any]:
        self._hire(len(units))
        leases = Leases(units, most=self.cluster.lease, workers=len(self.crew), cost_of=self.cost_of)
        progress.set_phase(f"working on {len(self.crew)} workers")
        began = time.monotonic()
        while True:
            while self.idle and (lease := leases.take()):
                self._send(self.idle.pop(), lease)
            if not leases.waiting and not leases.again and not any(member.lease for member in self.crew):
                return
            ready, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=_POLL_S)
            for reference in ready:
                yield from self._receive(reference, leases, progress)
            if not any(member.node for member in self.crew) and time.monotonic() - began > _SILENCE_S:
                progress.note(f"no worker has come yet: {self._describe_room()}")
                began = float("inf")

    # ---- the crew

    def _hire(self, most: int) -> None:
        """Ask for workers, as many as are wanted or have room."""
        for _ in range(len(self.crew), min(most, self.cluster.workers or self._count_room())):
            self._hire_one()

    def _hire_one(self) -> None:
        kind = self.ray.remote(num_gpus=self.cluster.gpus_per_worker, num_cpus=self.cluster.cpus_per_worker)(_Actor)
        member = _Member(str(next(self.numbers)), kind.remote())
        self.crew.append(member)
        self.busy[member.actor.meet.remote([self.opener], self.place, member.name)] = member

    def _count_room(self) -> int:
        """Return how many workers the whole cluster has room for, at least one."""
        there = self.ray.cluster_resources()
        asked = {"GPU": self.cluster.gpus_per_worker, "CPU": self.cluster.cpus_per_worker}
        return max(1, min((int(there.get(kind, 0) / share) for kind, share in asked.items() if share), default=1))

    def _describe_room(self) -> str:
        free = self.ray.available_resources()
        return (
            f"each wants {self.cluster.cpus_per_worker:g} CPUs and {self.cluster.gpus_per_worker:g} GPUs, and the "
            f"cluster has {free.get('CPU', 0):g} and {free.get('GPU', 0):g} to give"
        )

    # ---- what goes to them and comes from them

    def _send(self, member: _Member, lease: Lease) -> None:
        member.lease = lease
        undone = [key for key in lease.keys if key in lease.undone]
        self.busy[member.actor.serve.options(num_returns="streaming").remote(undone)] = member

    def _receive(self, reference: Any, leases: Leases, progress: Progress) -> Iterator[Any]:
        """Take what has come of a worker: a greeting, a delivery, the end of its lease, or its own."""
        member = self.busy.pop(reference)
        try:
            if member.lease is None:
                host, member.node = self.ray.get(reference)
                self.place.check(member.name, host)
                self.idle.append(member)
                return
            delivery: Delivery = self.ray.get(next(reference))
        except StopIteration:
            member.lease = None
            self.idle.append(member)
            return
        except self.ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, SealError) else error) from None
        except self.ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                raise Unavailable(
                    f"--ray {self.cluster.address}: a node cannot start a worker: {_last_line(error)}"
                ) from None
            self._lose(member, leases, error, progress)
            return
        self.busy[reference] = member
        yield from self._take(delivery, member.lease, progress)
        member.loaded, self.failed_loads = True, 0

    def _take(self, delivery: Delivery, lease: Lease, progress: Progress) -> Iterator[Any]:
        for name, values in delivery.calls:
            getattr(progress, name)(*values)
        for line in delivery.lines:
            lease.undone.discard(self.key_of(line))
            self.given_up = 0
            yield line
        if delivery.error:
            raise delivery.error

    # ---- the end of a worker

    def _lose(self, member: _Member, leases: Leases, error: Exception, progress: Progress) -> None:
        """Find out whose fault it was: nobody's if its node is gone, the model's, or that of one of its lines."""
        lease, loaded, node = member.lease, member.loaded, member.node
        self.ray.kill(member.actor)  # one that is only out of reach may still be at work
        self.crew.remove(member)
        self._hire_one()  # Ray itself would restart it, and refuse all calls meanwhile
        if lease:
            progress.end_work(lease.undone)
        if node and not self._is_up(node):
            progress.note("a node is gone; what its workers had to do goes to others")
        elif not loaded:
            self._count_failed_load(error)
        elif lease:
            self._blame(lease, leases, progress)
            return
        if lease:
            leases.give_back(lease)

    def _is_up(self, node: str) -> bool:
        return any(each["NodeID"] == node and each["Alive"] for each in self.ray.nodes())

    def _count_failed_load(self, error: Exception) -> None:
        self.failed_loads += 1
        if self.failed_loads >= _MOST_FAILED_LOADS:
            raise Crashed(f"workers died {self.failed_loads} times before their model was loaded: {_last_line(error)}")

    def _blame(self, lease: Lease, leases: Leases, progress: Progress) -> None:
        count, given_up = len(lease.undone), leases.lose(lease)
        if not given_up:
            progress.note(f"a worker died with {count} lines to do; they are tried again, fewer at a time")
            return
        self.given_up += 1
        if self.given_up >= _MOST_GIVEN_UP:
            raise Crashed(
                f"workers died over {self.given_up} records in a row: it is not their doing (see `seal doctor`)"
            )
        progress.give_up(given_up)


def _get_ray() -> Any:
    import ray  # late: it takes a second

    return ray


def _start(cluster: Cluster) -> Any:
    """Start Ray on this machine, or join the cluster at the address. Raises Unavailable where there is none."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {}
    _knock(cluster)
    if cluster.address == "local":  # only this machine can reach it, and only who knows the word
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        own = {"object_store_memory": _OBJECT_BYTES, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    ray = _get_ray()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(cluster.address, log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise Unavailable(f"--ray {cluster.address}: {_last_line(error)}") from None
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray puts its own there
    return ray


def _knock(cluster: Cluster) -> None:
    """Raise Unavailable if nobody listens at the address: Ray itself would try for minutes."""
    host, _, port = (cluster.address or "").rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_S).close()
    except OSError as error:
        raise Unavailable(
            f"--ray {cluster.address}: no cluster there ({error.strerror or error}); "
            "start one with `ray start --head`, or give --ray local"
        ) from None


def _last_line(error: Exception) -> str:
    """Return what an error says at its end: of one with a trace, the reason."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
