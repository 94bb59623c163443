"""What a crash leaves, the same command goes on from: journals of files and of pipes, refusals, locks."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from seal_cli.runs.journal import Journal
from seal_cli.runs.kept_lines import KeptLines
from seal_cli.runs.worker import run_worker
from stages.errors import Crashed, ExistingOutput, Locked
from stages.judges.base import RULES_VERSION
from stages.records.jsonl import encode_line
from stages.records.record import Record
from tests.cli.conftest import Finished, jsonl, pipe, seal
from tests.cli.inside import run_inside
from tests.conftest import INTERRUPTED_FORK, ROOT
from tests.invented import a_line, a_task, an_edit, numbered
from tests.judges.programs import is_gone

SETTINGS = {"stage": "test", "rank": 4, "fit": {"rate": 0.1, "epochs": 3}}


def key(line: bytes) -> str | None:
    return line[:1].decode() if line.endswith(b".\n") else None


def opened(folder: Path) -> Journal:
    return Journal(folder / "out.part", folder / "out.part.json")


def loaded(folder: Path) -> list[bytes]:
    journal = opened(folder)
    journal.load(key)
    found = [journal.whole_lines(start)[:length] for start, length in journal.spans.values()]
    journal.close()
    return found


# ---- the journal


@pytest.mark.parametrize("torn", [b"c thi", b"c thi\n", b"\0\0\0\0", b"\0\0\0.\n\0\0"])
def test_what_a_crash_tore_off_is_cut_away_and_the_rest_is_kept(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "out.part").write_bytes(b"a first.\nb second.\n" + torn)
    assert [line for line in loaded(tmp_path) if b"\0" not in line] == [b"a first.\n", b"b second.\n"]
    journal = opened(tmp_path)
    journal.load(key)
    journal.append("c", b"c third.\n")
    journal.close()
    assert loaded(tmp_path)[-1] == b"c third.\n"


def test_lines_that_cannot_be_synced_are_not_there_and_those_before_them_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path)
    journal.append("a", b"a first.\n")
    journal.append("b", b"b second.\n", synced=False)

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"Input/output error: '.*out\.part'"):
        patch.setattr(os, "fsync", fail)
        journal.append("c", b"c third.\n")
    assert list(journal.spans) == ["a"]
    journal.append("b", b"b again.\n")
    journal.close()
    assert loaded(tmp_path) == [b"a first.\n", b"b again.\n"]


def test_lines_that_a_dead_worker_left_unsynced_are_synced_before_they_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (fsync(descriptor), synced.append(os.fstat(descriptor).st_size))
    )
    journal = opened(tmp_path)
    (tmp_path / "out.part").write_bytes(b"a first.\n")
    journal.load(key)
    assert synced == [9]
    journal.append("b", b"b second.\n", synced=False)
    journal.close()
    assert synced == [9, 19]


def test_the_lines_of_a_journal_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    journal, lines = opened(tmp_path), [Record(task=numbered(title, 1)) for title in ("A", "B", "C")]
    for line in lines:
        journal.append(line.task.id, encode_line(line))
    kept = KeptLines(journal)
    journal.append("later", encode_line(lines[0]))
    assert len(kept) == 3
    assert list(kept) == list(kept) == lines
    assert (kept[1], kept[-2:]) == (lines[1], lines[-2:])
    assert next(iter(kept)) is not next(iter(kept))


def test_of_two_lines_with_one_key_the_later_counts_and_damage_in_the_middle_costs_that_line_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "out.part").write_bytes(b"a first.\n?\nb second.\na again.\n")
    assert sorted(loaded(tmp_path)) == [b"a again.\n", b"b second.\n"]


def test_a_published_file_has_the_lines_in_the_order_asked_for_and_the_journal_is_gone(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.begin(SETTINGS, anew=False, ways="")
    for name in "bca":
        journal.append(name, f"{name}.\n".encode())
    digest = journal.arrange(["a", "b"])
    journal.publish(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"a.\nb.\n"
    assert digest == hashlib.sha256(b"a.\nb.\n").hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_other_settings_are_refused_by_name_and_thrown_away_when_asked(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.begin(SETTINGS, anew=False, ways="")
    journal.append("a", b"a.\n")
    journal.close()
    other = {**SETTINGS, "rank": 8, "fit": {"rate": 0.1, "epochs": 4}}
    journal = opened(tmp_path)
    words = "made with other settings: fit.epochs was 3 and is 4 now, rank was 4 and is 8 now; go home"
    with pytest.raises(ExistingOutput, match=words):
        journal.begin(other, anew=False, ways="go home")
    journal.close()
    assert loaded(tmp_path) == [b"a.\n"]
    journal = opened(tmp_path)
    journal.begin(other, anew=True, ways="")
    journal.load(key)
    assert journal.spans == {}
    journal.close()


def test_lines_without_their_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "out.part").write_bytes(b"a.\n")
    journal = opened(tmp_path)
    with pytest.raises(ExistingOutput, match="it is there, but not the settings it was made with"):
        journal.begin(SETTINGS, anew=False, ways="")
    journal.close()


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(Locked, match="another process is writing it"):
        opened(tmp_path)
    first.append("a", b"a.\n")
    first.close()
    opened(tmp_path).close()


def test_a_journal_that_was_published_while_another_waited_for_its_lock_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between open and lock the file may be renamed: what was locked is then somebody's finished file."""
    (tmp_path / "out.part").write_bytes(b"a.\n")
    flock, tries = fcntl.flock, []

    def renamed_just_before(descriptor: int, how: int) -> None:
        if not tries:
            (tmp_path / "out.part").rename(tmp_path / "out")
        tries.append(descriptor)
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", renamed_just_before)
    journal = opened(tmp_path)
    assert len(tries) == 2
    journal.append("b", b"b.\n")
    journal.close()
    assert (tmp_path / "out").read_bytes() == b"a.\n"


