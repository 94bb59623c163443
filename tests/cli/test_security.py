"""What comes from others (lines, models, adapters) runs no code, writes nowhere else, and steers no terminal."""

import json
import pickle
import shutil
from pathlib import Path

import pytest

from stages.records.record import Record
from tests.cli.conftest import SMALL_LORA, jsonl, seal
from tests.invented import a_line, a_task, an_edit

CANARY = "sk-canary-7f3a9"


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Whatever runs what it should not makes this file."""
    return tmp_path / "it-ran"


def a_pickle(marker: Path) -> bytes:
    data = pickle.dumps(Payload(marker))
    pickle.loads(data)  # noqa: S301 (the proof that it would work)
    marker.unlink()
    return data


def test_a_model_with_code_of_its_own_does_not_run_it_even_when_stdin_says_yes(
    model_dir: Path, tmp_path: Path, marker: Path
) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    code = f"from pathlib import Path\nPath({str(marker)!r}).touch()\nclass Own: pass\n"
    (tmp_path / "model" / "own.py").write_text(code)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    (tmp_path / "tasks.jsonl").write_text(jsonl([Record(task=a_task())]))
    refused = seal("eval", "tasks.jsonl", "--model", "model", stdin="y\n" * 20, cwd=tmp_path)
    assert refused.code == 65, refused.err
    assert "--model model: cannot be loaded: " in refused.err
    assert not marker.exists()


def test_a_pickled_model_is_refused_unread(model_dir: Path, tmp_path: Path, marker: Path) -> None:
    shutil.copytree(model_dir, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(a_pickle(marker))
    refused = seal("eval", "--model", "model", stdin=jsonl([Record(task=a_task())]), cwd=tmp_path)
    assert refused.code == 65, refused.err
    assert not marker.exists()


def test_a_pickled_adapter_is_refused_unread(model_dir: Path, tmp_path: Path, marker: Path) -> None:
    folder = tmp_path / "adapters" / "one"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
    (folder / "adapter_model.bin").write_bytes(a_pickle(marker))
    line = a_line(a_task(), [True, True]).grow(score=None)
    refused = seal("eval", "--model", model_dir, stdin=jsonl([line]), cwd=tmp_path)
    assert (refused.code, "only a .bin, which is not read" in refused.err) == (65, True)
    assert not marker.exists()


@pytest.mark.parametrize("evil", ["../../escaped", "/var/escaped-seal", "a/../../b", "x\0y", "..", "-rf", "é" * 300])
def test_ids_from_a_line_lead_nowhere_but_into_out(model_dir: Path, tmp_path: Path, evil: str) -> None:
    work = tmp_path / "deep" / "er"
    work.mkdir(parents=True)
    task = a_task().model_copy(update={"id": evil})
    edit = an_edit(task).model_copy(update={"id": evil, "template": evil})
    options = ("--model", model_dir, "--out", "ad", *SMALL_LORA, "-o", "adapters.jsonl")
    done = seal("adapt", *options, stdin=jsonl([Record(task=task, edit=edit)]), cwd=work)
    assert done.code == 0, done.err
    assert {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()} == {("deep", "er")}
    (adapter,) = (work / "ad").iterdir()
    assert adapter.name.isalnum()
    assert not Path("/var/escaped-seal").exists()


HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b31m\x7f\x00\r\x08"
STEERING = set("\x1b\x07\x9b\x7f\x00\r\x08")


def test_control_characters_of_a_line_never_reach_a_terminal(tmp_path: Path) -> None:
    hostile = a_line(a_task(HOSTILE), [True, False], completion=HOSTILE)
    line = jsonl([hostile])
    assert not STEERING & set(line)
    assert Record.model_validate_json(line) == hostile
    (tmp_path / "scores.jsonl").write_text(line)
    twice = seal("filter", stdin=line + line)
    table = seal("report", f"{HOSTILE.replace(chr(0), '')}=scores.jsonl", "--view", cwd=tmp_path)
    wrong = seal("filter", "--keep", HOSTILE.replace("\0", ""), stdin=line)
    unknown = seal("filter", HOSTILE.replace("\0", ""), "--no-such", HOSTILE.replace("\0", ""))
    absent = seal("filter", HOSTILE.replace("\0", ""))
    bad = seal("filter", stdin=(line + '{"' + HOSTILE + '": 1}\n').encode())
    for ended in (twice, table, wrong, unknown, absent, bad):
        assert ended.err or ended is table
        assert not STEERING & set(ended.err), ended.err
        assert not STEERING & set(ended.out), ended.out
    assert (twice.code, table.code, wrong.code, unknown.code, absent.code) == (3, 0, 78, 2, 66)


def test_a_key_in_the_environment_is_in_nothing_that_a_run_leaves(model_dir: Path, tmp_path: Path) -> None:
    keys = {"OPENAI_API_KEY": CANARY, "HF_TOKEN": CANARY, "ANTHROPIC_API_KEY": CANARY}
    edits = jsonl([Record(task=a_task(), edit=an_edit(a_task()))])
    more = ("--model", model_dir, "--out", "ad", *SMALL_LORA, "-o", "adapters.jsonl", "--rejects", "bad.jsonl")
    done = seal("adapt", *more, stdin=edits + "{\n", cwd=tmp_path, **keys)
    asked = seal("doctor", "--model", model_dir, "--base-url", "http://127.0.0.1:9/v1", "--json", cwd=tmp_path, **keys)
    assert done.code == 3, done.err
    for ended in (done, asked):
        assert CANARY not in ended.out + ended.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 5
    assert not [path for path in written if CANARY.encode() in path.read_bytes()]
