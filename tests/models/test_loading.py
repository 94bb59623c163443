"""Loading models and adapters: what comes back, and the words of what cannot be loaded."""

import json
import logging
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from stages.errors import BadConfig, BadInput, MissingInput, SealError
from stages.models import device as device_module
from stages.models.device import Device, has_fast_bfloat16
from stages.models.devices import hardware
from stages.models.directories import check_model
from stages.models.libraries import quiet_libraries
from stages.models.loading import load_model, load_tokenizer
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
        *(
            (Device(name), f"--device {name}: take auto, cpu, cuda, cuda:N, mps or xpu")
            for name in ("tpot", "meta", "cpu:1")
        ),
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


@pytest.mark.parametrize(("shown", "kind"), [(None, "cuda"), ("1,0", "cuda"), ("", "cpu"), ("-1", "cpu")])
def test_a_gpu_that_is_hidden_is_not_foreseen(monkeypatch: pytest.MonkeyPatch, shown: str | None, kind: str) -> None:
    monkeypatch.setattr(hardware, "_find_builds", lambda: ("cuda",))
    monkeypatch.setattr(Path, "exists", lambda path: str(path) == "/dev/nvidiactl")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert Device().foresee() == {"device": kind, "dtype": "bfloat16" if kind == "cuda" else "float32"}


@pytest.mark.parametrize("build", ["cuda", "hip"])
def test_a_gpu_that_torch_was_not_built_for_is_not_foreseen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build: str
) -> None:
    monkeypatch.setattr(hardware, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    for version, builds in (("None", ()), ("'13.0'", (build,))):
        (tmp_path / "version.py").write_text(f"__version__ = '2.13'\n{build}: Optional[str] = {version}\n")
        hardware._find_builds.cache_clear()
        assert hardware._find_builds() == builds
    hardware._find_builds.cache_clear()


def test_a_device_that_was_not_foreseen_is_refused_and_the_one_that_is_there_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    Device().check_foreseen()
    monkeypatch.setattr(device_module, "expect_gpu", lambda: True)  # a driver that this torch is too new for
    with pytest.raises(
        BadConfig, match=r"should take cuda in bfloat16, and it takes cpu in float32; give --device cpu"
    ):
        Device().check_foreseen()
    Device("cpu").check_foreseen()


def test_a_gpus_bfloat16_is_not_the_cpus_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: (9, 0))
    monkeypatch.setattr(device_module, "has_fast_bfloat16", lambda: False)
    for device in (Device(), Device("cuda:1", "bfloat16")):
        assert device.resolve()[1] == torch.bfloat16
    with pytest.raises(BadConfig, match="--device cuda:2: the GPUs here are cuda:0 to cuda:1"):
        Device("cuda:2").resolve()


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


def test_bitsandbytes_does_not_advise_a_kernel_of_a_hub() -> None:
    quiet_libraries()
    assert not logging.getLogger("bitsandbytes.backends.cpu.ops").isEnabledFor(logging.WARNING)