# ---- the commands

FRAGILE = """
import os, signal
from pathlib import Path
from stages.interfaces import Completion


class Engine:
    def __init__(self, model, *, device, batch_size):
        self.model = model
        self.batch_size = batch_size

    def sample(self, requests, progress):
        requests = list(requests)
        for start in range(0, len(requests), self.batch_size):
            batch = requests[start:start + self.batch_size]
            progress.begin_work(request.id for request in batch)
            with open("asked", "a") as asked:
                asked.writelines(f"{request.id}\\n" for request in batch)
            for request in batch:
                if Path("stop").exists() and request.id.endswith(Path("stop").read_text()):
                    os.kill(os.getppid() if Path("all").exists() else os.getpid(), signal.SIGKILL)
                    signal.pause()
                if "POISON" in request.prompt:
                    os.kill(os.getpid(), signal.SIGSEGV)
            for request in batch:
                yield Completion(request.id, f"about {request.id} é", "stop", 3)


class Unloadable:
    def __init__(self, model, *, device, batch_size):
        os.kill(os.getpid(), signal.SIGKILL)


class Shaky(Engine):
    def __init__(self, model, *, device, batch_size):
        if not Path("loaded").exists():
            Path("loaded").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        super().__init__(model, device=device, batch_size=batch_size)
"""
MEDDLER = """
from pathlib import Path
from fragile import Engine


class Meddler(Engine):
    def __init__(self, model, *, device, batch_size):
        there = Path("tasks.jsonl")
        there.write_text(there.read_text().replace("Di", "Do"))
        super().__init__(model, device=device, batch_size=batch_size)
"""
OPTIONS = ("--model", ".", "--engine", "fragile:Engine", "-k", "3")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with four tasks and an engine that can be made to die."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "fragile.py").write_text(FRAGILE)
    (tmp_path / "tasks.jsonl").write_text(jsonl(Record(task=a_task(name)) for name in ("Ada", "Bo", "Cy", "Di")))
    return tmp_path


def generate(place: Path, *more: str, batch: int = 1) -> Finished:
    return seal("generate", "tasks.jsonl", *OPTIONS, "--batch", batch, *more, cwd=place)


