"""Where the work of a run goes, and what each of its workers gets."""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge

from stages.errors import BadConfig, refuse_given
from stages.settings import Doc

_LEAST_SHARE = 0.0001  # of a GPU or CPU: Ray counts in these


@dataclass(frozen=True)
class Cluster:
    """Where the work goes, and what each worker gets."""

    panel: ClassVar[str] = "Cluster"
    address: Annotated[
        str | None,
        Doc(
            "Spread the work over Ray: local (this machine), auto (the cluster it belongs to), or an address.",
            "WHERE",
            "--ray",
            values=("local", "auto"),
        ),
    ] = None
    workers: Annotated[int | None, Ge(1), Doc("Workers, each with a model.", "N", default="as many as fit")] = None
    gpus_per_worker: Annotated[float, Ge(0), Doc("GPUs of each worker; 0.5 shares one.", "X")] = 0.0
    cpus_per_worker: Annotated[float, Ge(0), Doc("CPU cores of each worker.", "X")] = 1.0
    lease: Annotated[int, Ge(1), Doc("Most lines that a worker takes at a time; fewer towards the end.", "N")] = 64

    model_cache: Annotated[
        Path | None,
        Doc("Folder on each node's own disk: the model is copied there once, for all workers of the node.", "DIR"),
    ] = None

    def check(self) -> None:
        """Raise BadConfig for flags that would do nothing, shares that Ray does not have, and where it is missing."""
        if self.address is None:
            given = {
                f"--{name.replace('_', '-')}": value
                for name, value in vars(self).items()
                if name != "address" and value != getattr(Cluster, name)
            }
            refuse_given(given, "only --ray has workers; give --ray local, or leave it out")
            return
        for flag, share in (("--gpus-per-worker", self.gpus_per_worker), ("--cpus-per-worker", self.cpus_per_worker)):
            if not math.isfinite(share) or 0 < share < _LEAST_SHARE:
                raise BadConfig(f"{flag} {share:g}: give 0, or a number from {_LEAST_SHARE} on")
        if self.gpus_per_worker > 1 and self.gpus_per_worker % 1:
            raise BadConfig(f"--gpus-per-worker {self.gpus_per_worker:g}: give a share of one GPU, or whole ones")
        if importlib.util.find_spec("ray") is None:
            raise BadConfig(f"--ray {self.address}: needs the package ray; pip install 'seal-toolkit[ray]'")

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a worker finds its node's folder of models; a model of the hub is fetched to it, too."""
        from stages.models.local_copies import MODEL_CACHE  # late, as what imports the records: help does without

        folder = str(self.model_cache.absolute()) if self.model_cache else ""
        return {MODEL_CACHE: folder, "HF_HUB_CACHE": folder} if folder else {}

    @property
    def shares(self) -> dict[str, float]:
        """What a worker gets, by Ray's names."""
        return {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker}
