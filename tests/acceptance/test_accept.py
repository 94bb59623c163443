"""`seal accept` with transformers: the good adapter passes, whatever else the engine has under its name does not."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from stages.interfaces import Completion, Request
from stages.records.jsonl import encode_line
from stages.records.record import Adapter, Record
from tests.acceptance.damage import cut_file, drop_last_layer, perturb, set_alpha, zero
from tests.cli.conftest import Finished
from tests.cli.inside import run_inside
from tests.conftest import make_tokenizer
from tests.invented import a_score, an_adapter, an_edit, numbered
from tests.tiny_models import make_adapter

TARGETS = ("q_proj", "v_proj", "down_proj")


class Talker:
    """An engine of somebody else's, which tells no log-probabilities."""

    def __init__(self, model: str, **settings: object) -> None:
        self.model = model

    def sample(self, requests: Iterable[Request], progress: object) -> Iterator[Completion]:
        return iter(())


class Rememberer(Talker):
    """One that remembers what it was asked, and answers the same to everything."""

    asked: ClassVar[list[Request]] = []

    def sample(self, requests: Iterable[Request], progress: object) -> Iterator[Completion]:
        for each in requests:
            self.asked.append(each)
            yield Completion(each.id, "x", "stop", 1)


@pytest.fixture(scope="module")
def good(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(model_dir, tmp_path_factory.mktemp("good") / "good", seed=1, targets=TARGETS)


@pytest.fixture(scope="module")
def other(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another task's adapter."""
    return make_adapter(model_dir, tmp_path_factory.mktemp("other") / "other", seed=2, targets=TARGETS)


def accept(*arguments: object, cwd: Path) -> Finished:
    done = run_inside("accept", *arguments, "--device", "cpu", "--probe-tokens", "96", cwd=cwd)
    assert "Traceback" not in done.err
    return done


def verdicts(done: Finished) -> dict[str, str]:
    """The verdict of each check on stderr."""
    rows = [row for row in done.err.splitlines() if row.startswith("  ")]
    return {row[13:].partition(":")[0]: row[2:13].strip() for row in rows}


def merge(base: Path, adapter: Path, folder: Path) -> Path:
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    PeftModel.from_pretrained(network, adapter).merge_and_unload().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def test_the_good_adapter_is_accepted(good: Path, other: Path, tmp_path: Path) -> None:
    done = accept(good, "--among", other, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert verdicts(done) == {
        **dict.fromkeys(("base", "applied", "right one", "trained"), "passed"),
        "accuracy": "not tried",
    }
    (row,) = done.lines
    assert (row["adapter"], row["accepted"]) == ("good", True)
    assert row["figures"]["error"] < 1e-4 < 0.1 < row["figures"]["effect"]
    assert {each["check"]: each["verdict"] for each in row["checks"]} == verdicts(done)


@pytest.mark.parametrize(
    ("damage", "failed"),
    [(zero, {"applied", "trained"}), (set_alpha(2), {"trained"}), (set_alpha(0.5), {"trained"})],
    ids=["zeroed", "alpha doubled", "alpha halved"],
)
def test_a_damaged_copy_in_the_engine_is_not(
    damage: object, failed: set[str], good: Path, other: Path, tmp_path: Path
) -> None:
    bad = damage(good, tmp_path / "bad")  # type: ignore[operator]
    done = accept(good, "--served", bad, cwd=tmp_path)
    assert done.code == 3, done.err
    assert {name for name, verdict in verdicts(done).items() if verdict == "failed"} == failed
    assert "good: not accepted" in done.err


def test_another_adapter_under_its_name_is_told_by_its_own(good: Path, other: Path, tmp_path: Path) -> None:
    done = accept(good, "--served", other, "--among", other, cwd=tmp_path)
    assert done.code == 3
    assert {name for name, verdict in verdicts(done).items() if verdict == "failed"} == {"right one", "trained"}
    assert "the engine has other under its name" in done.err
    assert accept(good, "--served", other, cwd=tmp_path).code == 3  # also where nobody says which


@pytest.mark.parametrize(("damage", "words"), [(drop_last_layer, "no weight for"), (cut_file, "download it again")])
def test_a_truncated_adapter_is_a_loud_error(damage: object, words: str, good: Path, tmp_path: Path) -> None:
    bad = damage(good, tmp_path / "bad")  # type: ignore[operator]
    for arguments in ((good, "--served", bad), (bad,)):
        done = accept(*arguments, cwd=tmp_path)
        assert done.code == 65, done.err
        assert f"adapter {bad}" in done.err or str(bad) in done.err
        assert words in done.err


def test_another_base_model_is_not_taken_for_noise(model_dir: Path, good: Path, tmp_path: Path) -> None:
    done = accept(good, "--model", perturb(model_dir, tmp_path / "base"), cwd=tmp_path)
    assert done.code == 3, done.err
    assert verdicts(done)["base"] == "failed"
    assert verdicts(done)["trained"] == "not tried"  # twice such a noise would hide everything


def test_an_adapter_that_does_nothing_by_itself_is_told_without_another(good: Path, tmp_path: Path) -> None:
    done = accept(zero(good, tmp_path / "bad"), cwd=tmp_path)
    assert done.code == 3
    assert verdicts(done)["applied"] == "failed"
    assert "the adapter moves the reference by 0 nats a token" in done.err


def test_a_merged_model_is_accepted_in_its_place_and_one_of_another_alpha_is_not(
    model_dir: Path, good: Path, tmp_path: Path
) -> None:
    assert accept(good, "--served", merge(model_dir, good, tmp_path / "merged"), cwd=tmp_path).code == 0
    wrong = merge(model_dir, set_alpha(2)(good, tmp_path / "doubled"), tmp_path / "wrong")
    done = accept(good, "--served", wrong, cwd=tmp_path)
    assert (done.code, verdicts(done)["trained"]) == (3, "failed")


def write_lines(model: Path, file: Path, *adapters: Path, alpha: float = 8.0, scored: bool = False) -> Path:
    """Adapter lines, or score lines whose every answer was right."""
    lines = []
    for number, path in enumerate(adapters):
        task = numbered(f"Town {number}", 8)
        edit = an_edit(task, completion=f"Town {number} has an inn.\nTown {number} has a door.")
        fit = {"rank": 2, "alpha": alpha}
        about = {**an_adapter(edit, path=str(path)).model_dump(), "model": str(model), "fit": fit}
        score = a_score(task, [True] * 8) if scored else None
        lines.append(Record(task=task, edit=edit, adapter=Adapter.model_validate(about), score=score))
    file.write_bytes(b"".join(map(encode_line, lines)))
    return file


def test_the_adapters_of_lines_are_told_from_each_other_by_what_they_were_trained_on(
    model_dir: Path, good: Path, other: Path, tmp_path: Path
) -> None:
    done = accept(write_lines(model_dir, tmp_path / "lines.jsonl", good, other), "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert [list(row["figures"]["others"]) for row in done.lines] == [
        [done.lines[1]["adapter"]],
        [done.lines[0]["adapter"]],
    ]
    assert "2 of 2 accepted" in done.err


def test_a_directory_that_is_not_as_its_line_says_is_refused(model_dir: Path, good: Path, tmp_path: Path) -> None:
    done = accept(write_lines(model_dir, tmp_path / "lines.jsonl", good, alpha=4.0), cwd=tmp_path)
    assert done.code == 65
    assert "its settings say lora_alpha 8, its line 4" in done.err


def test_answers_that_are_no_longer_right_fail_the_exam(model_dir: Path, good: Path, tmp_path: Path) -> None:
    """A random model answers nothing rightly; its line says that all 8 were."""
    lines = write_lines(model_dir, tmp_path / "lines.jsonl", good, scored=True)
    done = accept(lines, "-j", "exact", cwd=tmp_path)
    assert (done.code, verdicts(done)["accuracy"]) == (3, "failed"), done.err
    assert "0.0 % of 8 questions, 100.0 % on its lines; 8 lost, 0 won" in done.err
    exam = tmp_path / "exam.jsonl"
    exam.write_bytes(encode_line(Record(task=numbered("Velm", 8))))
    done = accept(lines, "--exam", exam, "-j", "exact", cwd=tmp_path)
    assert (done.code, verdicts(done)["accuracy"]) == (0, "passed"), done.err
    assert "0.0 % of 8 questions, 0.0 % in the reference" in done.err


def test_an_exam_is_asked_as_its_score_lines_were(model_dir: Path, good: Path, tmp_path: Path) -> None:
    lines = write_lines(model_dir, tmp_path / "lines.jsonl", good, scored=True)
    manifest, flags = tmp_path / "lines.jsonl.manifest.json", ("--engine", f"{__name__}:Rememberer", "-j", "exact")
    for way, ending, told in (
        ({"stage": "eval", "sampling": {"max_tokens": 7, "stop": ["\n"]}}, (7, ("\n",)), "8 questions, 100.0 % on its"),
        ({"stage": "judge", "sampling": {"max_tokens": 7}}, (64, ()), "8 questions, 100.0 % on its lines"),
        ({"stage": "eval", "in_context": True}, (64, ()), "8 questions, 0.0 % in the reference"),
    ):
        manifest.write_text(json.dumps({"settings": way}))
        Rememberer.asked.clear()
        done = accept(lines, *flags, cwd=tmp_path)
        assert {(each.sampling.max_tokens, each.sampling.stop) for each in Rememberer.asked} == {ending}, done.err
        assert told in done.err


def test_what_an_engine_does_not_tell_is_not_tried_and_not_accepted(good: Path, tmp_path: Path) -> None:
    done = accept(good, "--engine", f"{__name__}:Talker", cwd=tmp_path)
    assert done.code == 3, done.err
    assert set(verdicts(done).values()) == {"not tried"}
    assert "tells no log-probabilities" in done.err


def test_texts_of_a_file_are_compared_instead(good: Path, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text("one two three\n\nfour five six seven\n", encoding="utf-8")
    done = accept(good, "--texts", "texts", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    count = sum(len(make_tokenizer()(text)["input_ids"]) - 1 for text in ("one two three", "four five six seven"))
    assert done.lines[0]["figures"]["tokens"] == count
    (tmp_path / "texts").write_text("\n", encoding="utf-8")
    assert accept(good, "--texts", "texts", cwd=tmp_path).code in (65, 78)


def test_flags_that_would_do_nothing_are_refused(model_dir: Path, good: Path, other: Path, tmp_path: Path) -> None:
    lines = write_lines(model_dir, tmp_path / "lines.jsonl", good, other)
    for arguments, words in (
        ((good, "--plain-url", "http://localhost:1/v1"), "--plain-url"),
        ((good, "--base-url", "http://localhost:1/v1"), "--base-url"),
        ((lines, "--served", good), "--served"),
    ):
        done = accept(*arguments, cwd=tmp_path)
        assert done.code == 78, done.err
        assert words in done.err


def test_a_server_that_is_not_there_is_69(good: Path, tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    done = run_inside("accept", good, "--engine", "openai", "--base-url", url, "--retry-for", "0", cwd=tmp_path)
    assert done.code == 69, done.err
    assert json.dumps(url)[1:-1] in done.err
