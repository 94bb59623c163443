"""A model that cannot be used as it is ends every command with one sentence and the same code, never as a bug."""

from pathlib import Path

import pytest

from stages.records.record import Record
from tests.cli.conftest import jsonl, seal
from tests.cli.inside import run_inside
from tests.invented import a_task, an_adapter, an_edit
from tests.models.broken import BROKEN, break_model
from tests.tiny_models import make_adapter

EDIT = an_edit(a_task())
LINES = {
    "generate": jsonl([Record(task=a_task())]),
    "adapt": jsonl([Record(task=a_task(), edit=EDIT)]),
    "eval": jsonl([Record(task=a_task())]),
    "sft": '{"prompt": "a", "completion": "b"}\n',
}
ENDS = {"generate": (), "adapt": ("--out", "adapters"), "eval": ("--judge", "exact"), "sft": ("--out", "tuned")}


@pytest.mark.parametrize("stage", LINES)
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("adapter inside", "an adapter lies in it beside the model (adapter_config.json)"),
        ("only adapter", "only an adapter of owner/base, not a model; give --model owner/base"),
        ("gguf", "only GGUF ('model-Q4_K_M.gguf')"),
    ],
)
def test_a_folder_that_is_no_plain_model_is_refused_before_anything_is_loaded(
    model_dir: Path, tmp_path: Path, stage: str, name: str, words: str
) -> None:
    break_model(model_dir, tmp_path / "model", name)
    done = run_inside(stage, "--model", "model", *ENDS[stage], stdin=LINES[stage], cwd=tmp_path)
    assert (done.code, done.out) == (78, "")
    assert f"seal: --model model: {words}" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("stage", "name", "words"),
    [
        ("generate", "lora beside base", "of an adapter, which LlamaForCausalLM leaves out; merge it into the model"),
        ("adapt", "fewer layers", "config.json says num_hidden_layers 1; take the config.json that it was saved with"),
        ("eval", "end beyond", "its tokenizer's end token '</s>' has id 287, but the embedding has 287 rows"),
        ("sft", "activation", "config.json says hidden_act 'gelu_brandnew', which transformers "),
        ("sft", "gptq", "which needs optimum and gptqmodel; pip install optimum gptqmodel"),
    ],
)
def test_what_loading_finds_ends_the_command_in_one_sentence(
    model_dir: Path, tmp_path: Path, stage: str, name: str, words: str
) -> None:
    break_model(model_dir, tmp_path / "model", name)
    done = seal(stage, "--model", "model", *ENDS[stage], stdin=LINES[stage], cwd=tmp_path)
    assert (done.code, done.out) == (78, "")
    assert words in done.err
    assert "bug in seal" not in done.err
    assert "Traceback" not in done.err


def test_a_tokenizer_that_cannot_be_used_is_no_fault_of_the_lines_that_are_counted_with_it(
    model_dir: Path, tmp_path: Path
) -> None:
    break_model(model_dir, tmp_path / "model", "words beyond")
    lines = '{"prompt": "a", "completion": "ö"}\n' * 2
    done = run_inside("sft", "--model", "model", "--out", "tuned", stdin=lines, cwd=tmp_path)
    assert done.code == 78
    assert "seal: --model model: its tokenizer's token 'protein' has id 287" in done.err
    assert "stdin:1" not in done.err


@pytest.mark.parametrize("name", ["adapter inside", "fewer layers", "end beyond", "gptq", "sentencepiece", "cut off"])
def test_doctor_says_it_without_loading_the_model(model_dir: Path, tmp_path: Path, name: str) -> None:
    break_model(model_dir, tmp_path / "model", name)
    done = run_inside("doctor", "--model", "model", cwd=tmp_path)
    assert done.code == 78
    assert [line for line in done.err.splitlines() if line.startswith("wrong   model")]


def test_a_model_that_the_lines_name_is_looked_at_as_well(model_dir: Path, tmp_path: Path) -> None:
    BROKEN["adapter inside"](Path(break_model(model_dir, tmp_path / "model", "pad beyond")))
    adapter = make_adapter(model_dir, tmp_path / "adapter")
    line = Record(
        task=a_task(), edit=EDIT, adapter=an_adapter(EDIT).model_copy(update={"path": str(adapter), "model": "model"})
    )
    done = run_inside("eval", "--judge", "exact", stdin=jsonl([line]), cwd=tmp_path)
    assert done.code == 78
    assert "--model model: an adapter lies in it" in done.err


@pytest.mark.parametrize("out", [(), ("-o", "out.jsonl")], ids=["stdout", "file"])
def test_a_model_that_is_replaced_between_the_plan_and_its_loading_answers_nothing(
    tmp_path: Path, out: tuple[str, ...]
) -> None:
    (tmp_path / "config.json").write_text("{}")
    done = seal(
        *("generate", "--model", ".", "--engine", "tests.cli.workers:Replaced", *out),
        stdin=LINES["generate"],
        cwd=tmp_path,
    )
    assert (done.code, done.out) == (65, "")
    assert "--model .: its files have changed since the run began; put them back, or" in done.err
