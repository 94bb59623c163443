"""Archives of adapters from a service: what is not the adapter that was asked for is refused, and nothing escapes."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from stages.errors import BadConfig, BadInput
from stages.settings import FitConfig
from stages.trainers.tinker.archive import read_archive
from stages.trainers.tinker.trainer import find_shapes, make_blank_model
from tests.trainers.tinker_server import ALPHA, Student, pack, unpack

WEIGHTS = "adapter_model.safetensors"
LORA = {"rank": 2, "seed": 1, "train_attn": True, "train_mlp": True}
Repack = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def good(model_dir: Path) -> bytes:
    """As a service makes it."""
    return Student(model_dir, LORA, torch.float32).archive()


def read(archive: bytes, model: Path, folder: Path) -> dict[str, torch.Tensor]:
    shapes = find_shapes(make_blank_model(str(model)), FitConfig(rank=2, targets=("all-linear",)))
    (folder / "archive").write_bytes(archive)
    (folder / "inside").mkdir()
    return read_archive(folder / "archive", folder / "inside", shapes, ALPHA, "there")


def change(archive: bytes, **named: object) -> bytes:
    """The archive with other settings of its adapter."""
    files = unpack(archive)
    settings = {**json.loads(files["adapter_config.json"]), **named}
    return pack({**files, "adapter_config.json": json.dumps(settings).encode()})


def reshape(archive: bytes, make: Callable[[dict[str, torch.Tensor]], object]) -> bytes:
    files = unpack(archive)
    weights = load(files[WEIGHTS])
    make(weights)
    return pack({**files, WEIGHTS: save(weights)})


def widen(weights: dict[str, torch.Tensor]) -> None:
    name = next(name for name in weights if "lora_B" in name)
    weights[name] = torch.cat([weights[name]] * 2)


def rename(weights: dict[str, torch.Tensor]) -> None:
    for name in [name for name in weights if "q_proj" in name]:
        weights[name.replace("q_proj", "gate")] = weights.pop(name)


def leave_out(weights: dict[str, torch.Tensor]) -> None:
    for name in [name for name in weights if "q_proj" in name]:
        del weights[name]


def link(archive: bytes) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as members:
        member = tarfile.TarInfo(WEIGHTS)
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        members.addfile(member)
    return data.getvalue()


def leave_holes(archive: bytes) -> bytes:
    """A file of 32 MiB of which no byte is in the archive."""
    data, count = io.BytesIO(), str(2**25)
    with tarfile.open(fileobj=data, mode="w") as members:
        member = tarfile.TarInfo(WEIGHTS)
        member.pax_headers = {"GNU.sparse.map": f"{count},0", "GNU.sparse.size": count}
        members.addfile(member)
    return data.getvalue()


def climb(archive: bytes) -> bytes:
    """The same adapter, under names that lead out of the folder."""
    files = {f"../../{name}": content for name, content in unpack(archive).items()}
    return pack({**files, "/../escaped": b"x", "../escaped": b"x"}, "w")


@pytest.mark.parametrize(
    "repack",
    [
        lambda archive: archive,
        lambda archive: pack(unpack(archive), "w"),
        climb,
        lambda archive: pack({f"model/{name}": content for name, content in unpack(archive).items()}),
        lambda archive: change(archive, target_modules=None),  # as SkyRL's server leaves it
    ],
    ids=["gzip", "plain", "names that lead out", "in a folder", "without its layers' names"],
)
def test_the_weights_are_read_wherever_they_lie_in_it(
    repack: Repack, good: bytes, model_dir: Path, tmp_path: Path
) -> None:
    found, wanted = read(repack(good), model_dir, tmp_path), load(unpack(good)[WEIGHTS])
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in found)
    files = {each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*") if each.is_file()}
    assert files == {"archive", f"inside/{WEIGHTS}", "inside/adapter_config.json"}


BROKEN: dict[str, tuple[Repack, type[Exception], str]] = {
    "cut off": (lambda archive: archive[: len(archive) // 2], BadInput, "cut off or damaged"),
    "no archive": (lambda archive: b"<html>" * 100, BadInput, "cut off or damaged"),
    "a link": (link, BadInput, "is a link or no file"),
    "weights cut off": (
        lambda archive: pack({**(files := unpack(archive)), WEIGHTS: files[WEIGHTS][:-8]}),
        BadInput,
        "cut off or damaged",
    ),
    "twice": (lambda archive: pack({**unpack(archive), f"again/{WEIGHTS}": b""}), BadInput, "is there twice"),
    "a bomb": (lambda archive: pack({"zeros": bytes(2**25)}), BadInput, "unpacks to more than"),
    "holes": (leave_holes, BadInput, "has holes"),
    "no settings": (lambda archive: pack({WEIGHTS: unpack(archive)[WEIGHTS]}), BadInput, "adapter_config.json"),
    "a whole model": (lambda archive: pack({"model.safetensors": b""}), BadConfig, "no adapter_model.safetensors, but"),
    "another alpha": (lambda archive: change(archive, lora_alpha=16), BadConfig, "alpha 16, not 32: give --alpha 16"),
    "another rank": (lambda archive: change(archive, r=4), BadInput, "has rank 2, not 4"),
    "DoRA": (lambda archive: change(archive, use_dora=True), BadConfig, "'use_dora', which is no plain LoRA"),
    "rank-stabilized": (lambda archive: change(archive, use_rslora=True), BadConfig, "'use_rslora', which is no plain"),
    "other sizes": (lambda archive: reshape(archive, widen), BadConfig, r"has parts of .*, not .*--base-model"),
    "other layers": (lambda archive: reshape(archive, rename), BadConfig, "self_attn.gate', which was not asked for"),
    "fewer layers": (lambda archive: reshape(archive, leave_out), BadConfig, "does not train .*q_proj"),
    "more than a LoRA": (
        lambda archive: reshape(archive, lambda weights: weights.update(embed=torch.zeros(2))),
        BadConfig,
        "more than LoRA weights",
    ),
}


@pytest.mark.parametrize(("repack", "kind", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_an_archive_that_is_not_the_adapter_asked_for_is_refused(
    repack: Repack, kind: type[Exception], words: str, good: bytes, model_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words):
        read(repack(good), model_dir, tmp_path)