def asked(place: Path) -> list[str]:
    return (place / "asked").read_text().split()


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def killed_halfway(place: Path, *more: str) -> Finished:
    """A run whose processes are all killed at the second sample of the third task."""
    tasks = [json.loads(line)["task"]["id"] for line in lines((place / "tasks.jsonl").read_text())]
    (place / "stop").write_text(f"{tasks[2]}/1")
    (place / "all").touch()
    died = generate(place, *more)
    (place / "stop").unlink()
    (place / "all").unlink()
    return died


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same_bytes(place: Path) -> None:
    whole = generate(place).out
    (place / "asked").unlink()
    died = killed_halfway(place, "-o", "edits.jsonl")
    assert died.code == -signal.SIGKILL
    assert len(lines((place / "edits.jsonl.part").read_text())) == 7
    again = generate(place, "-o", "edits.jsonl")
    assert again.code == 0
    assert "seal generate: goes on: 7 of 12 lines are in edits.jsonl.part\n" in again.err
    assert (place / "edits.jsonl").read_text() == whole
    assert len(asked(place)) == 13  # one of them twice
    assert sorted(path.name for path in place.glob("edits*")) == ["edits.jsonl", "edits.jsonl.manifest.json"]


def test_the_journal_of_a_pipe_passes_on_what_is_done_and_goes_on(place: Path) -> None:
    whole = generate(place).out
    died = killed_halfway(place, "--journal", "kept")
    assert whole.startswith(died.out)
    assert died.out in ("", *("".join(lines(whole)[:count]) for count in range(1, 8)))
    assert (place / "kept" / "generate.jsonl").read_text() == "".join(lines(whole)[:7])
    (place / "asked").unlink()
    again = generate(place, "--journal", "kept")
    assert (again.code, again.out) == (0, whole)
    assert len(asked(place)) == 5
    once_more = generate(place, "--journal", "kept")
    assert (once_more.code, once_more.out) == (0, whole)
    assert len(asked(place)) == 5


def test_a_finished_command_run_again_has_nothing_to_do(place: Path) -> None:
    first = generate(place, "-o", "edits.jsonl")
    before = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    again = generate(place, "-o", "edits.jsonl")
    assert (first.code, again.code) == (0, 0)
    assert "edits.jsonl is complete already; nothing to do" in again.err
    assert {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()} == before


def test_other_settings_input_or_content_are_refused_with_the_ways_out(place: Path) -> None:
    generate(place, "-o", "edits.jsonl")
    ways = "give the same settings and input to go on, --overwrite to begin anew, or another file with -o"
    for more, words in (
        (("--temperature", "0.5"), "sampling.temperature was 1.0 and is 0.5 now"),
        (("--limit", "2"), "limit was None and is 2 now"),
    ):
        refused = generate(place, "-o", "edits.jsonl", *more)
        assert (refused.code, refused.err) == (73, f"seal: edits.jsonl: made with other settings: {words}; {ways}\n")
    tasks = (place / "tasks.jsonl").read_text()
    (place / "tasks.jsonl").write_text("".join(lines(tasks)[:2]))
    assert "made from other input" in generate(place, "-o", "edits.jsonl").err
    (place / "tasks.jsonl").write_text(tasks)
    with (place / "edits.jsonl").open("a") as file:
        file.write("\n")
    refused = generate(place, "-o", "edits.jsonl")
    assert (refused.code, "was changed since it was written" in refused.err) == (73, True)
    assert generate(place, "-o", "edits.jsonl", "--overwrite").code == 0


def test_an_unfinished_file_is_not_gone_on_with_under_other_settings_or_input(place: Path) -> None:
    killed_halfway(place, "-o", "edits.jsonl")
    part = (place / "edits.jsonl.part").read_bytes()
    refused = generate(place, "-o", "edits.jsonl", "--top-p", "0.5")
    assert refused.code == 73
    assert "edits.jsonl.part: made with other settings: sampling.top_p was 0.95 and is 0.5 now; " in refused.err
    tasks = (place / "tasks.jsonl").read_text()
    (place / "tasks.jsonl").write_text("".join(lines(tasks)[1:]))
    refused = generate(place, "-o", "edits.jsonl")
    assert refused.code == 73
    assert "edits.jsonl.part: holds 3 lines that are not of this input" in refused.err
    assert (place / "edits.jsonl.part").read_bytes() == part
    (place / "asked").unlink()
    done = generate(place, "-o", "edits.jsonl", "--overwrite")  # what is of this input is kept
    assert done.code == 0
    assert len(asked(place)) == 5
    assert len(lines((place / "edits.jsonl").read_text())) == 9


