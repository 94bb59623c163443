"""Work spread over a Ray cluster: the driver keeps plan and journal, actors keep the models, leases go between them.

An actor's lines come back one by one while it works, so a dead one loses what it had not finished alone. Models and
adapters go by way of the disk that all nodes share; through Ray go keys, lines and words.
"""

import itertools
import os
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from stages.cluster.kin import KinLines
from stages.cluster.leases import Lease, Leases, SingleKeys
from stages.cluster.place import Place
from stages.cluster.settings import Cluster
from stages.cluster.start import count_room, describe_room, find_reason, import_ray, note_shares, start_ray
from stages.cluster.workers import Delivery, LeaseServer, LineCodec, LineMaker, Opening
from stages.errors import Crashed, SealError, Unavailable
from stages.interfaces import NullProgress, Progress
from stages.records.stored.by_key import ItemsByKey, RecordsByKey

_POLL_S = 1.0  # the longest wait for a delivery, after which signals and silence are looked at
_SILENCE_S = 30.0  # without any worker, until it is told
_MOST_FAILED_LOADS = 3  # in a row
_MOST_GIVEN_UP = 3  # in a row, without a line between them: it is not the records
_NODE_DIED = "its node has died"  # Ray's words; of a worker that has not come yet nothing else tells the node
_AT_ONCE = 64  # deliveries that are taken together; their lines are on the driver's disk before others are asked for
_REPORT_S = 3.0  # the longest wait for what all workers have to say in the end
_COUNTS = re.compile(
    r"(\d+)(?: of (\d+))? (.+)", re.DOTALL
)  # a note of a lease that is one of the whole run's when summed
_Leased = ItemsByKey[Any] | RecordsByKey
_KEYS = ("OPENAI_API_KEY", "SEAL_JUDGE_API_KEY", "HF_TOKEN")


