"""--quantize where it cannot be: refused at once, by name, with what to do instead."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from stages.adapt import Adapt
from stages.errors import BadConfig
from stages.models.device import Device
from stages.records.record import Record
from stages.trainers.local import LocalTrainer
from tests.cli.conftest import jsonl
from tests.cli.inside import run_inside
from tests.invented import a_task, an_edit

NF4 = Device(quantize="nf4")
EDIT = Record(task=a_task(), edit=an_edit(a_task()))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["adapt", "--quantize", "int4"], "--quantize int4: no library has it both on CPUs and on GPUs; take nf4"),
        (["adapt", "--quantize", "4bit"], "--quantize 4bit: take one of none, int8, nf4"),
        (["adapt", "--quantize", "nf4", "--trainer", "tinker", "--base-url", "http://localhost:1"], "--trainer tinker"),
        (["adapt", "--quantize", "nf4", "--trainer", "stages.domains.qa:QA"], ":QA quantizes no weights here"),
        (["generate", "--quantize", "nf4", "--engine", "openai"], "--engine openai quantizes no weights here"),
        (
            ["eval", "--quantize", "int8", "--engine", "vllm"],
            "--engine vllm quantizes no weights here; give --engine hf",
        ),
        (["ask", ".", "--quantize", "int4"], "take nf4, which is as small and loses less"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = run_inside(*arguments, stdin=jsonl([EDIT]), cwd=tmp_path)
    assert done.code == 78, done.err
    assert words in done.err


@pytest.mark.skipif(find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed here")
def test_a_missing_library_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    done = run_inside("adapt", "--quantize", "nf4", stdin=jsonl([EDIT]), cwd=tmp_path)
    assert done.code == 78
    assert "--quantize nf4 needs bitsandbytes: pip install 'seal-toolkit[quantize]'" in done.err


def test_weights_that_are_to_change_are_not_quantized(model_dir: Path) -> None:
    trainer = LocalTrainer(str(model_dir), device=NF4)
    with pytest.raises(BadConfig, match="--quantize nf4: --method full trains all weights"):
        trainer.for_method("full")
    with pytest.raises(BadConfig, match="--quantize nf4: --sequential merges each LoRA into the weights"):
        Adapt(trainer=trainer, sequential=True).prepare([EDIT])


def test_an_adapter_of_a_quantized_model_is_another_one_and_a_run_says_so(model_dir: Path) -> None:
    plain, quantized = (LocalTrainer(str(model_dir), device=each) for each in (Device(), NF4))
    assert quantized.identify(str(model_dir)) == f"{plain.identify(str(model_dir))} nf4"
    assert quantized.settings(str(model_dir)) == {**plain.settings(str(model_dir)), "quantize": "nf4"}