def test_input_in_another_order_gives_the_same_lines_in_that_order(place: Path) -> None:
    whole = lines(generate(place).out)
    killed_halfway(place, "-o", "edits.jsonl")
    (place / "tasks.jsonl").write_text("".join(lines((place / "tasks.jsonl").read_text())[::-1]))
    assert generate(place, "-o", "edits.jsonl").code == 0
    assert lines((place / "edits.jsonl").read_text()) == whole[9:] + whole[6:9] + whole[3:6] + whole[:3]


def test_another_models_weights_under_the_same_name_are_other_settings(place: Path) -> None:
    killed_halfway(place, "-o", "edits.jsonl")
    (place / "config.json").write_text('{"hidden_size": 2}')
    refused = generate(place, "-o", "edits.jsonl")
    assert (refused.code, "weights was" in refused.err) == (73, True)


def test_a_judge_with_other_rules_does_not_go_on_with_verdicts_of_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scores.jsonl").write_text(jsonl([a_line(numbered("Ada", 2), [True, False])]))
    way = ("judge", "scores.jsonl", "-j", "lexical", "-o", "out.jsonl")
    assert seal(*way, cwd=tmp_path).code == 0
    monkeypatch.setattr("seal_cli.runs.engines.RULES_VERSION", RULES_VERSION + 1)
    refused = run_inside(*way, cwd=tmp_path)
    assert refused.code == 73
    assert f"lexical, rules {RULES_VERSION + 1}" in refused.err


def test_input_that_has_grown_costs_only_what_is_new_and_a_finished_file_is_gone_on_with(place: Path) -> None:
    whole = generate(place).out
    tasks = (place / "tasks.jsonl").read_text()
    (place / "tasks.jsonl").write_text("".join(lines(tasks)[1:3]))
    assert generate(place, "-o", "edits.jsonl").code == 0
    (place / "asked").unlink()
    (place / "tasks.jsonl").write_text(tasks)
    grown = generate(place, "-o", "edits.jsonl")
    assert grown.code == 0, grown.err
    assert len(asked(place)) == 6
    assert (place / "edits.jsonl").read_text() == whole


@pytest.mark.parametrize("before", [2, 0])
def test_a_run_that_is_killed_between_the_manifest_and_the_name_of_a_file_that_is_there_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """The manifest is then the new one, and FILE the old one, of less input or of none."""
    way, tasks = (
        ("generate", "-t", "none", "-o", "edits.jsonl", "--allow-empty"),
        [Record(task=a_task(name)) for name in ("Ada", "Bo", "Cy")],
    )
    whole = run_inside(*way[:3], stdin=jsonl(tasks), cwd=tmp_path).out
    assert run_inside(*way, stdin=jsonl(tasks[:before]), cwd=tmp_path).code == 0

    def die(journal: Journal, path: Path) -> None:
        fcntl.flock(journal.descriptor, fcntl.LOCK_UN)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "publish", die)
        assert run_inside(*way, stdin=jsonl(tasks), cwd=tmp_path).code == 130
    assert (tmp_path / "edits.jsonl").read_text() != whole
    again = run_inside(*way, stdin=jsonl(tasks), cwd=tmp_path)
    assert again.code == 0, again.err
    assert (tmp_path / "edits.jsonl").read_text() == whole
    assert not list(tmp_path.glob("*.part*"))


def test_overwrite_keeps_what_is_of_the_same_settings_and_input_and_makes_the_file_new(place: Path) -> None:
    generate(place, "-o", "edits.jsonl")
    before, whole = (place / "edits.jsonl").stat().st_mtime_ns, (place / "edits.jsonl").read_text()
    (place / "asked").unlink()
    assert generate(place, "-o", "edits.jsonl", "--overwrite").code == 0
    assert (place / "edits.jsonl").stat().st_mtime_ns > before  # make goes by the time
    assert (place / "edits.jsonl").read_text() == whole
    assert not (place / "asked").exists()


@pytest.mark.parametrize("where", [("-o", "edits.jsonl"), ("--journal", "kept")])
def test_no_input_at_all_never_costs_what_is_done(place: Path, where: tuple[str, str]) -> None:
    """The stage before has failed: a pipe then ends as if there were nothing to do."""
    killed_halfway(place, *where)
    part = place / ("edits.jsonl.part" if where[0] == "-o" else "kept/generate.jsonl")
    done = part.read_bytes()
    for more in ((), ("--overwrite",)):
        refused = seal("generate", *OPTIONS, *where, *more, stdin="", cwd=place)
        assert (refused.code, "no lines came; see what the stage before" in refused.err) == (
            65,
            True,
        )
        assert part.read_bytes() == done
    refused = seal("generate", "tasks.jsonl", "-t", "none", *where, cwd=place)
    assert (refused.code, "made with other settings: " in refused.err) == (73, True)
    assert part.read_bytes() == done