class _Actor:
    """A worker's process. All that it needs comes with the first call."""

    def meet(self, opener: Sequence[Any], place: Place, name: str) -> tuple[str, str]:
        """Enter the run's place; return the names of the machine and of the node. `opener`: a reference to the Opening,
        in a list: so that a model that cannot be read is no fault of the place.
        """
        ray = import_ray()
        host = place.enter(name)
        self.server = LeaseServer(lambda: ray.get(opener[0]))
        return host, ray.get_runtime_context().get_node_id()

    def load(self) -> Exception | None:
        return self.server.load()

    def serve(self, keys: Sequence[str], finished: Sequence[Any], packed: Any) -> Iterator[Delivery]:
        yield from self.server.serve(keys, finished, packed)

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
    """A Worker whose lines are made by actors, each with a worker of its own. They come as the codec encodes them.

    `finished`: lines that are there already. Whoever makes keys of a unit gets its lines, and the latest of its kin.
    `leased`: what the lines are made of, of which each lease brings its part.
    """

    def __init__(
        self,
        cluster: Cluster,
        open_worker: Callable[[Sequence[Any]], LineMaker],
        codec: LineCodec,
        *,
        finished: Sequence[Any] = (),
        folders: Sequence[Path] = (),
        environment: Mapping[str, str] = {},
        unit_of: Callable[[str], str] | None = None,
        kin_of: Callable[[str], str] | None = None,
        cost_of: Callable[[str], float] | None = None,
        leased: _Leased | None = None,
    ) -> None:
        self.cluster, self.codec, self.cost_of, self.leased = cluster, codec, cost_of, leased
        self.unit_of, self.finished, named = unit_of, finished, kin_of or unit_of
        self.kin = KinLines(named, one_is_enough=kin_of is not None) if named else None
        self.ray = start_ray(cluster)
        keys = {name: os.environ[name] for name in _KEYS if name in os.environ}
        whole = tuple(dict.fromkeys(folder.absolute() for folder in folders))
        self.place = Place(Path.cwd(), whole, f".seal-{secrets.token_hex(8)}", {**keys, **environment})
        self.held = ExitStack()
        self.opener = self.ray.put(Opening(open_worker, codec, leased))  # type: ignore[arg-type] # becomes its portion
        self.kind = self.ray.remote(num_gpus=cluster.gpus_per_worker, num_cpus=cluster.cpus_per_worker)(_Actor)
        self.crew: list[_Member] = []
        self.idle: list[_Member] = []
        self.busy: dict[Any, _Member] = {}  # by what is awaited of them
        self.numbers = itertools.count()
        self.given_up = self.failed_loads = 0
        self.told = set[str]()
        self.counts: dict[str, list[int]] = {}  # what notes have counted, by their words
        self.has_more = False

    def make(self, keys: Collection[str], progress: Progress = NullProgress()) -> Iterator[Any]:
        """Yield the lines of these keys as they come from the workers."""
        if not self.crew:
            self.held.enter_context(self.place.hold())
        units = self._group(keys)
        if self.kin:
            codec = self.codec
            self.kin.expect(keys, ((codec.key_of(line), partial(codec.encode, line)) for line in self.finished))
        self._hire(len(units))
        leases = Leases(units, most=self.cluster.lease, workers=len(self.crew), cost_of=self.cost_of)
        for text in note_shares(self.ray, self.cluster):
            self._note(text, progress)
        progress.set_phase(f"working on {len(self.crew)} workers")
        began = time.monotonic()
        while True:
            while self.idle and (lease := leases.take()):
                self._send(self.idle.pop(), lease)
            if not leases.waiting and not leases.again and not any(member.lease for member in self.crew):
                self._tell_counts(progress)
                return
            lines: list[Any] = []
            try:
                for reference in self._wait():
                    self._receive(reference, leases, progress, lines)
            finally:
                for number, line in enumerate(lines, 1):
                    self.has_more = number < len(lines)
                    yield line
            if not any(member.node for member in self.crew) and time.monotonic() - began > _SILENCE_S:
                progress.note(f"no worker has come yet: {describe_room(self.ray, self.cluster)}")
                began = float("inf")

    def _wait(self) -> list[Any]:
        """Return what is ready, as soon as there is something: some of it, where there is much."""
        ready, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=_POLL_S)
        if ready:
            ready, _ = self.ray.wait(list(self.busy), num_returns=min(len(self.busy), _AT_ONCE), timeout=0)
        return list(ready)

    def report(self) -> Iterable[str]:
        """Return what the workers that are still there say of their work, each once, and leave the cluster."""
        self.held.close()
        told: dict[str, None] = {}
        with suppress(self.ray.exceptions.RayError):
            asked = [member.actor.report.remote() for member in self.idle]
            ready, _ = self.ray.wait(asked, num_returns=len(asked), timeout=_REPORT_S) if asked else ([], [])
            for answer in ready:
                with suppress(self.ray.exceptions.RayError):  # it is gone
                    told.update(dict.fromkeys(self.ray.get(answer)))
        self.ray.shutdown()
        return list(told)

    # ---- the crew

    def _hire(self, most: int) -> None:
        """Ask for workers, as many as are wanted or have room."""
        for _ in range(len(self.crew), min(most, self.cluster.workers or count_room(self.ray, self.cluster))):
            self._hire_one()

    def _hire_one(self) -> None:
        member = _Member(str(next(self.numbers)), self.kind.remote())
        self.crew.append(member)
        self.busy[member.actor.meet.remote([self.opener], self.place, member.name)] = member

    # ---- what goes to them and comes from them

    def _send(self, member: _Member, lease: Lease) -> None:
        member.lease = lease
        keys = lease.keys
        known = self.kin.list_for(keys) if self.kin else []
        packed = None if self.leased is None else self.leased.pack(keys)
        self.busy[member.actor.serve.options(num_returns="streaming").remote(keys, known, packed)] = member

    def _receive(self, reference: Any, leases: Leases, progress: Progress, lines: list[Any]) -> None:
        """Take what has come of a worker: its name, its model, a delivery, the end of its lease, or its own."""
        member = self.busy.pop(reference)
        try:
            if not member.node:
                host, member.node = self.ray.get(reference)
                self.place.check(member.name, host)
                self.busy[member.actor.load.remote()] = member
                return
            if member.lease is None:
                if error := self.ray.get(reference):
                    raise error
                member.loaded, self.failed_loads = True, 0
                self.idle.append(member)
                return
            delivery: Delivery = self.ray.get(next(reference))
        except StopIteration:
            member.lease = None
            self.idle.append(member)
            return
        except self.ray.exceptions.RayTaskError as failure:
            raise (failure.cause if isinstance(failure.cause, SealError) else failure) from None
        except self.ray.exceptions.RayError as failure:
            if getattr(failure, "actor_init_failed", False):
                raise Unavailable(
                    f"--ray {self.cluster.address}: a node cannot start a worker: {find_reason(failure)}"
                ) from None
            self._lose(member, leases, failure, progress)
            return
        self.busy[reference], self.failed_loads = member, 0
        self._take(delivery, member.lease, progress, lines)

    def _take(self, delivery: Delivery, lease: Lease, progress: Progress, lines: list[Any]) -> None:
        for text in delivery.notes:
            self._note(text, progress)
        if delivery.trained:
            progress.add_trained(delivery.trained)
        if delivery.written:
            progress.add_written(delivery.written)
        for key, line in delivery.lines:
            lease.finish(key)
            if self.kin:
                self.kin.add(key, line)
            self.given_up = 0
            lines.append(line)
        if delivery.error:
            raise delivery.error

    def _note(self, text: str, progress: Progress) -> None:
        """Tell what a worker says: the same once, and counts of a lease in the end, summed."""
        if counted := _COUNTS.fullmatch(text):
            counts = self.counts.setdefault(counted[3], [0, 0])
            counts[0] += int(counted[1])
            counts[1] += int(counted[2] or 0)
        elif text not in self.told:
            self.told.add(text)
            progress.note(text)

    def _tell_counts(self, progress: Progress) -> None:
        for what, (some, every) in self.counts.items():
            progress.note(f"{some} of {every} {what}" if every else f"{some} {what}")
        self.counts.clear()

    def _group(self, keys: Collection[str]) -> Sequence[Sequence[str]]:
        """Return the units of these keys."""
        if self.unit_of is None:
            return SingleKeys(list(keys))
        units: dict[str, list[str]] = {}
        for key in keys:
            units.setdefault(self.unit_of(key), []).append(key)
        return list(units.values())

    # ---- the end of a worker

    def _lose(self, member: _Member, leases: Leases, error: Exception, progress: Progress) -> None:
        """Find out whose fault it was: nobody's if its node is gone, the model's, or that of one of its lines."""
        lease, loaded, node = member.lease, member.loaded, member.node
        self.ray.kill(member.actor)  # one that is only out of reach may still be at work
        self.crew.remove(member)
        self._hire_one()  # Ray itself would restart it, and refuse all calls meanwhile
        if (node and not self._is_up(node)) or _NODE_DIED in str(error):
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
            raise Crashed(f"workers died {self.failed_loads} times before their model was loaded: {find_reason(error)}")

    def _blame(self, lease: Lease, leases: Leases, progress: Progress) -> None:
        count, given_up = len(lease.keys), leases.lose(lease)
        if not given_up:
            progress.note(f"a worker died with {count} lines to do; they are tried again, fewer at a time")
            return
        self.given_up += 1
        if self.given_up >= _MOST_GIVEN_UP:
            raise Crashed(
                f"workers died over {self.given_up} records in a row: it is not their doing (see `seal doctor`)"
            )
        progress.give_up(given_up)
