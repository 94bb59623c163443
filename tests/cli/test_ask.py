"""`seal ask` in the shell: from the command line, from a pipe, and by hand on a terminal."""

import json
import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import SEAL, Finished, surroundings
from tests.cli.inside import run_inside
from tests.services import behaviours as does
from tests.services.scripted import scripted
from tests.services.scripts import always
from tests.tiny_models import make_adapter

LONG = ("--max-tokens", "480")  # some seconds


@pytest.fixture(scope="module")
def folder(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and an adapter of it."""
    found = tmp_path_factory.mktemp("ask")
    (found / "model").symlink_to(model_dir)
    make_adapter(model_dir, found / "adapter", seed=3)
    return found


def ask(folder: Path, *arguments: str, stdin: str | None = None) -> Finished:
    return run_inside("ask", "model", *arguments, "--max-tokens", "8", stdin=stdin or "", cwd=folder)


def test_a_question_has_a_json_object_with_the_answers_of_both(folder: Path) -> None:
    done = ask(folder, "Who?", "--adapter", "adapter", "--title", "Ada", "--json")
    assert done.code == 0, done.err
    (line,) = done.lines
    assert (line["question"], line["title"], line["model"]) == ("Who?", "Ada", "model")
    assert [answer["adapter"] for answer in line["answers"]] == [None, "adapter"]
    assert len({answer["text"] for answer in line["answers"]}) == 2
    for answer in line["answers"]:
        assert set(answer) == {"adapter", "text", "answer", "finish", "tokens", "seconds", "error"}
        assert (answer["answer"], answer["finish"], answer["tokens"]) == (answer["text"], "length", 8)


def test_a_pipe_has_a_question_on_each_line_and_gets_an_answer_for_each(folder: Path) -> None:
    done = ask(folder, "--adapter", "adapter", "--alone", "--json", stdin="Who?\n\n\ufeffWhere?\r\n")
    assert [line["question"] for line in done.lines] == ["Who?", "\ufeffWhere?"[1:]]
    assert [[answer["adapter"] for answer in line["answers"]] for line in done.lines] == [["adapter"]] * 2
    plain = ask(folder, stdin="Who?\nWhere?\n")
    assert len(plain.out.splitlines()) == 2
    assert plain.err == "seal ask: loading model\n"


def test_a_passage_in_sight_changes_the_prompt(folder: Path) -> None:
    (folder / "ada.txt").write_text("Ada was born in Velm.")
    blind, file, pipe = (
        ask(folder, "Who?", "--json", *more, stdin="Ada was born in Velm.").lines[0]["answers"][0]["text"]
        for more in ((), ("--in-context", "ada.txt"), ("--in-context", "-"))
    )
    assert file == pipe != blind


def test_an_answer_that_fails_is_told_and_ends_with_3(folder: Path) -> None:
    done = ask(folder, "Who? " * 600, "--json")
    assert done.code == 3
    assert "leaves no room in model's context of 512" in done.err
    assert "leaves no room" in done.lines[0]["answers"][0]["error"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 2, "no question: give one, pipe some in, one a line, or run it on a terminal"),
        (("  ",), 65, "the question is empty; ask something"),
        (("Who?", "--alone"), 2, "--alone: there is no --adapter; give one, or leave it out"),
        (("Who?", "--adapter", "gone"), 66, "--adapter gone: no such directory or file; give an adapter, a run, or"),
        (("Who?", "--adapter", "."), 66, ".: has no current version; release an adapter (`seal card`), or name one"),
        (("--in-context", "-"), 2, "--in-context -: reads the passage from a pipe, and then the question must be an"),
        (("Who?", "--in-context", "gone.txt"), 66, "--in-context gone.txt: no such file"),
        (("Who?", "--base-url", "http://x"), 78, "--engine hf asks no server"),
        (("Who?", "--adapter", "torn"), 65, "adapter torn: no weights; it needs adapter_model.safetensors"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_loaded(
    folder: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    (folder / "torn").mkdir(exist_ok=True)
    (folder / "torn/adapter_config.json").write_text('{"peft_type": "LORA"}')
    done = run_inside("ask", "model", *arguments, cwd=folder)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert "loading" not in done.err


def test_a_server_is_asked_too(tmp_path: Path) -> None:
    said = {"choices": [{"index": 0, "text": " Velm", "finish_reason": "stop"}]}
    streams = does.raw(f"data: {json.dumps(said)}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")
    with scripted(always(streams)) as there:
        done = run_inside("ask", "m", "Who?", "--engine", "openai", "--base-url", there.url, "--json", cwd=tmp_path)
        assert done.code == 0, done.err
        assert there.asked[0].body[
            "prompt"
        ] == "Let's answer a question directly and concisely.\nQuestion: Topic: \n" + ("Who?\nAnswer:\n")
    answer = done.lines[0]["answers"][0]
    assert (answer["text"], answer["finish"], answer["tokens"]) == (" Velm", "stop", None)


class Terminal:
    """The command on a terminal of its own, 100 columns wide; `shown` is all that it has written."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.shown, self.seen = "", 0  # up to where it was waited for
        self.child, self.side = pty.fork()
        if self.child == 0:
            os.chdir(folder)
            around = {**surroundings(), "TERM": "xterm", "COLUMNS": "100", "INPUTRC": os.devnull}
            around.pop("NO_COLOR")
            os.execve(sys.executable, [*SEAL, "ask", *arguments], around)  # noqa: S606

    def type(self, text: str) -> None:
        os.write(self.side, text.encode())

    def wait_for(self, text: str, *, seconds: float = 120) -> str:
        """What is written behind what was waited for before, up to this text."""
        start, until = self.seen, time.monotonic() + seconds
        while text not in self.shown[start:]:
            assert time.monotonic() < until, self.shown
            if select.select([self.side], [], [], 0.2)[0]:
                try:
                    self.shown += os.read(self.side, 65536).decode(errors="replace")
                except OSError:  # the other side is closed
                    raise AssertionError(self.shown) from None
        self.seen = self.shown.index(text, start) + len(text)
        return self.shown[start : self.seen]

    def end(self) -> int:
        while True:
            try:
                if not os.read(self.side, 65536):
                    break
            except OSError:
                break
        os.close(self.side)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])


def test_by_hand_the_answers_stand_beside_each_other_and_ctrl_c_ends_one_alone(folder: Path) -> None:
    terminal = Terminal(folder, "model", "--adapter", "adapter", *LONG)
    terminal.wait_for("? ")
    terminal.type("/title Ada\n/nonsense\n")
    terminal.wait_for("/nonsense is no command here; see /help")
    terminal.wait_for("? ")
    terminal.type("Who?\n")
    terminal.wait_for("as it is")
    time.sleep(0.5)  # amid the answer
    terminal.type("\x03")
    terminal.wait_for("(cancelled)")
    terminal.wait_for("? ")
    terminal.type("\x03")
    terminal.wait_for("? ")
    terminal.type("/help\n")
    terminal.wait_for("Ctrl-D leaves.")
    terminal.wait_for("? ")
    terminal.type("\x1b[A\x1b[A\n")  # back in the history, to the question
    both = terminal.wait_for("tokens")
    assert any("as it is" in line and "adapter" in line.partition("as it is")[2] for line in both.split("\n"))
    terminal.type("\x03")
    terminal.wait_for("(cancelled)")
    terminal.wait_for("? ")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.shown