def test_show_data_is_not_taken_for_the_adapters_that_are_there(place: Path) -> None:
    (place / "adapters.jsonl.part").write_text('{"hours": "of work"}\n')
    (place / "adapters.jsonl.part.json").write_text('{"stage": "adapt", "resumes": true}')
    task = a_task()
    edits = jsonl([Record(task=task, edit=an_edit(task))])
    refused = seal("adapt", "--show-data", "-o", "adapters.jsonl", stdin=edits, cwd=place)
    assert (refused.code, "show_data was None and is True now" in refused.err) == (73, True)
    assert (place / "adapters.jsonl.part").read_text() == '{"hours": "of work"}\n'


def test_only_files_are_replaced(place: Path) -> None:
    os.mkfifo(place / "fifo")
    (place / "real").mkdir()
    (place / "link.jsonl").symlink_to("real/edits.jsonl")
    pipe = "a device or pipe"
    for name, words in (("/dev/null", pipe), ("fifo", pipe), ("/dev/stdout", pipe), ("real", "a folder")):
        refused = generate(place, "-o", name, "--overwrite")
        assert (refused.code, f"{name}: {words}; give a file with -o" in refused.err) == (73, True)
    assert generate(place, "-o", "link.jsonl").code == 0
    assert (place / "link.jsonl").is_symlink()
    assert len(lines((place / "real" / "edits.jsonl").read_text())) == 12


def test_the_input_is_no_output_whatever_may_be_replaced(place: Path) -> None:
    before = (place / "tasks.jsonl").read_bytes()
    (place / "link.jsonl").symlink_to("tasks.jsonl")
    shutil.copy(place / "tasks.jsonl", place / "other.jsonl.part")
    for output in ("tasks.jsonl", "link.jsonl"):
        refused = generate(place, "-o", output, "--overwrite")
        told = f"-o {output}: would take the place of tasks.jsonl, which the run needs; give another file"
        assert (refused.code, told in refused.err) == (73, True)
    for call in (("tasks", "tasks.jsonl"), ("filter", "tasks.jsonl"), ("merge", "other.jsonl", "tasks.jsonl")):
        assert seal(*call, "-o", "tasks.jsonl", "--overwrite", cwd=place).code in (65, 66, 73)
    assert seal("tasks", "other.jsonl.part", "-o", "other.jsonl", cwd=place).code == 73
    assert (place / "tasks.jsonl").read_bytes() == (place / "other.jsonl.part").read_bytes() == before


# ---- workers


def test_a_record_that_kills_its_worker_twice_is_rejected_and_the_run_goes_on(place: Path) -> None:
    with (place / "tasks.jsonl").open("a") as file:
        file.write(jsonl(Record(task=a_task(name)) for name in ("POISON", "Ed")))
    done = generate(place, "-o", "edits.jsonl", "--rejects", "bad.jsonl", batch=4)
    assert done.code == 3, done.err
    titles = [json.loads(line)["task"]["title"] for line in lines((place / "edits.jsonl").read_text())]
    assert titles == [name for name in ("Ada", "Bo", "Cy", "Di", "Ed") for _ in range(3)]
    rejects = [json.loads(line) for line in lines((place / "bad.jsonl").read_text())]
    assert [json.loads(reject["text"])["task"]["title"] for reject in rejects] == ["POISON"] * 3
    assert {reject["reason"] for reject in rejects} == {"its worker died twice, the last time of SIGSEGV"}
    assert "the worker died of SIGSEGV with 4 records in work; tried once more, each alone" in done.err
    assert Counter(asked(place))[f"{json.loads(rejects[0]['text'])['task']['id']}/0"] == 2
    assert "15 out, 0 failed, 0 unscored, 3 rejected" in done.err
    again = generate(place, "-o", "edits.jsonl", "--rejects", "bad.jsonl", batch=4)
    assert (again.code, "complete already" in again.err) == (3, True)


