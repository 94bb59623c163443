"""--shard i/n: which lines are this run's."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from stages.errors import BadConfig
from stages.records.frozen import content_id
from stages.records.record import Record
from stages.records.schema import SftExample
from stages.sources.training_pairs import TrainingPair

Item = TypeVar("Item", bound=Record | SftExample | TrainingPair)


def in_shard(items: Iterable[Item], shard: str) -> Iterator[Item]:
    """Return the lines whose task falls to shard i of n by its id. All lines of a task stay together."""
    part, _, whole = shard.partition("/")
    if not (part.isdecimal() and whole.isdecimal() and 1 <= int(part) <= int(whole)):
        raise BadConfig(f"--shard {shard}: take i/n with 1 ≤ i ≤ n, for example 1/4")
    wanted, count = int(part) - 1, int(whole)
    return (item for item in items if int(content_id("shard", _task_id(item)), 16) % count == wanted)


def _task_id(item: Record | SftExample | TrainingPair) -> str:
    return item.task.id if isinstance(item, Record) else item.task_id
