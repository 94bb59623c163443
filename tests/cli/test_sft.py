"""`seal sft`: lines of others, and the directory that it writes: what is never replaced, and what is trained again."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from seal_cli.terminal.console import QuietMode
from stages.errors import BadLine
from stages.files import hold_name
from stages.models.device import Device
from stages.records.schema import SftExample
from stages.sft import PairCheck
from stages.sources.training_pairs import TrainingPair, read_pair
from tests.cli.conftest import SMALL_LORA, Finished, jsonl, seal
from tests.cli.inside import run_inside
from tests.conftest import make_tokenizer, paper_file

PAIRS = jsonl(
    SftExample(
        prompt="Read.", completion=f"Inn {n} is red.", task_id=f"t{n}", edit_id=f"e{n}", value=1.0, baseline=None
    )
    for n in range(2)
)


@pytest.fixture
def place(model_dir: Path, tmp_path: Path) -> Path:
    """A folder with a model of our own."""
    shutil.copytree(model_dir, tmp_path / "model")
    return tmp_path


def sft(place: Path, out: str, *more: str, model: str = "model") -> Finished:
    return seal("sft", "--model", model, "--out", out, *SMALL_LORA, *more, stdin=PAIRS, cwd=place)


@pytest.mark.parametrize("out", ["model", "./model/", "there/../model", "link/model"])
def test_the_model_that_is_trained_is_never_replaced(place: Path, out: str) -> None:
    (place / "link").symlink_to(place)
    (place / "there").mkdir()
    before = (place / "model" / "model.safetensors").read_bytes()
    refused = sft(place, out, "--overwrite")
    words = f"seal: --out {Path(out)}: is the model that is trained; give another directory\n"
    assert (refused.code, refused.err) == (73, words)
    assert (place / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("output", ["new", "./new/", "new/line.jsonl", "link/line.jsonl"])
def test_the_model_and_the_line_about_it_have_places_of_their_own(place: Path, output: str) -> None:
    (place / "link").symlink_to("new")
    refused = sft(place, "new", "-o", output)
    assert (refused.code, "the folder of --out new; give a file beside it" in refused.err) == (73, True)
    assert not (place / "new").exists()
    adapt = ("adapt", "--out", "new", "-o", "new", "--model", "model")
    assert "-o new: would take the place of new, which the run needs" in seal(*adapt, stdin=PAIRS, cwd=place).err


@pytest.mark.parametrize("seed", ["-1", str(2**80)])
def test_any_integer_is_a_seed(place: Path, seed: str) -> None:
    done = sft(place, "new", "--epochs", "1", "--seed", seed)
    assert done.code == 0, done.err


@pytest.mark.parametrize("goal", ["model", "other", "absent"])
def test_a_symlink_is_never_replaced(place: Path, goal: str) -> None:
    shutil.copytree(place / "model", place / "other")
    (place / "next").symlink_to(goal)
    refused = sft(place, "next", "--overwrite")
    assert (refused.code, refused.err) == (73, "seal: --out next: a symlink; give the directory itself\n")
    assert (place / "next").is_symlink()


def test_a_whole_model_is_not_trained_again_and_one_that_lost_a_file_is(place: Path) -> None:
    first = sft(place, "next")
    assert first.code == 0, first.err
    again = sft(place, "next", model="model/")
    assert (again.code, again.out, "nothing to train" in again.err) == (0, first.out, True)
    (place / "next" / "tokenizer.json").unlink()
    refused = sft(place, "next")
    assert (refused.code, "--out next: exists already; give --overwrite" in refused.err) == (73, True)
    mended = sft(place, "next", "--overwrite")
    assert (mended.code, mended.out, "nothing to train" in mended.err) == (0, first.out, False)
    assert (place / "next" / "tokenizer.json").is_file()


def test_a_model_that_is_replaced_before_it_is_loaded_is_not_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.trainers import sft as trainers

    def load_another(model: str, device: Device) -> Any:
        (Path(model) / "chat_template.jinja").write_text("another")
        return load(model, device)

    load = trainers.load_model
    monkeypatch.setattr(trainers, "load_model", load_another)
    monkeypatch.setattr(QuietMode, "on", True)  # no process shows what goes on
    done = run_inside("sft", "--model", "model", "--out", "next", *SMALL_LORA, stdin=PAIRS, cwd=place)
    assert (done.code, "seal: --model model: its files have changed since the run began" in done.err) == (65, True)
    assert sorted(path.name for path in place.iterdir()) == ["model"]


def test_two_runs_do_not_make_one_model_at_a_time_and_nothing_is_tidied_up_beside_them(place: Path) -> None:
    with hold_name(place / "next"):
        second = sft(place, "next", "--overwrite")
        assert (second.code, "next.part: another process is making this directory; wait" in second.err) == (75, True)
        (place / "lines.jsonl").touch()
        tidied = run_inside("gc", ".", "--remove", cwd=place)
        assert (tidied.code, "another process is working there; wait for its end" in tidied.err) == (75, True)
    assert sorted(path.name for path in place.iterdir()) == ["lines.jsonl", "model"]


# ---- other losses


@pytest.mark.parametrize(
    ("loss", "lines"),
    [
        ("dpo", [{"prompt": "Read.", "chosen": f"Inn {n}.", "rejected": "No.", "chosen_id": f"e{n}"} for n in (1, 2)]),
        ("weighted", [{"prompt": "Read.", "completion": f"Inn {n}.", "advantage": n} for n in (1, -1)]),
    ],
)
def test_a_model_of_another_loss_is_trained_once_and_is_another_run(
    place: Path, loss: str, lines: list[dict[str, object]]
) -> None:
    command = ["sft", "--model", "model", "--out", "next", *SMALL_LORA, "--loss", loss]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    first = seal(*command, stdin=text, cwd=place)
    assert first.code == 0, first.err
    assert (first.lines[0]["examples"], first.lines[0]["fit"]["loss"]) == (2, loss)
    again = seal(*command, stdin=text, cwd=place)
    assert (again.code, again.out, "nothing to train" in again.err) == (0, first.out, True)
    refused = seal(*command[:-2], stdin=text, cwd=place)
    assert (refused.code, f"for --loss {loss}" in refused.err or f"which --loss {loss}" in refused.err) == (65, True)
    other = sft(place, "next")
    assert (other.code, "--out next: exists already; give --overwrite" in other.err) == (73, True)


def test_a_flag_of_another_loss_is_refused_and_nothing_is_read(place: Path) -> None:
    refused = sft(place, "next", "--beta", "0.5")
    assert (refused.code, refused.err) == (78, "seal: --beta 0.5: is of --loss dpo; leave it out, or give that\n")


# ---- lines of others

CHAT = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]}
STRICT = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system turns') }}"
    "{% endif %}{{ message['content'] }}<|endoftext|>{% endfor %}"
)


def a_chat(*roles: str) -> TrainingPair:
    return read_pair({"messages": [{"role": role, "content": "x"} for role in roles]})


def test_a_chat_that_the_models_template_refuses_is_a_bad_line(tmp_path: Path, model_dir: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = STRICT
    shutil.copytree(model_dir, tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    check = PairCheck(str(tmp_path / "model"))
    check(a_chat("user", "assistant"))
    with pytest.raises(
        BadLine, match="refuses the prompt: no system turns; give a chat model, or text instead of messages"
    ):
        check(a_chat("system", "user", "assistant"))


def test_a_chat_is_a_bad_line_for_a_model_without_a_chat_template(model_dir: Path) -> None:
    check = PairCheck(str(model_dir))
    check(read_pair({"prompt": "p", "completion": "c"}))
    with pytest.raises(BadLine, match="has no chat template; give a chat model, or text instead of messages"):
        check(a_chat("user", "assistant"))


def test_a_pair_beyond_the_positions_of_a_gpt2_is_a_bad_line(tmp_path: Path) -> None:
    make_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_positions": 64, "vocab_size": 300}))
    check = PairCheck(str(tmp_path))
    check(read_pair({"prompt": "p", "completion": "c" * 62}))
    with pytest.raises(BadLine, match=r"a training sequence of 65 tokens .* is longer than the model's context of 64"):
        check(read_pair({"prompt": "p", "completion": "c" * 63}))


def test_lines_of_trl_are_trained_on_and_a_bad_one_is_rejected(chat_dir: Path, tmp_path: Path) -> None:
    trl = [
        {"prompt": "Read.", "completion": " Ada."},
        {"prompt": CHAT["messages"][:1], "completion": CHAT["messages"][1:]},
        CHAT,
    ]
    lines = "".join(f"{json.dumps(line)}\n" for line in [*trl, {"text": "Ada."}])
    run = seal("sft", "--model", chat_dir, "--out", tmp_path / "next", *SMALL_LORA, stdin=lines, cwd=tmp_path)
    assert (run.code, [line["examples"] for line in run.lines]) == (3, [3])
    assert "stdin:4: an object with text: no prompt and no completion; `seal sft` learns from" in run.err


@pytest.mark.paper_data
def test_the_official_sft_file_is_taken_line_by_line(place: Path) -> None:
    official, settings = paper_file("sft_best1of5_iter0.jsonl"), place / "model" / "config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "max_position_embeddings": 32768}))
    run = seal("sft", official, "--model", "model", "--out", "next", "--dry-run", cwd=place)
    assert (run.code, "on 50 examples" in run.err) == (0, True)