def test_workers_that_die_before_any_record_is_in_work_end_the_run(place: Path) -> None:
    more = ("--model", ".", "--engine", "fragile:Unloadable", "-o", "edits.jsonl")
    died = seal("generate", "tasks.jsonl", *more, cwd=place)
    assert died.code == 75
    assert died.err.splitlines() == [
        "seal: the worker died of SIGKILL with no record in work; another goes on",
        "seal: the worker was killed 2 times before any record was in work, most likely by a system that was out of "
        "memory",
    ]


def test_a_worker_that_dies_once_before_any_record_is_in_work_is_followed_by_another(place: Path) -> None:
    assert generate(place, "-o", "whole.jsonl").code == 0
    more = ("--model", ".", "--engine", "fragile:Shaky", "-k", "3", "-o", "edits.jsonl")
    done = seal("generate", "tasks.jsonl", *more, cwd=place)
    assert done.code == 0, done.err
    assert "seal: the worker died of SIGKILL with no record in work; another goes on" in done.err
    assert (place / "edits.jsonl").read_bytes() == (place / "whole.jsonl").read_bytes()


def test_an_input_that_is_changed_in_the_middle_ends_the_run_and_as_it_was_the_run_goes_on(place: Path) -> None:
    whole, there = generate(place, "-o", "whole.jsonl"), (place / "tasks.jsonl").read_text()
    (place / "meddler.py").write_text(MEDDLER)
    more = ("--model", ".", "-k", "3", "-o", "edits.jsonl", "--engine")
    ended = seal("generate", "tasks.jsonl", *more, "meddler:Meddler", cwd=place)
    assert (whole.code, ended.code) == (0, 65)
    assert "tasks.jsonl:4: was changed while this run works on it; put it back as it was, and the same" in ended.err
    (place / "tasks.jsonl").write_text(there)
    # Of another size than before: within one second Python would take the .pyc of the first.
    (place / "meddler.py").write_text(MEDDLER.replace('.replace("Di", "Do")', ""))
    assert seal("generate", "tasks.jsonl", *more, "meddler:Meddler", cwd=place).code == 0
    assert (place / "edits.jsonl").read_bytes() == (place / "whole.jsonl").read_bytes()


def test_a_worker_does_not_outlive_the_process_that_the_shell_sees(place: Path) -> None:
    (place / "fragile.py").write_text(
        FRAGILE.replace(
            "progress.begin_work(request", 'Path("pid").write_text(str(os.getpid())); progress.begin_work(request'
        )
    )
    died = killed_halfway(place, "-o", "edits.jsonl")
    assert died.code == -signal.SIGKILL
    assert is_gone(int((place / "pid").read_text()))


UNRULY = f"""{INTERRUPTED_FORK}
from seal_cli.runs.worker import run_worker

code = run_worker(lambda: print("works", flush=True), None, [])
print("parent", code, flush=True)
"""


def test_a_worker_that_is_interrupted_as_it_begins_does_not_go_on_as_its_parent() -> None:
    told = subprocess.run([sys.executable, "-c", UNRULY], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout, told.stderr) == (0, "works\nparent 0\n", "")


def test_a_worker_that_a_library_ends_has_a_code_of_ours_and_words() -> None:
    with pytest.raises(Crashed, match="ended from within"):
        run_worker(lambda: os._exit(1), None, [])
    with pytest.raises(SystemExit, match="69"):
        run_worker(lambda: os._exit(69), None, [])


def test_a_task_that_kills_every_worker_costs_its_own_samples_alone(place: Path) -> None:
    tasks = (place / "tasks.jsonl").read_text()
    (place / "tasks.jsonl").write_text(jsonl([Record(task=a_task("POISON"))]) + "".join(lines(tasks)[:2]))
    done = seal("generate", "tasks.jsonl", *OPTIONS[:-1], "7", "--batch", 4, "-o", "edits.jsonl", cwd=place)
    assert done.code == 3, done.err
    assert "14 out, 0 failed, 0 unscored, 7 rejected" in done.err


