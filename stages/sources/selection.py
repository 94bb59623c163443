"""Pick records of a source by name or by chance, and say who wrote their self-edits."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from stages.errors import BadConfig
from stages.records.frozen import derive_seed
from stages.records.record import Record


@dataclass(frozen=True)
class Sample:
    """A subset picked by identity: the `size` tasks that rank first under the seed, after the first `skip`."""

    size: int
    seed: int = 0
    skip: int = 0


def pick_ids(records: Iterable[Record], ids: Collection[str]) -> Iterator[Record]:
    """Yield the lines of these tasks. Raises BadConfig at the end for an id that no task has."""
    missing, record = dict.fromkeys(ids), None
    for record in records:
        if record.task.id in ids:
            missing.pop(record.task.id, None)
            yield record
    if missing and record:
        raise BadConfig(f"--ids {next(iter(missing))}: no task has this id (seal tasks SOURCE | jq -r .task.id)")


def pick_sample(records: Iterable[Record], sample: Sample) -> Iterator[Record]:
    """Yield all lines of the sampled tasks. Reads everything first: a ranking needs all ids.

    Skips are disjoint: `Sample(50, seed, 0)` and `Sample(50, seed, 50)` share no task.
    """
    lines = list(records)
    ids = sorted({line.task.id for line in lines}, key=lambda task_id: (derive_seed(sample.seed, task_id), task_id))
    if lines and len(ids) < sample.skip + sample.size:
        raise BadConfig(f"--sample {sample.size} --skip {sample.skip}: the source has only {len(ids)} tasks")
    chosen = set(ids[sample.skip : sample.skip + sample.size])
    return (line for line in lines if line.task.id in chosen)


def name_editor(records: Iterable[Record], editor: str) -> Iterator[Record]:
    """Yield the lines with this editor. Ids stay. Raises BadConfig at the end where no line has a self-edit."""
    named, record = False, None
    for record in records:
        named = named or record.edit is not None
        yield record.grow(edit=record.edit.model_copy(update={"model": editor})) if record.edit else record
    if record and not named:
        raise BadConfig(f"--editor {editor}: the source has no self-edits, only tasks")
