"""Every way in which a server fails, and what a stage does: exit code, words, lines, retries, and the same run again.

python -m tests.services.table            prints the table; tests/cli/test_services.py holds it
"""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.records.jsonl import to_json
from stages.records.record import Record
from tests.cli.conftest import surroundings
from tests.forked import forked_seal
from tests.invented import a_line, a_task
from tests.services import behaviours as does
from tests.services.asking import CANARY
from tests.services.behaviours import Behaviour
from tests.services.scripted import scripted
from tests.services.scripts import Script, always, echoes, flaky, poison, prompt_of

PATIENCE = ("--timeout", "0.5", "--retry-for", "1.5", "--concurrency", "2")
WORK = {  # stage → its input, and the command that asks the server at {url} about it; both make LINES lines
    "generate": ("tasks.jsonl", "generate tasks.jsonl -k 2 --engine openai --model m --base-url {url}"),
    "judge": ("scores.jsonl", "judge scores.jsonl -j openai:m@{url} --cache none"),
}
LINES = 8


def tasks() -> list[Record]:
    return [Record(task=a_task(title)) for title in ("Ada", "Bo", "Cy", "Di")]


def scores() -> list[Record]:
    """Eight lines whose answers are all different."""
    lines = []
    for title in ("Ada", "Bo", "Cy", "Di"):
        for sample in range(2):
            line = a_line(a_task(title), [True, False], sample=sample, completion="x" * (sample + 1))
            assert line.score is not None
            said = [
                each.model_copy(update={"prediction": f"{title} {sample} {each.id}"}) for each in line.score.answers
            ]
            lines.append(line.grow(score=line.score.model_copy(update={"answers": tuple(said)})))
    return lines


def verdicts(n: int, body: object) -> Behaviour:
    """What a healthy judge says: the first self-edits are right."""
    return does.ok("yes" if " 0 " in prompt_of(body) else "no")  # type: ignore[arg-type]


HEALTHY: dict[str, Script] = {"generate": echoes, "judge": verdicts}


@dataclass(frozen=True)
class Failing:
    """One way to fail. `says` must be on stderr; `lines` are whole when it ends, `lost` of them without an answer."""

    name: str
    script: Callable[[Script], Script]  # from what a healthy server would do
    code: int
    says: str
    lines: int = LINES
    lost: int = 0
    stage: str = "generate"
    interrupt: bool = False


def once(behaviour: Behaviour) -> Callable[[Script], Script]:
    return lambda healthy: lambda n, body: behaviour if n == 0 else healthy(n, body)


def ever(behaviour: Behaviour) -> Callable[[Script], Script]:
    return lambda healthy: always(behaviour)


def after(count: int, behaviour: Behaviour) -> Callable[[Script], Script]:
    return lambda healthy: lambda n, body: healthy(n, body) if n < count else behaviour


def dies_and_returns(count: int, seconds: float) -> Callable[[Script], Script]:
    return lambda healthy: lambda n, body: does.die(back_after_s=seconds) if n == count else healthy(n, body)


def one_prompt(behaviour: Behaviour) -> Callable[[Script], Script]:
    """One of the eight never gets a good answer."""
    return lambda healthy: lambda n, body: behaviour if chosen(body) else healthy(n, body)


def chosen(body: object) -> bool:
    """Whether this is about the one: Bo's second."""
    told = json.dumps(body)
    return "Student answer: Bo 1 " in told if "Student answer" in told else "Bo" in told and seed_of(body) % 2 == 1


def seed_of(body: object) -> int:
    return int(body["seed"]) if isinstance(body, dict) else 0


def slowly(healthy: Script) -> Script:
    def late(n: int, body: object) -> Behaviour:
        return does.slow(0.3, healthy(n, body))  # type: ignore[arg-type]

    return late


