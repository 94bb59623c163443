"""`seal doctor`: a line per check, an exit code, and nothing that a terminal, a log or a stranger should not see."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Finished, seal
from tests.cli.inside import run_inside
from tests.conftest import ROOT
from tests.services.serving import JSON, echo, served
from tests.tiny_models import make_adapter

CANARY = "sk-canary-51a7f0e2"
MODELS = json.dumps({"data": [{"id": "served"}]}).encode()


def line(finished: Finished, check: str) -> str:
    """The one line of a check on stderr."""
    (found,) = [row for row in finished.err.splitlines() if row[8:].startswith(f"{check}: ")]
    return found


def doctor(*arguments: object, cwd: Path = ROOT, stdin: str = "", **env: str) -> Finished:
    with pytest.MonkeyPatch.context() as patched:
        for name, value in env.items():
            patched.setenv(name, value)
        done = run_inside("doctor", "--device", "cpu", *arguments, stdin=stdin, cwd=cwd)
    assert "Traceback" not in done.err
    return done


def test_a_machine_that_has_all_is_well(tmp_path: Path) -> None:
    done = doctor("--out", tmp_path)
    assert (done.code, done.out) == (0, ""), done.err
    rows = done.err.splitlines()
    assert [row for row in rows[:-1] if not row.startswith(("ok ", "wrong ", "unknown "))] == []
    assert rows[-1].startswith("seal doctor: ")
    assert ", 0 wrong, " in rows[-1]
    assert line(done, "disk").startswith(f"ok      disk: {tmp_path}: ")


def test_json_lines_go_to_stdout_one_for_each_line_on_stderr(model_dir: Path, tmp_path: Path) -> None:
    adapter = make_adapter(model_dir, tmp_path / "adapter")
    done = doctor("--model", model_dir, "--deep", "--adapter", adapter, "--judge", "exact", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [list(row) for row in done.lines] == [["check", "ok", "found", "advice"]] * len(done.lines)
    assert len(done.lines) == len(done.err.splitlines()) - 1
    states = {row["check"]: row["ok"] for row in done.lines}
    assert all(states[name] for name in ("model forward", "adapter fit", "judge", "model weights", "locks"))


def test_what_is_wrong_comes_with_what_to_do_and_78(tmp_path: Path) -> None:
    done = doctor("--model", tmp_path / "absent", "--judge", "kind")
    assert done.code == 78
    assert line(done, "model").startswith("wrong   model: --model ")
    assert " → " in line(done, "model")
    assert line(done, "judge") == (
        "wrong   judge: --judge kind: unknown → take one of exact, lexical, openai:MODEL[@URL], command:PROGRAM, or "
        "package.module:Class"
    )


def test_a_service_alone_that_is_away_is_69_and_with_anything_else_78(tmp_path: Path) -> None:
    away = ("--base-url", "http://127.0.0.1:1/v1")
    done = doctor(*away)
    assert done.code == 69
    assert "refuses the connection → start the server" in line(done, "server")
    assert doctor(*away, "--model", tmp_path / "absent").code == 78


def test_a_server_that_answers_is_well(tmp_path: Path) -> None:
    with served(lambda handler: (200, JSON, MODELS)) as server:
        done = doctor("--base-url", f"{server.url}/v1", OPENAI_API_KEY=CANARY)
        assert server.asked == [("/v1/models", f"Bearer {CANARY}")]
    assert done.code == 0, done.err
    assert line(done, "server models") == "ok      server models: serves served"


def test_the_key_is_never_told_even_by_a_server_that_repeats_it() -> None:
    for status, code in ((200, 78), (302, 78), (401, 78), (404, 78), (500, 69)):
        headers = {"Content-Type": f"text/{CANARY}", "Location": f"http://else/{CANARY}", "X": CANARY}
        with served(lambda handler, status=status, headers=headers: (status, headers, echo(handler))) as server:
            done = doctor("--base-url", server.url, "--json", OPENAI_API_KEY=CANARY)
            assert server.asked == [("/models", f"Bearer {CANARY}")]
        assert done.code == code
        assert CANARY not in done.out + done.err
        assert "Bearer" not in done.out + done.err
    done = doctor("--base-url", "http://127.0.0.1:1", "--json", OPENAI_API_KEY=f"{CANARY}\n")
    assert done.code == 78
    assert CANARY not in done.out + done.err


def test_texts_of_servers_and_files_reach_the_terminal_without_control_characters(
    model_dir: Path, tmp_path: Path
) -> None:
    bad = "\x1b[2Jevil\nok      forged: line\x9b"
    model = Path(shutil.copytree(model_dir, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": [bad]}))
    with served(lambda handler: (200, JSON, json.dumps({"data": [{"id": bad}]}).encode())) as server:
        done = doctor("--base-url", server.url, "--model", model, "--json")
    assert "serves [2Jevil ok forged: line" in line(done, "server models")
    assert not any(row.startswith("ok      forged") for row in done.err.splitlines())
    for text in (done.out, done.err):
        assert not {"\x1b", "\x9b"} & set(text)
    assert any("[2Jevil" in row["found"] for row in done.lines if row["check"] == "model config")


def test_no_file_is_fetched_from_the_hub(model_dir: Path, tmp_path: Path) -> None:
    with served(lambda handler: (404, {}, b"")) as hub:
        home = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}  # read on import
        name = seal("doctor", "--device", "cpu", "--model", "owner/name", "--deep", **home)
        here = seal("doctor", "--device", "cpu", "--model", model_dir, "--deep", **home)
        assert hub.asked == []
    assert line(name, "model").startswith("unknown model: owner/name: a hub name, not in the local cache → ")
    assert (name.code, here.code) == (0, 0), name.err + here.err


def test_nothing_is_asked_on_the_terminal_about_a_models_own_code(model_dir: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(model_dir, tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    own = {"auto_map": {"AutoConfig": "own.C"}, "model_type": "mystery"}
    (model / "config.json").write_text(json.dumps({**config, **own}))
    (model / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    done = doctor("--model", model, "--deep", stdin="y\n")
    assert done.code == 78
    assert "its own code (auto_map) is not run" in done.err
    assert "Do you wish to run" not in done.err + done.out
    assert not (tmp_path / "ran").exists()
