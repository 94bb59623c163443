"""Check what training all weights of a model needs: LoRAs take little beyond the model itself."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from stages.checks.finding import Finding
from stages.checks.machine import format_bytes

_STATE = 12  # bytes a weight: float32, and AdamW's two moments
_GRADIENT = 4


def check_full_training(weights: int, free: int, width: int, out: Path) -> Iterator[Finding]:
    """Check memory and disk for a training of so many weights, of `width` bytes, with `free` bytes of memory.

    Nothing is wrong where it does not fit: who trains LoRAs does not need it.
    """
    own = 0 if width == 4 else width  # weights in another precision are a copy of those that are trained
    need = weights * (_STATE + _GRADIENT + own)
    advice = "train LoRAs (the default), or take a smaller model or a larger machine"
    found = f"all weights with gradients and AdamW's moments take {format_bytes(need)}, {format_bytes(free)} free"
    yield Finding("full training", need < free or None, found, None if need < free else advice)
    folder = next(path for path in (out, *out.absolute().parents) if path.exists())
    room, model, kept = shutil.disk_usage(folder).free, weights * width, 2 * weights * _STATE
    fits = model + kept < room
    found = f"a trained model takes {format_bytes(model)} of the disk, its checkpoints {format_bytes(kept)}"
    advice = "leave --checkpoint-every out, or give another disk with --out"
    yield Finding("model disk", fits or None, f"{found}; {format_bytes(room)} free", None if fits else advice)
