"""A run's needs are checked one by one; whatever is wrong with them ends as findings with a next move."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.checks import machine
from stages.checks import model as checks
from stages.checks.finding import MAX_LETTERS, Finding, from_error, guard
from stages.checks.model import examine_adapter, examine_model
from stages.checks.server import examine_judge
from stages.doctor import SERVICES, Wanted, run
from stages.errors import BadInput, Unavailable
from stages.judges.base import Case, Verdict
from stages.models.device import Device
from stages.models.directories import read_model_tensors
from tests.tiny_models import make_adapter, make_llama

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CPU = Device("cpu")
MACHINE = {"cpu", "device", "same bits", "memory", "disk", "files", "locks"} | {
    "python",
    "torch",
    "transformers",
    "peft",
    "trl",
}


@pytest.fixture
def model(model_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(model_dir, tmp_path / "model"))


def told(findings: Iterable[Finding]) -> dict[str, Finding]:
    """By check. Each wrong one says what to do."""
    found = {finding.check: finding for finding in findings}
    assert all(finding.advice for finding in found.values() if finding.ok is False)
    return found


def model_told(path: Path | str, deep: bool = False) -> dict[str, Finding]:
    return told(examine_model(str(path), CPU, deep))


def states(found: dict[str, Finding]) -> dict[str, bool | None]:
    return {name.removeprefix("model "): finding.ok for name, finding in found.items()}


def test_the_machine_is_checked_always_and_nothing_else_unasked(tmp_path: Path) -> None:
    found = told(run(Wanted(device=CPU, out=tmp_path)))
    assert set(found) >= MACHINE
    assert not [name for name in found if name.startswith(("model", "adapter", "server", "judge"))]


def test_a_whole_model_is_fine_and_with_deep_says_a_token(model_dir: Path) -> None:
    parts = {"model": True, "config": True, "tokenizer": True, "weights": True, "memory": True}
    parts |= {"full training": True, "disk": True}
    assert states(model_told(model_dir)) == parts
    assert states(model_told(model_dir, deep=True)) == {**parts, "forward": True}


def test_weights_that_are_cut_off_are_wrong_and_deep_does_not_load_them(model: Path) -> None:
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[:-4])
    found = model_told(model, deep=True)
    assert states(found) == {"model": True, "config": True, "tokenizer": True, "weights": False, "forward": None}
    assert "cut off or damaged, no whole safetensors file" in found["model weights"].found
    assert found["model weights"].advice == "copy or download it again"


def test_weights_larger_than_the_memory_are_wrong(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = sum(tensor.elements for tensor in read_model_tensors(model_dir).values())
    for free, ok in ((4 * network, False), (4 * network + 1, True)):
        monkeypatch.setattr(checks, "get_free_memory", lambda free=free: free)
        assert model_told(model_dir)["model memory"].ok is ok


def test_a_path_without_a_model_is_wrong_at_once(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", "./absent", ""):
        assert states(model_told(path, deep=True)) == {"model": False}


def test_a_hub_name_that_is_not_here_is_unknown_and_nothing_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert states(model_told("owner/name", deep=True)) == {"model": None}


def test_an_adapter_is_held_against_the_model(model_dir: Path, tmp_path: Path) -> None:
    adapter = make_adapter(model_dir, tmp_path / "adapter")
    found = told(examine_adapter(adapter, str(model_dir)))
    assert [(name, finding.ok) for name, finding in found.items()] == [
        ("adapter", True),
        ("adapter base", True),
        ("adapter fit", True),
    ]
    assert str(model_dir) in found["adapter base"].found
    wider = make_llama(tmp_path / "wider", hidden_size=64)
    other = told(examine_adapter(adapter, str(wider)))["adapter fit"]
    assert other.ok is False
    assert "4 of 4 layers do not fit" in other.found
    assert other.advice == f"--model {model_dir}: the model that it was trained on"


def test_an_adapter_without_a_model_to_compare_is_read_alone(model_dir: Path, tmp_path: Path) -> None:
    adapter = make_adapter(model_dir, tmp_path / "adapter")
    assert set(told(examine_adapter(adapter, None))) == {"adapter", "adapter base"}
    unread = told(examine_adapter(adapter, str(tmp_path / "absent")))["adapter fit"]
    assert unread.ok is None
    (adapter / "adapter_model.safetensors").unlink()
    assert {name: finding.ok for name, finding in told(examine_adapter(adapter, None)).items()} == {"adapter": False}


def test_an_adapter_that_names_no_model_or_is_no_lora_is_unknown(model_dir: Path, tmp_path: Path) -> None:
    path = make_adapter(model_dir, tmp_path / "adapter") / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": None, "peft_type": "IA3"}))
    found = told(examine_adapter(path.parent, str(model_dir)))
    assert {name: finding.ok for name, finding in found.items()} == {"adapter": None, "adapter base": None}


class Given:
    """A judge that gives these verdicts."""

    name = "given"
    verdicts: tuple[bool | None, ...] = ()

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        assert len(list(cases)) == 2
        for verdict in self.verdicts:
            yield Verdict(verdict, None if verdict is not None else "timeout")


class Absent(Given):
    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        raise Unavailable("the judge's server is not there; start it")


class Needy(Given):
    def __init__(self, wish: str) -> None:
        pass


HERE = "tests.stages.test_doctor"


@pytest.mark.parametrize("name", ["exact", "lexical"])
def test_our_own_judges_judge_rightly(name: str) -> None:
    assert examine_judge(name).ok is True


@pytest.mark.parametrize(
    ("verdicts", "ok", "words"),
    [
        ((True, False), True, "takes a right answer as right and a wrong one as wrong"),
        ((True, True), False, "graded a right answer as True and a wrong one as True"),
        ((False, False), False, "graded a right answer as False"),
        ((False, None), False, "graded a right answer as False and a wrong one as None"),
        ((True, None), None, "left an answer unscored (timeout)"),
        ((None, None), None, "left an answer unscored (timeout)"),
        ((), False, "gave no verdict on 2 of the answers that it took"),
        ((True, False, True, True), False, "and no case was waiting for that"),
    ],
)
def test_a_judge_is_tried_on_a_right_and_a_wrong_answer(
    verdicts: tuple[bool | None, ...], ok: bool | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Given, "verdicts", verdicts)
    found = examine_judge(f"{HERE}:Given")
    assert found.ok is ok
    assert words in found.found


def test_a_judge_that_breaks_ends_as_a_finding() -> None:
    for name in ("kind", f"{HERE}:Gone", "no.such.module:X", f"{HERE}:Needy", f"{HERE}:HERE", "a b:c"):
        assert examine_judge(name).ok is False
    server = examine_judge(f"{HERE}:Absent")
    assert (server.check in SERVICES, server.ok, server.advice) == (True, False, "start it")


def test_an_error_is_a_finding_with_its_own_advice_or_that_of_the_check() -> None:
    def broken() -> Iterator[Finding]:
        yield Finding("first", True, "well")
        raise KeyError("x\ny")

    assert list(guard("second", "do this", broken)) == [
        Finding("first", True, "well"),
        Finding("second", False, "KeyError: 'x\\ny'", "do this"),
    ]
    assert from_error("c", BadInput("x: bad; do that"), "do this") == Finding("c", False, "x: bad", "do that")
    assert from_error("c", BadInput("x: bad"), "do this") == Finding("c", False, "x: bad", "do this")
    assert len(from_error("c", ValueError("long " * 999), "do this").found) < MAX_LETTERS + 50
    assert "pip install" in str(from_error("c", ModuleNotFoundError("No module named 'torch'"), "x").advice)


def test_checks_that_break_end_as_findings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model_dir: Path) -> None:
    def broken(*arguments: object, **named: object) -> None:
        raise RuntimeError("no kernel image is available")

    monkeypatch.setattr(torch, "ones", broken)
    for name in ("check_memory", "check_disk", "check_packages"):
        monkeypatch.setattr(machine, name, broken)
    for name in ("check_config", "check_tokenizer", "get_room"):
        monkeypatch.setattr(checks, name, broken)
    found = told(run(Wanted(model=str(model_dir), device=CPU, out=tmp_path)))
    bad = {name for name, finding in found.items() if finding.ok is False}
    assert bad == {"packages", "device", "memory", "disk", "model config", "model tokenizer", "model memory"}
    assert found["device"].found == "RuntimeError: no kernel image is available"


FILES = st.sampled_from(["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
BYTES = st.binary(max_size=40) | st.sampled_from([b"{}", b"[]", b'"x"', b"[" * 99_999, b"\xff" * 8 + b"{}"])


@FUZZ
@given(spoiled=st.dictionaries(FILES, BYTES, min_size=1, max_size=2))
def test_files_of_any_bytes_end_as_findings(model_dir: Path, tmp_path: Path, spoiled: dict[str, bytes]) -> None:
    folder = Path(shutil.copytree(model_dir, tmp_path / "spoiled", dirs_exist_ok=True))
    for name, content in spoiled.items():
        (folder / name).write_bytes(content)
    found = model_told(folder)
    if found["model"].ok is False:  # what stands there is no model at all, such as a server's reply
        return
    assert "model weights" in found
    if "model.safetensors" in spoiled:
        assert found["model weights"].ok is False or dict(read_model_tensors(folder)) == {}
