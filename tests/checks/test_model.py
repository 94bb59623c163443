"""A model's parts are tried without a download and without its own code."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from stages.checks.finding import Finding, guard
from stages.checks.model import check_config, check_forward, check_tokenizer, get_room, locate_model
from stages.errors import BadInput, MissingInput
from stages.models.device import Device

NAME = "owner/name"


@pytest.fixture
def model(model_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def only(make: Callable[[], Iterable[Finding]]) -> Finding:
    """The one finding, as a run would have it."""
    (finding,) = guard("check", "advice", make)
    assert finding.advice or finding.ok is not False
    return finding


def test_room_is_counted_where_the_model_would_go() -> None:
    free, each, where = get_room(Device("cpu"))
    assert free > 0
    assert (each, where) == (4, "as float32 on cpu")


def test_a_known_architecture_is_fine(model: Path) -> None:
    found = only(lambda: check_config(model))
    assert (found.ok, found.found) == (True, "llama, LlamaForCausalLM")


@pytest.mark.parametrize(
    ("changes", "ok", "words"),
    [
        ({"model_type": "mystery"}, False, "model_type 'mystery' is none that this transformers knows"),
        ({"model_type": None}, False, "model_type 'None' is none that"),
        ({"model_type": ["llama"]}, False, "is none that this transformers knows"),
        ({"model_type": "clip"}, False, "clip is no causal language model"),
        ({"architectures": ["LlamaForSequenceClassification"]}, None, "not the class for generating text"),
        ({"architectures": None}, True, "llama, no architecture named"),
        ({"architectures": 3}, True, "llama, no architecture named"),
        ({"hidden_size": "wide"}, False, "hidden_size"),
        ({"auto_map": {"AutoConfig": "x.Y"}}, True, "its own code (auto_map) will not be run"),
    ],
)
def test_settings_are_judged(model: Path, changes: dict[str, object], ok: bool | None, words: str) -> None:
    change(model / "config.json", **changes)
    found = only(lambda: check_config(model))
    assert found.ok is ok
    assert words in found.found


@pytest.mark.parametrize("kind", ["llama", "mystery"])
def test_code_that_comes_with_a_model_is_not_run(model: Path, tmp_path: Path, kind: str) -> None:
    (model / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    own = {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M", "AutoTokenizer": ["own.T", None]}
    change(model / "config.json", auto_map=own, model_type=kind)
    change(model / "tokenizer_config.json", auto_map=own, tokenizer_class="T")
    for check in (check_config, check_tokenizer, lambda folder: check_forward(folder, Device("cpu"))):
        only(lambda check=check: check(model))
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_needs_an_end_token(model: Path) -> None:
    found = only(lambda: check_tokenizer(model))
    assert (found.ok, found.found) == (True, "287 tokens, end token '<|endoftext|>', no chat template")
    change(model / "tokenizer_config.json", eos_token=None)
    found = only(lambda: check_tokenizer(model))
    assert (found.ok, found.advice) == (False, "set eos_token in the model's tokenizer_config.json")


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 99_999, b'{"model": {"type": "BPE"}}', b"\xff"])
def test_a_tokenizer_that_does_not_load_ends_as_a_finding(model: Path, content: bytes) -> None:
    (model / "tokenizer.json").write_bytes(content)
    assert only(lambda: check_tokenizer(model)).ok is False


def test_one_token_is_said(model: Path) -> None:
    found = only(lambda: check_forward(model, Device("cpu")))
    assert found.ok is True
    assert "one token in" in found.found


def test_weights_that_give_no_number_are_wrong(model: Path) -> None:
    state = load_file(model / "model.safetensors")
    state["model.norm.weight"][0] = float("nan")
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    found = only(lambda: check_forward(model, Device("cpu")))
    assert found.ok is False
    assert "not finite" in found.found


def cache(folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model in a hub cache, as huggingface_hub lays it."""
    repo = folder / "models--owner--name"
    shutil.copytree(model, repo / "snapshots" / "abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))


def test_a_hub_name_is_looked_up_in_the_cache_only(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    finding, folder = locate_model(NAME)
    assert (finding.ok, folder) == (None, None)
    assert finding.found == f"{NAME}: a hub name, not in the local cache"
    assert str(finding.advice).endswith(f"hf download {NAME}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingInput, match="HF_HUB_OFFLINE forbids"):
        locate_model(NAME)
    cache(tmp_path / "full", model_dir, monkeypatch)
    finding, folder = locate_model(NAME)
    assert finding.ok is True
    assert folder == tmp_path / "full" / "models--owner--name" / "snapshots" / "abc"


@pytest.mark.parametrize("name", ["./absent", "/absent", "absent", "a/b/c", "a b/c", "-x/y", "..../x--y"])
def test_what_is_neither_a_folder_nor_a_hub_name_is_refused(name: str) -> None:
    with pytest.raises((BadInput, MissingInput), match="--model"):
        locate_model(name)


VALUES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=4) | st.lists(st.integers())
KEYS = ("model_type", "architectures", "hidden_size", "vocab_size", "rope_parameters", "auto_map", "dtype", "x")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_settings_of_any_type_end_as_findings(model_dir: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    base = json.loads((model_dir / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**base, **changes}))
    only(lambda: check_config(tmp_path))


def test_a_cached_name_that_is_known_to_be_absent_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names: SimpleNamespace())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert locate_model(NAME)[1] is None
