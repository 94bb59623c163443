"""What can be wrong with an adapter that an engine has: each way as a copy of a good one."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def copy(adapter: Path, folder: Path) -> Path:
    shutil.copytree(adapter, folder)
    return folder


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    path = folder / WEIGHTS
    with safe_open(path, "pt") as file:
        about = file.metadata()
    save_file(change(load_file(path)), path, about)
    return folder


def zero(adapter: Path, folder: Path) -> Path:
    """Its B is 0, as before the first step."""
    return change_weights(
        copy(adapter, folder),
        lambda state: {name: each * 0 if "lora_B" in name else each for name, each in state.items()},
    )


def set_alpha(factor: float) -> Callable[[Path, Path], Path]:
    """Its alpha is another than it was trained with."""

    def damage(adapter: Path, folder: Path) -> Path:
        path = copy(adapter, folder) / SETTINGS
        settings = json.loads(path.read_bytes())
        path.write_text(json.dumps({**settings, "lora_alpha": factor * settings["lora_alpha"]}))
        return folder

    return damage


def drop_last_layer(adapter: Path, folder: Path) -> Path:
    """Its file is whole, and lacks the tensors of the last layer."""
    last = max(name.split(".layers.")[1].split(".")[0] for name in load_file(adapter / WEIGHTS))
    return change_weights(
        copy(adapter, folder),
        lambda state: {name: each for name, each in state.items() if f".layers.{last}." not in name},
    )


def cut_file(adapter: Path, folder: Path) -> Path:
    """Its file ends in the middle."""
    path = copy(adapter, folder) / WEIGHTS
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return folder


def perturb(model: Path, folder: Path, share: float = 0.3) -> Path:
    """A base model of the same name and shape with other weights."""
    shutil.copytree(model, folder)
    state = load_file(folder / "model.safetensors")
    noise = torch.Generator().manual_seed(0)
    changed = {
        name: each + share * each.std() * torch.randn(each.shape, generator=noise) if each.dim() > 1 else each
        for name, each in state.items()
    }
    save_file(changed, folder / "model.safetensors", {"format": "pt"})
    return folder


DAMAGES: Mapping[str, Callable[[Path, Path], Path]] = {
    "zeroed": zero,
    "alpha doubled": set_alpha(2),
    "alpha halved": set_alpha(0.5),
    "last layer missing": drop_last_layer,
    "file cut": cut_file,
}
