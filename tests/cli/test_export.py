"""`seal export`: from lines or a directory, its words and its exit codes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from stages.records.record import Record
from tests import invented
from tests.cli.conftest import jsonl
from tests.cli.inside import run_inside
from tests.tiny_models import make_adapter


@pytest.fixture
def run(model_dir: Path, tmp_path: Path) -> Path:
    """A folder with two adapters, and lines that name one of them, and both."""
    lines = []
    for name in ("one", "two"):
        make_adapter(model_dir, tmp_path / "adapters" / name)
        edit = invented.an_edit(task := invented.a_task(name))
        lines.append(Record(task=task, edit=edit, adapter=invented.an_adapter(edit, path=f"adapters/{name}")))
    (tmp_path / "one.jsonl").write_text(jsonl(lines[:1]))
    (tmp_path / "both.jsonl").write_text(jsonl(lines))
    return tmp_path


def test_a_file_that_names_one_adapter_stands_for_it(run: Path, model_dir: Path) -> None:
    done = run_inside("export", "one.jsonl", "--to", "merged", "--out", "merged", cwd=run)
    assert (done.code, done.out) == (0, "merged\n"), done.err
    assert "seal export: adapters/one as merged" in done.err
    before, after = (load_file(folder / "model.safetensors") for folder in (model_dir, run / "merged"))
    changed = {name.rpartition(".layers.")[2][2:] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"self_attn.q_proj.weight", "self_attn.v_proj.weight"}


def test_a_merge_with_other_weights_than_it_was_trained_on_is_told(run: Path) -> None:
    """Those of --quantize are not written."""
    file = run / "adapters/one/adapter_model.safetensors"
    with safe_open(file, "pt") as opened:
        about = opened.metadata() or {}
    save_file(load_file(file), file, {**about, "quantize": "nf4"})
    done = run_inside("export", "one.jsonl", "--to", "merged", "--out", "merged", cwd=run)
    assert (done.code, "was trained with --quantize nf4, and is merged with the weights" in done.err) == (0, True)
    done = run_inside("export", "one.jsonl", "--to", "peft", "--out", "peft", cwd=run)
    assert (done.code, "--quantize" in done.err) == (0, False)


def test_a_file_that_names_several_says_how_to_choose(run: Path) -> None:
    done = run_inside("export", "both.jsonl", "--to", "peft", "--out", "peft", cwd=run)
    assert done.code == 78
    ids = [json.loads(line)["adapter"]["id"] for line in (run / "both.jsonl").read_text().splitlines()]
    assert f"names 2 adapters ({ids[0]}, {ids[1]}): give --adapter ID" in done.err
    done = run_inside("export", "both.jsonl", "--to", "peft", "--out", "peft", "--adapter", ids[1], cwd=run)
    assert (done.code, done.out) == (0, "peft\n"), done.err
    done = run_inside("export", "both.jsonl", "--to", "vllm", "--adapter", "nobody", cwd=run)
    assert done.code == 66 and "no adapter nobody on its lines" in done.err


def test_what_cannot_be_exported_has_its_exit_code(run: Path, tmp_path: Path) -> None:
    for code, words, arguments in (
        (66, "no such file or directory", ("nowhere", "--to", "vllm")),
        (65, "neither an adapter nor a model", ("adapters", "--to", "vllm")),
        (78, "--to merged: give --out PATH", ("adapters/one", "--to", "merged")),
        (73, "exists already", ("adapters/one", "--to", "merged", "--out", "one.jsonl")),
        (73, "holds what is exported", ("adapters/one", "--to", "peft", "--out", "adapters/one", "--overwrite")),
        (66, "no such directory", ("adapters/one", "--to", "vllm", "--model", "./nowhere")),
    ):
        done = run_inside("export", *arguments, cwd=run)
        assert (done.code, done.out) == (code, ""), done.err
        assert words in done.err


def test_a_base_that_is_gone_is_asked_for(run: Path) -> None:
    config = json.loads((run / "adapters/one/adapter_config.json").read_bytes())
    (run / "adapters/one/adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "/gone"}))
    done = run_inside("export", "adapters/one", "--to", "vllm", cwd=run)
    assert done.code == 66 and "names /gone, which is no model here: give --model DIR" in done.err


def test_a_file_of_llama_cpps_becomes_a_model_again(run: Path, model_dir: Path) -> None:
    done = run_inside("export", str(model_dir), "--to", "gguf", "--out", "model.gguf", cwd=run)
    assert (done.code, done.out) == (0, "model.gguf\n"), done.err
    done = run_inside("import", "model.gguf", "--out", "back", cwd=run)
    assert (done.code, done.out) == (0, "back\n"), done.err
    assert "seal import: Llama, " in done.err and "weights of F32; no start token; no chat template" in done.err
    before, after = (load_file(folder / "model.safetensors") for folder in (model_dir, run / "back"))
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    done = run_inside("export", "adapters/one", "--to", "vllm", "--model", "model.gguf", cwd=run)
    assert done.code == 78 and "make a model directory of it: seal import model.gguf --out DIR" in done.err
    (run / "model.gguf").write_bytes((run / "model.gguf").read_bytes()[:1000])
    done = run_inside("import", "model.gguf", "--out", "other", cwd=run)
    assert done.code == 65 and "its header is cut off or damaged" in done.err and not (run / "other").exists()
