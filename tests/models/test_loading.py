"""Loading models and adapters: what comes back, and the words of what cannot be loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.errors import BadConfig, BadInput, MissingInput, SealError
from stages.models import device as device_module
from stages.models.checkpoints import CHECKPOINT_FILE, fingerprint, read_checkpoint
from stages.models.device import Device, has_fast_bfloat16
from stages.models.inspection import check_model
from stages.models.loading import load_model, load_tokenizer
from stages.records.schema import Checkpoint
from stages.trainers.sft import save_model
from tests.tiny_models import make_llama


def test_a_model_is_loaded_frozen_in_eval_mode_and_in_the_wished_precision(model_dir: Path) -> None:
    network = load_model(str(model_dir), Device("cpu", "float64"))
    assert network.dtype == torch.float64
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())


def test_a_tokenizer_without_pad_token_pads_with_its_end_token(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    settings = tmp_path / "model" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "pad_token": None}))
    tokenizer = load_tokenizer(str(tmp_path / "model"))
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 0


def test_a_tokenizer_without_end_token_is_refused(model_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    settings = tmp_path / "model" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "eos_token": None}))
    with pytest.raises(BadInput, match="its tokenizer has no end token"):
        load_tokenizer(str(tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("empty", BadInput, "not a model directory (it has no config.json)"),
        ("file", BadInput, "a file, but a model is a directory"),
        ("absent", MissingInput, "no such directory (hub names look like owner/name)"),
    ],
)
def test_what_is_no_model_is_named_before_anything_is_loaded(
    tmp_path: Path, name: str, kind: type[SealError], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(kind) as caught:
        check_model(str(tmp_path / name))
    assert words in str(caught.value)
    assert f"--model {tmp_path / name}" in str(caught.value)


@pytest.mark.parametrize("data", [None, b"torn"])
def test_a_model_directory_without_readable_weights_is_bad_input(
    model_dir: Path, tmp_path: Path, data: bytes | None
) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.unlink() if data is None else weights.write_bytes(data)
    with pytest.raises(BadInput, match="cannot be loaded: "):
        load_model(str(tmp_path / "model"), Device("cpu"))


def test_a_checkpoint_that_lacks_a_weight_is_refused_instead_of_filled_at_random(
    model_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        BadConfig, match=r"no weights for model\.layers\.1\.mlp\.up_proj\.weight; the checkpoint is not"
    ):
        load_model(str(tmp_path / "model"), Device("cpu"))


def test_tied_weights_are_not_missing(tmp_path: Path) -> None:
    tied = make_llama(tmp_path / "tied", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")
    load_model(str(tied), Device("cpu"))


def test_a_model_that_loads_and_cannot_run_is_told_at_once(tmp_path: Path) -> None:
    uneven = make_llama(tmp_path / "uneven", num_attention_heads=4, num_key_value_heads=3)
    with pytest.raises(BadConfig, match=r"uneven: does not run in float32 on cpu: "):
        load_model(str(uneven), Device("cpu", "float32"))


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (Device("cpu", "float16"), "--dtype float16: take one of auto, float32, bfloat16, float64"),
        (Device("tpot"), "--device tpot: take auto, cpu, cuda or cuda:N"),
    ],
)
def test_an_unknown_device_or_precision_names_those_that_exist(device: Device, words: str) -> None:
    with pytest.raises(BadConfig, match=words):
        device.resolve()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_an_absent_gpu_is_said_and_auto_takes_the_cpu_in_float32() -> None:
    assert Device().resolve() == (torch.device("cpu"), torch.float32)
    with pytest.raises(BadConfig, match="--device cuda: no GPU that this torch can use; take --device cpu"):
        Device("cuda").resolve()


@pytest.mark.parametrize("name", ["cpu", "auto"])
def test_bfloat16_on_a_cpu_that_only_emulates_it_is_refused_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device_module, "has_fast_bfloat16", lambda: True)
    assert Device(name, "bfloat16").resolve() == (torch.device("cpu"), torch.bfloat16)
    monkeypatch.setattr(device_module, "has_fast_bfloat16", lambda: False)
    with pytest.raises(
        BadConfig, match=r"--dtype bfloat16: this CPU .* only emulates .*; take --dtype float32 or auto"
    ):
        Device(name, "bfloat16").resolve()
    for dtype in ("auto", "float32", "float64"):
        assert Device(name, dtype).resolve()[1] != torch.bfloat16


def test_a_gpus_bfloat16_is_not_the_cpus_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device_module, "has_fast_bfloat16", lambda: False)
    for device in (Device(), Device("cuda:1", "bfloat16")):
        assert device.resolve()[1] == torch.bfloat16


@pytest.mark.parametrize(
    ("sets", "onednn", "native"),
    [
        ({"avx2": True, "avx512_bf16": False}, True, False),
        ({"avx512_bf16": True}, True, True),
        ({"avx512_bf16": True}, False, False),  # ONEDNN_MAX_CPU_ISA=AVX2
        ({"amx_bf16": True}, True, True),
        ({"architecture": "arm64", "bf16": True}, True, True),
        ({"architecture": "arm64", "bf16": False}, True, False),
    ],
)
def test_the_machine_says_whether_it_multiplies_in_bfloat16(
    monkeypatch: pytest.MonkeyPatch, sets: dict[str, object], onednn: bool, native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: sets, raising=False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn, raising=False)
    assert has_fast_bfloat16.__wrapped__() == native


# ---- which weights a name stands for


@pytest.fixture
def model(model_dir: Path, tmp_path: Path) -> Path:
    """A model of our own to change, with every file that some models have."""
    folder = tmp_path / "model"
    shutil.copytree(model_dir, folder)
    for name in ("chat_template.jinja", "vocab.json", "merges.txt", "spiece.model"):
        (folder / name).write_text("one")
    return folder


def flip(path: Path, place: int) -> None:
    """Another byte in this place of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "vocab.json",
        "merges.txt",
        "spiece.model",
    ],
)
def test_another_model_file_is_another_model(model: Path, name: str) -> None:
    before = fingerprint(str(model))
    flip(model / name, 0)
    edited = fingerprint(str(model))
    (model / name).unlink()
    assert len({before, edited, fingerprint(str(model))}) == 3