def test_a_worker_that_is_killed_in_a_pipe_loses_and_doubles_nothing(place: Path) -> None:
    whole = generate(place).out
    for stop in ("/0", "/2"):
        (place / "stop").write_text(stop)
        once = FRAGILE.replace("os.kill(os.getppid()", 'Path("stop").unlink(); os.kill(os.getppid()')
        (place / "fragile.py").write_text(once)
        done = generate(place, "--journal", f"kept{stop}")
        assert (done.code, sorted(lines(done.out))) == (0, sorted(lines(whole)))  # suspects come last
        assert "the worker died of SIGKILL" in done.err


DAEMON = """
import multiprocessing, time
import fragile


class Engine(fragile.Engine):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        begun = multiprocessing.get_context("fork").Event()
        multiprocessing.get_context("fork").Process(target=rest, args=(begun,), daemon=True).start()
        begun.wait()  # Python forgets a signal that comes while a fork is under way


def rest(begun):
    begun.set()
    time.sleep(60)
"""


def test_children_of_an_engine_hold_neither_the_pipe_nor_the_lock(place: Path) -> None:
    (place / "daemon.py").write_text(DAEMON)
    before = time.monotonic()
    for name in ("one", "one", "two"):
        options = ("--model", ".", "--engine", "daemon:Engine", "-k", "1")
        assert seal("generate", "tasks.jsonl", *options, "--journal", name, cwd=place).code == 0
    assert time.monotonic() - before < 50


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"])
def test_a_stderr_that_cannot_be_written_stops_no_work(place: Path, redirection: str) -> None:
    ended = pipe(f"seal generate tasks.jsonl {' '.join(OPTIONS)} -o edits.jsonl {redirection}", cwd=place)
    assert ended.code == 0
    assert len(lines((place / "edits.jsonl").read_text())) == 12


def test_a_parent_that_ignores_the_end_of_children_changes_nothing(place: Path) -> None:
    command = f"trap '' CHLD; seal generate tasks.jsonl {' '.join(OPTIONS)} -o edits.jsonl"
    assert pipe(command, cwd=place).code == 0


SHAKY = """
import os, signal
from pathlib import Path
from stages.judges.base import Verdict


class Judge:
    name = "shaky"

    def grade(self, cases):
        for number, case in enumerate(cases):
            if Path("unsure").exists() and number == 4:
                os.kill(os.getppid(), signal.SIGKILL)
                signal.pause()
            if Path("deadly").exists():
                Path("deadly").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            yield Verdict(None, "timeout") if Path("unsure").exists() else Verdict(True)
"""


def test_a_line_that_is_to_be_made_again_is_not_taken_for_done_when_a_worker_dies(tmp_path: Path) -> None:
    (tmp_path / "shaky.py").write_text(SHAKY)
    scores = [a_line(numbered(name, 2), [False, False]) for name in ("Ada", "Bo", "Cy")]
    said = [
        line.score.answers[n].model_copy(update={"prediction": f"{line.task.title} {n}"})
        for line in scores
        for n in range(2)
        if line.score
    ]
    lines_of = [
        line.grow(score=line.score.model_copy(update={"answers": tuple(said[2 * place : 2 * place + 2])}))
        for place, line in enumerate(scores)
        if line.score
    ]
    (tmp_path / "scores.jsonl").write_text(jsonl(lines_of))
    way = ("judge", "scores.jsonl", "-j", "shaky:Judge", "-o", "out.jsonl")
    (tmp_path / "unsure").touch()
    assert seal(*way, cwd=tmp_path).code == -signal.SIGKILL
    assert b"timeout" in (tmp_path / "out.jsonl.part").read_bytes()
    (tmp_path / "unsure").unlink()
    (tmp_path / "deadly").touch()
    done = seal(*way, cwd=tmp_path)
    assert (done.code, "the worker died of SIGKILL" in done.err) == (0, True), done.err
    scored = [json.loads(line)["score"]["value"] for line in lines((tmp_path / "out.jsonl").read_text())]
    assert scored == [1.0, 1.0, 1.0]


def test_ids_with_line_breaks_are_ids_to_a_worker_too(place: Path) -> None:
    odd = a_task("POISON").model_copy(update={"id": "one\n\n-two\n+"})
    (place / "tasks.jsonl").write_text(jsonl([Record(task=odd), Record(task=a_task("Ada"))]))
    done = generate(place, "-o", "edits.jsonl", batch=6)
    assert done.code == 3, done.err
    assert "3 out, 0 failed, 0 unscored, 3 rejected" in done.err
