"""Checkpoints of a training by step: one that died goes on behind the last of them, to the same adapter.

A checkpoint lies beside the adapter to come, in a directory of its own, and goes when that is there.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from stages.files import TRAINING, TRAINING_FILE, make_folder, replace_file
from stages.interfaces import FitJob


@dataclass(frozen=True)
class TrainingState:
    """What the next steps depend on: weights and AdamW's moments (n,), and the losses of all steps so far (steps,)."""

    weights: Tensor
    first_moment: Tensor
    second_moment: Tensor
    losses: Tensor


def write_state(job: FitJob, state: TrainingState, way: str) -> None:
    """Replace the job's checkpoint: the old one or the new one is there, whole. `way`: how the model computes."""
    from safetensors.torch import save

    folder = _get_folder(job.out)
    make_folder(folder)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in vars(state).items()}
    replace_file(folder / TRAINING_FILE, save(tensors, {"job": job.id, "way": way}))


def read_state(job: FitJob, like: Tensor, steps: int, way: str) -> TrainingState | None:
    """Return the job's checkpoint; None where there is none of weights `like` these (n,) within so many steps.

    The job's id says what it is trained on and with which settings, `way` how the model computes: no other training is
    taken up.
    """
    from safetensors import SafetensorError, safe_open

    path = _get_folder(job.out) / TRAINING_FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            known = file.metadata() == {"job": job.id, "way": way}
            found = TrainingState(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (SafetensorError, TypeError):  # torn by a disk, or not ours
        return None
    rows = (found.weights, found.first_moment, found.second_moment)
    fits = all(row.shape == like.shape and row.dtype == like.dtype for row in rows)
    return found if known and fits and 0 < len(found.losses) < steps else None


def remove_state(out: Path) -> None:
    """Remove the checkpoint of an adapter that is there, or cannot be trained."""
    shutil.rmtree(_get_folder(out), ignore_errors=True)


def _get_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}{TRAINING}")