@pytest.mark.parametrize("place", [5_000, -1])
def test_another_byte_of_the_weights_is_another_model(model: Path, place: int) -> None:
    before = fingerprint(str(model))
    flip(model / "model.safetensors", place)
    assert fingerprint(str(model)) != before


def test_what_lies_beside_a_model_does_not_change_it(model: Path) -> None:
    before = fingerprint(str(model))
    for name in ("README.md", CHECKPOINT_FILE, "x.manifest.json"):
        (model / name).write_text("{}")
    (model / "tokenizer-backup").mkdir()
    assert fingerprint(str(model)) == before


# ---- a model that a run made


LINE = Checkpoint(model="tuned", base="m", examples=1, steps=1, loss_first=2.0, loss_last=1.0, fit={})


@pytest.fixture
def tuned(chat_dir: Path, tmp_path: Path) -> Path:
    """What a finished training leaves."""
    network, tokenizer = load_model(str(chat_dir), Device("cpu")), load_tokenizer(str(chat_dir))
    about = {"run": "r", "checkpoint": LINE.model_dump(mode="json")}
    save_model(network, tokenizer, tmp_path / "tuned", about)
    return tmp_path / "tuned"


def test_a_whole_model_is_known_by_the_run_that_made_it_whatever_lies_beside_it(tuned: Path) -> None:
    files = {path.name: path.stat().st_size for path in tuned.iterdir() if path.name != CHECKPOINT_FILE}
    assert json.loads((tuned / CHECKPOINT_FILE).read_text())["files"] == files
    (tuned / "README.md").write_text("mine")
    assert read_checkpoint(tuned, "r") == LINE
    assert read_checkpoint(tuned, "another") is None


def test_a_model_that_lost_a_file_or_a_part_of_one_is_not_whole(tuned: Path) -> None:
    for path in [path for path in tuned.iterdir() if path.name != CHECKPOINT_FILE]:
        data = path.read_bytes()
        path.unlink()
        assert read_checkpoint(tuned, "r") is None
        path.write_bytes(data[:-1])
        assert read_checkpoint(tuned, "r") is None
        path.write_bytes(data)
    assert read_checkpoint(tuned, "r") == LINE


@pytest.mark.parametrize("files", [None, [], ["config.json"], "config.json", {"config.json": "long"}, {"a": 1}])
def test_a_model_whose_sizes_cannot_be_told_is_not_whole(tuned: Path, files: object) -> None:
    about = json.loads((tuned / CHECKPOINT_FILE).read_text())
    (tuned / CHECKPOINT_FILE).write_text(json.dumps({**about, "files": files}))
    assert read_checkpoint(tuned, "r") is None
    (tuned / CHECKPOINT_FILE).write_text(json.dumps({key: about[key] for key in ("run", "checkpoint")}))
    assert read_checkpoint(tuned, "r") is None