FINE = r"0 failed, 0 unscored"
GONE = r"try again later|see the server's log|start the server"
FAILURES = (
    Failing("none", lambda healthy: healthy, 0, FINE),
    Failing("400 for one prompt", one_prompt(does.status(400, "odd prompt")), 3, "1 failed", lost=1),
    Failing("400 for ever", ever(does.status(400)), 78, r"refuses every call in the same words.*--model", 7, 7),
    Failing("401", ever(does.status(401)), 77, r"refuses the key in OPENAI_API_KEY.*status 401", 0),
    Failing("401 that repeats the key", ever(does.echo(401)), 77, "OPENAI_API_KEY", 0),
    Failing("402", ever(does.status(402)), 77, "402", 0),
    Failing("403", ever(does.status(403)), 77, "403", 0),
    Failing("404", ever(does.status(404)), 78, "--model", 0),
    Failing("408 once", once(does.status(408)), 0, FINE),
    Failing("409 once", once(does.status(409)), 0, FINE),
    Failing("413 for one prompt", one_prompt(does.status(413)), 3, "1 failed", lost=1),
    Failing("422 for one prompt", one_prompt(does.status(422)), 3, "1 failed", lost=1),
    Failing("429, Retry-After in seconds", once(does.limited("1")), 0, FINE),
    Failing("429, Retry-After as a date", once(does.raw(b"{}", status=429, Retry_After=does.in_seconds(1))), 0, FINE),
    Failing("429 for ever", ever(does.limited()), 69, GONE, 2, 2),
    Failing("500 once", once(does.status(500)), 0, FINE),
    Failing("500 for one prompt", one_prompt(does.status(500)), 3, "1 failed", lost=1),
    Failing("500 for ever", ever(does.status(500)), 69, GONE, 2, 2),
    Failing("502, a proxy's page", ever(does.page(502)), 69, GONE, 2, 2),
    Failing("no answer in time, once", once(does.hang()), 0, FINE),
    Failing("no answer in time, ever", ever(does.hang()), 69, "no answer within 0.5 s", 2, 2),
    Failing("connection reset, once", once(does.reset()), 0, FINE),
    Failing("connection reset within the body, once", once(does.reset_midway()), 0, FINE),
    Failing("body cut off, once", once(does.cut_off()), 0, FINE),
    Failing("body cut off, ever", ever(does.cut_off()), 69, GONE, 2, 2),
    Failing("not JSON, ever", ever(does.raw(b"hello")), 69, "JSON", 2, 2),
    Failing("a JSON list, ever", ever(does.body([1])), 69, "JSON that is no object", 2, 2),
    Failing("no choices, for one prompt", one_prompt(does.body({"choices": []})), 3, "1 failed", lost=1),
    Failing("null content, for one prompt", one_prompt(does.ok(None)), 3, "1 failed", lost=1),
    Failing("content filter, for one prompt", one_prompt(does.ok("", "content_filter")), 0, FINE),
    Failing("redirect", ever(does.redirect("http://127.0.0.1:9/v1")), 78, "redirects to", 0),
    Failing("another protocol, ever", ever(does.no_http()), 69, "does not speak HTTP", 2, 2),
    Failing("30 % of the calls fail at first", lambda healthy: flaky(0.3, [does.status(503)], healthy), 0, FINE),
    Failing("dies after 3 answers", after(3, does.die()), 69, "refuses the connection", 3),
    Failing("dies after 3, back after 0.5 s", dies_and_returns(3, 0.5), 0, FINE),
    Failing("Ctrl-C in the middle", slowly, 130, "interrupted", 2, interrupt=True),
    Failing("judge: none", lambda healthy: healthy, 0, FINE, stage="judge"),
    Failing("judge: INCORRECT", ever(does.ok("INCORRECT")), 3, "unparsable 18", lost=8, stage="judge"),
    Failing("judge: yes and no", one_prompt(does.ok("yes and no")), 3, "unparsable 2", lost=1, stage="judge"),
    Failing("judge: fenced JSON", one_prompt(does.ok('```json\n{"a": "yes"}\n```')), 3, "unparsable 2", 8, 1, "judge"),
    Failing("judge: an essay that is cut", one_prompt(does.ok("Well, the", "length")), 3, "truncated 2", 8, 1, "judge"),
    Failing("judge: content filter", one_prompt(does.ok("", "content_filter")), 3, "refused 2", lost=1, stage="judge"),
    Failing("judge: 400 for one answer", one_prompt(does.status(400)), 3, "api_error 2", lost=1, stage="judge"),
    Failing("judge: a share fails for good", lambda h: poison(0.3, does.status(400), h), 3, "api_error", 8, 5, "judge"),
    Failing("judge: 401", ever(does.status(401)), 77, "refuses the key in SEAL_JUDGE_API_KEY", 0, stage="judge"),
    Failing("judge: dies after 5 answers", after(5, does.die()), 69, "refuses the connection", 1, stage="judge"),
    Failing("judge: Ctrl-C in the middle", slowly, 130, "interrupted", 1, stage="judge", interrupt=True),
)


