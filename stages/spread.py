"""A stage's work, done by the workers of a cluster: the same lines, keys and journal."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stages.cluster.ray import RayWorkers
from stages.cluster.settings import Cluster
from stages.records.record import Record
from stages.work import Work, Worker


def spread(work: Work, cluster: Cluster, folders: Sequence[Path] = ()) -> Work:
    """Return the work with its lines made by the workers of a cluster.

    `folders`: where the run writes; all workers must see them. Raises BadConfig for work that is one piece.
    """
    plan = work.plan

    def open_workers(finished: Sequence[Record]) -> Worker:
        return RayWorkers(
            cluster,
            work.open,
            plan.key_of,
            finished=finished,
            folders=folders,
            unit_of=plan.unit_of,
            cost_of=work.cost_of,
        )

    return replace(work, open=open_workers)
