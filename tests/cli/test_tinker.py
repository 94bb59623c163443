"""`seal adapt --trainer tinker`: flags that do nothing there, and runs that go on."""

import json
from pathlib import Path

import pytest

from stages.records.record import Record
from tests.cli.conftest import Finished, jsonl, seal
from tests.cli.inside import run_inside
from tests.invented import a_task, an_edit
from tests.trainers.tinker_server import NAME, serving, status

FIT = ("--alpha", "32", "--target", "all-linear", "--rank", "2", "--epochs", "1", "--learning-rate", "1e-2")
ADAPT = ("adapt", "edits.jsonl", "--trainer", "tinker", "--base-model", NAME, "--slots", "1", "-o", "adapters.jsonl")


@pytest.fixture
def place(model_dir: Path, tmp_path: Path) -> Path:
    (tmp_path / "model").symlink_to(model_dir)
    (tmp_path / "edits.jsonl").write_text(
        jsonl([Record(task=task, edit=an_edit(task)) for task in map(a_task, ("Ada", "Bo", "Cy"))])
    )
    return tmp_path


def adapt(place: Path, url: str, *more: str, **env: str) -> Finished:
    return seal(*ADAPT, *FIT, "--model", "model", "--base-url", url, "--retry-for", "0.3", *more, cwd=place, **env)


def test_a_run_that_its_service_broke_off_goes_on_with_what_is_missing(place: Path) -> None:
    """The service is another one, at another address: nothing that was made depends on it."""
    gone = {("create_model", number): status(503) for number in range(2, 99)}
    key = "tml-canary-0123456789"
    with serving(place / "model", faults=gone) as service:
        first = adapt(place, service.url, TINKER_API_KEY=key)
    assert first.code == 69, first.err
    kept = (place / "adapters.jsonl.part").read_text()
    assert kept.count("\n") == 1
    with serving(place / "model") as service:
        second = adapt(place, service.url, TINKER_API_KEY=key)
        assert (second.code, service.made) == (0, 2), second.err
        third = adapt(place, service.url, "--out", "others", "-o", "others.jsonl")
    assert third.code == 0
    made = (place / "adapters.jsonl").read_text()
    assert made.startswith(kept)
    texts = made, (place / "others.jsonl").read_text()
    one, other = ([json.loads(line)["adapter"] for line in text.splitlines()] for text in texts)
    assert [each["id"] for each in one] == [each["id"] for each in other]
    for adapter, again in zip(one, other, strict=True):
        assert (adapter["model"], adapter["fit"]["alpha"]) == ("model", 32.0)
        files = [Path(place, each["path"], "adapter_model.safetensors").read_bytes() for each in (adapter, again)]
        assert files[0] == files[1]
    assert all(key not in path.read_text(errors="replace") for path in place.glob("adapters.*"))


URL = ("--base-url", "http://127.0.0.1:9")
TINKER = ("--trainer", "tinker", *URL)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--trainer", "tinker"), "--trainer tinker: which service? give --base-url URL"),
        (("--trainer", "tinker", "--base-url", "localhost:8000"), "--base-url: not an http or https URL"),
        (URL, "--base-url http://127.0.0.1:9: --trainer batched asks no service; give --trainer tinker"),
        (("--trainer", "peft", "--base-model", "m"), "--base-model m: --trainer peft asks no service"),
        ((*TINKER, "--device", "cpu"), "--device cpu: --trainer tinker trains at a service"),
        ((*TINKER, "--checkpoint-every", "3"), "--checkpoint-every 3: --trainer tinker trains at a service"),
        ((*TINKER, "--ray", "local"), "--ray local: the service of --trainer tinker does the work"),
        ((*TINKER, "--concurrency", "3"), "--concurrency 3: it is for the judge of a gate"),
        (TINKER, "--alpha 64: a service of --trainer tinker trains with alpha 32; give --alpha 32"),
        ((*TINKER, *FIT, "--dropout", "0.1"), "--dropout 0.1: a service of --trainer tinker has none"),
        ((*TINKER, *FIT, "--pad-mode", "full"), "--pad-mode full: a service of --trainer tinker has no pads"),
        ((*TINKER, "--alpha", "32"), "no --target: a service of --trainer tinker adapts attention, MLP or both"),
        ((*TINKER, *FIT, "--sequential"), "--trainer tinker: only the trainers of seal build a sequence"),
        ((*TINKER, "--pool", "--method", "full"), "--trainer tinker: --method full has a trainer of its own"),
    ],
)
def test_flags_that_would_do_nothing_there_are_refused(flags: tuple[str, ...], words: str, place: Path) -> None:
    found = run_inside("adapt", "edits.jsonl", "--model", "model", *flags, "-o", "out.jsonl", cwd=place)
    assert found.code == 78
    assert words in found.err
