"""A stage's work, done by the workers of a cluster: the same lines, keys and journal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from platform import node
from typing import Any

from stages.cluster.ray import RayWorkers
from stages.cluster.settings import Cluster
from stages.errors import BadConfig, BadInput, MissingInput
from stages.models.checkpoints import fingerprint
from stages.records.adapter_paths import make_path_relative
from stages.records.jsonl import EncodedLine, encode_line
from stages.records.record import Record
from stages.records.stored.by_key import ItemsByKey, RecordsByKey
from stages.records.stored.lines import LineReader
from stages.work import Work, Worker


def spread(work: Work, cluster: Cluster, folders: Sequence[Path], settings: Mapping[str, Any], file: Path) -> Work:
    """Return the work with its lines made by the workers of a cluster, and encoded as they are to stand in the file.

    `folders`: where the run writes; all workers must see them. `settings`: the run's, with its model and what tells
    the weights from others (see `weights_of`), if it loads one. Raises BadConfig for a cache of no model, and for GPUs
    of workers that are not what the run computes on.
    """
    model, weights = str(settings.get("model")), settings.get("weights")
    if cluster.model_cache and not weights:
        raise BadConfig(f"--model-cache {cluster.model_cache}: this run loads no model; leave it out")
    environment, plan, is_folder = _fix_device(cluster, settings.get("device")), work.plan, Path(model).is_dir()

    def open_workers(finished: Sequence[Record]) -> Worker:
        return RayWorkers(
            cluster,
            partial(_open_checked, work.open, model, weights, is_folder),
            _Codec(file, plan.key_of),
            finished=finished,
            folders=folders,
            environment=environment | cluster.environment,
            unit_of=plan.unit_of,
            kin_of=plan.kin_of,
            cost_of=work.cost_of,
            leased=work.leased if isinstance(work.leased, ItemsByKey | RecordsByKey) else None,
        )

    return replace(work, open=open_workers)


class _Codec:
    """Lines as they stand in the run's file, where paths to adapters are told from its folder."""

    def __init__(self, file: Path, key_of: Callable[[Record], str]) -> None:
        self.file, self.key_of = file, key_of

    def encode(self, line: Record) -> EncodedLine:
        return EncodedLine(encode_line(make_path_relative(line, self.file.parent)), line.trained)

    def decode(self, encoded: EncodedLine) -> Record:
        return LineReader(self.file)(encoded.data)


def _fix_device(cluster: Cluster, device: str | None) -> dict[str, str]:
    """Return variables by which --device auto is on every node what it is here: settings and ids name it."""
    gpus = f"--gpus-per-worker {cluster.gpus_per_worker:g}"
    if device == "cuda" and not cluster.gpus_per_worker:
        raise BadConfig(f"{gpus}: the workers of a node would all compute on one GPU; give 1, or a share of one")
    if device == "cpu" and cluster.gpus_per_worker:
        raise BadConfig(
            f"{gpus}: the run computes on a CPU, as there is no GPU here; give --device cuda, or leave it out"
        )
    return {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}


def _open_checked(
    open_worker: Callable[[Sequence[Record]], Worker],
    model: str,
    weights: str | None,
    is_folder: bool,
    finished: Sequence[Record],
) -> Worker:
    """Open a worker on its node. Raises MissingInput or BadInput where the model is not there, or another one is."""
    if is_folder and not Path(model).is_dir():
        raise MissingInput(
            f"--model {model}: not on {node()}; put it on a disk that all nodes share, or give a name of the hub"
        )
    if weights and fingerprint(model) != weights:
        raise BadInput(
            f"--model {model}: another model has this name on {node()}; put it on a disk that all nodes share"
        )
    return open_worker(finished)
