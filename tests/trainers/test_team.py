"""Several processes that train one model: what one makes, written and told once, and no one left over."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from safetensors.torch import load_file

from stages.errors import BadConfig
from stages.interfaces import Example
from stages.models.device import Device
from stages.settings import SftConfig
from stages.trainers.team import Team, read_team
from tests.cli.conftest import SMALL_LORA, surroundings
from tests.forked import forked_seal

SHARED = ("--batch-size", "2", *SMALL_LORA)
Process = subprocess.Popen[bytes]
LINES = "".join(  # of which the last has a step for itself
    json.dumps({"prompt": "Read.", "completion": f"Inn {n} is {'very ' * n}red.", "advantage": n + 0.5}) + "\n"
    for n in range(3)
)


def meeting_place(size: int) -> dict[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}


def start(place: Path, model: Path, size: int, *more: str) -> list[Process]:
    """Start that many processes, of which the first has the lines on its stdin."""
    words = [forked_seal(), "sft", "--model", model, "--out", "next", "--loss", "weighted", *SHARED, *more]
    meet, run = meeting_place(size), []
    for rank in range(size):
        around = surroundings(RANK=str(rank), LOCAL_RANK=str(rank), **meet)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        run.append(subprocess.Popen(words, cwd=place, env=around, **pipes))  # type: ignore[call-overload]
    return run


def finish(run: list[Process]) -> list[tuple[int, bytes, bytes]]:
    """(code, stdout, stderr) of each."""
    told = [process.communicate(None if rank else LINES.encode(), timeout=240) for rank, process in enumerate(run)]
    return [(process.returncode, *each) for process, each in zip(run, told, strict=True)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    yield tmp_path


def test_two_processes_make_the_model_of_one_and_one_of_them_writes_and_speaks(place: Path, model_dir: Path) -> None:
    ((code, alone, _),) = finish(start(place / "one", model_dir, 1))
    first, second = finish(start(place / "two", model_dir, 2))
    assert (code, first[0], second) == (0, 0, (0, b"", b"")), first[2]
    one, two = json.loads(alone), json.loads(first[1])
    losses = [pytest.approx(one.pop(name), rel=1e-5) for name in ("loss_first", "loss_last")]
    assert [two.pop(name) for name in ("loss_first", "loss_last")] == losses
    assert one == two
    weights = [load_file(place / name / "next/model.safetensors") for name in ("one", "two")]
    assert all(torch.allclose(weights[0][name], weights[1][name], rtol=0, atol=1e-6) for name in weights[0])
    again = finish(start(place / "two", model_dir, 2))
    assert [each[:2] for each in again] == [(0, first[1]), (0, b"")]
    assert b"nothing to train" in again[0][2]


@pytest.mark.parametrize("dead", [0, 1])
def test_who_loses_another_process_ends_and_the_same_command_goes_on(dead: int, place: Path, model_dir: Path) -> None:
    run = start(place, model_dir, 2, "--epochs", "100000")
    lost, left = run[dead], run[1 - dead]
    assert run[0].stdin and run[0].stderr
    run[0].stdin.write(LINES.encode())
    run[0].stdin.close()
    run[0].stdin = None
    while b"tokens/s" not in run[0].stderr.readline():  # a step is done
        assert run[0].poll() is None
    os.kill(lost.pid, signal.SIGTERM)
    lost.communicate(timeout=60)
    told = left.communicate(timeout=60)[1]
    assert (left.returncode, told.splitlines()[-1]) == (
        75,
        b"seal: another process of this training is gone; run the same command again",
    )
    assert not (place / "next").exists()
    if dead == 0:  # it left its lock
        assert [each[0] for each in finish(start(place, model_dir, 2))] == [0, 0]


REFUSED = [
    ({"batch_size": 10}, {}, "--batch-size 10: is not a multiple of 4 processes times --micro-batch 1"),
    ({"batch_size": 8, "loss": "dpo"}, {}, "--loss dpo: is trained by one process"),
    ({"batch_size": 8}, {"ACCELERATE_USE_FSDP": "true"}, "ACCELERATE_USE_FSDP: every process holds the whole model"),
]


@pytest.mark.parametrize(("settings", "launcher", "told"), REFUSED)
def test_what_processes_cannot_share_out_alike_is_refused(
    settings: dict[str, object], launcher: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    config = SftConfig(**settings)  # type: ignore[arg-type]
    Team().check(config)
    with pytest.raises(BadConfig, match=told):
        Team(0, 4).check(config)


def test_a_rank_without_a_number_of_processes_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else set it, and there is no one whom this process could follow."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert read_team().leads


@pytest.mark.parametrize(("name", "text"), [("RANK", "x"), ("RANK", "-1"), ("WORLD_SIZE", "two")])
def test_variables_that_no_launcher_sets_are_told(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(
        BadConfig, match=f"{name}={text}: is no number, as torchrun and accelerate launch set it; unset"
    ):
        read_team()


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "")
    assert read_team() == Team(0, 1)
    assert [Team(rank, 2).leads for rank in range(2)] == [True, False]


def share_late(rank: int, meet: dict[str, str]) -> object:
    """Share in a process of its own, where torch waits for one second, and the leader reads for two."""
    os.environ.update(meet, RANK=str(rank), LOCAL_RANK=str(rank))
    torch.distributed.distributed_c10d.default_pg_timeout = timedelta(seconds=1)
    PartialState._reset_state()
    time.sleep(0 if rank else 2)
    return Team(rank, 2).share(None if rank else [Example("Read.", "Inn.")], Device("cpu"))


def test_the_others_wait_for_a_leader_that_reads_for_longer_than_torch_waits() -> None:
    meet = meeting_place(2)
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        shared = [pool.submit(share_late, rank, meet) for rank in range(2)]
        assert [each.result(60) for each in shared] == [[Example("Read.", "Inn.")]] * 2


def share_at(place: dict[str, str]) -> None:
    os.environ.update(place, RANK="0", WORLD_SIZE="2")
    PartialState._reset_state()
    Team(0, 2).share([], Device("cpu"))


@pytest.mark.parametrize("why", ["EADDRINUSE", "MASTER_ADDR"])
def test_processes_that_cannot_meet_are_told_why_and_not_to_try_again(why: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool,
        pytest.raises(BadConfig, match=f"these 2 processes cannot train together: .*{why}"),
    ):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(taken.getsockname()[1])}
        pool.submit(share_at, place if why == "EADDRINUSE" else {}).result(60)