@dataclass(frozen=True)
class Row:
    """What became of one run, and of the same command once more, with a healthy server."""

    code: int
    err: str
    lines: int
    lost: int
    calls: int
    seconds: float
    again: int
    same: bool  # whether FILE then has the bytes of a run without failures

    def message(self, says: str) -> str:
        """The line that says it."""
        return next((line for line in reversed(self.err.splitlines()) if re.search(says, line)), "")

    def wrong(self, failing: Failing) -> list[str]:
        """What is not as it should be."""
        bound = failing.lines if failing.interrupt else 0  # lines that were there when it was interrupted, at least
        found = {
            f"exit code {self.code}": self.code == failing.code,
            f"says {self.err}": bool(self.message(failing.says)),
            f"{self.lines} lines": self.lines == failing.lines or 0 < bound <= self.lines < LINES,
            f"{self.lost} lost": self.lost == failing.lost,
            f"again: {self.again}": self.again == 0,
            "other bytes": self.same or failing.name == "content filter, for one prompt",
        }
        return [words for words, good in found.items() if not good]

    @property
    def retries(self) -> int:
        found = re.search(r"(\d+) tried again", self.err)
        return int(found[1]) if found else 0


def run(failing: Failing, folder: Path) -> Row:
    """The stage against the failing server, then against a healthy one."""
    prepare(folder)
    started = time.monotonic()
    with scripted(failing.script(HEALTHY[failing.stage])) as server:
        process = start(failing.stage, server.url, folder)
        if failing.interrupt:
            wait_for(folder, failing.lines)
            process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        calls, seconds = len(server.asked), time.monotonic() - started
    there = lines_in(folder)
    with scripted(HEALTHY[failing.stage], port=server.port) as server:  # where it was: another judge is another run
        second = start(failing.stage, server.url, folder)
        _, again = second.communicate(timeout=60)
    out = folder / "out.jsonl"
    same = out.exists() and out.read_bytes() == reference(failing.stage)
    assert CANARY.encode() not in err + again + b"".join(path.read_bytes() for path in folder.iterdir())
    return Row(process.returncode, err.decode(), len(there), lost(there), calls, seconds, second.returncode, same)


def start(stage: str, url: str, folder: Path) -> "subprocess.Popen[bytes]":
    words = [str(forked_seal()), *WORK[stage][1].format(url=url).split(), *PATIENCE, "-o", "out.jsonl"]
    env = surroundings(OPENAI_API_KEY=CANARY, SEAL_JUDGE_API_KEY=CANARY)
    return subprocess.Popen(words, cwd=folder, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)


def prepare(folder: Path) -> None:
    (folder / "tasks.jsonl").write_text("".join(to_json(line) + "\n" for line in tasks()))
    (folder / "scores.jsonl").write_text("".join(to_json(line) + "\n" for line in scores()))


def lines_in(folder: Path) -> list[Record]:
    """Whole lines of FILE, or of what an unfinished run has left."""
    path = next((path for path in (folder / "out.jsonl", folder / "out.jsonl.part") if path.exists()), None)
    found = path.read_bytes().split(b"\n")[:-1] if path else []
    return [Record.model_validate_json(line) for line in found]


def wait_for(folder: Path, count: int) -> None:
    until = time.monotonic() + 30
    while len(lines_in(folder)) < count and time.monotonic() < until:
        time.sleep(0.02)


def lost(lines: list[Record]) -> int:
    """Lines without an answer or without a value."""
    unwritten = sum(line.edit is not None and line.edit.finish == "failed" for line in lines)
    return unwritten + sum(line.score is not None and line.score.value is None for line in lines)


REFERENCES: dict[str, bytes] = {}


def reference(stage: str) -> bytes:
    """FILE as a run without failures makes it."""
    if stage not in REFERENCES:
        with tempfile.TemporaryDirectory() as name, scripted(HEALTHY[stage]) as server:
            folder = Path(name)
            prepare(folder)
            assert start(stage, server.url, folder).wait(60) == 0
            REFERENCES[stage] = (folder / "out.jsonl").read_bytes()
    return REFERENCES[stage]


def main() -> None:
    print("| failure | exit | what it says | lines | without an answer | calls | retries | s | again | same bytes |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for failing in FAILURES:
        with tempfile.TemporaryDirectory() as name:
            row = run(failing, Path(name))
        said = row.message(failing.says).replace("|", "\\|")
        said = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", said)
        figures = (
            f"{row.lines} | {row.lost} | {row.calls} | {row.retries} | {row.seconds:.1f} | {row.again} | {row.same}"
        )
        print(f"| {failing.name} | {row.code} | {said} | {figures} |{' WRONG: '.join(['', *row.wrong(failing)])}")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
