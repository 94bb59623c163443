"""The checkpoint of an adapter among many: its weights, AdamW's moments, and its losses so far."""

from dataclasses import dataclass

from torch import Tensor

from stages.interfaces import FitJob
from stages.trainers.checkpoints import open_tensors, write_tensors


@dataclass(frozen=True)
class TrainingState:
    """What the next steps depend on: weights and AdamW's moments (n,), and the losses of all steps so far (steps,)."""

    weights: Tensor
    first_moment: Tensor
    second_moment: Tensor
    losses: Tensor


def write_state(job: FitJob, state: TrainingState, way: str) -> None:
    """Replace the job's checkpoint. `way`: how the model computes."""
    write_tensors(job, vars(state), way)


def read_state(job: FitJob, like: Tensor, steps: int, way: str) -> TrainingState | None:
    """Return the job's checkpoint; None where there is none of weights `like` these (n,) within so many steps."""
    with open_tensors(job, way) as file:
        names = set(TrainingState.__dataclass_fields__)
        if file is None or set(file.keys()) != names:
            return None
        found = TrainingState(**{name: file.get_tensor(name) for name in names})
    rows = (found.weights, found.first_moment, found.second_moment)
    fits = all(row.shape == like.shape and row.dtype == like.dtype for row in rows)
    return found if fits and 0 < len(found.losses) < steps else None
