"""Passes that fit: what a step costs, how it is divided, and what happens when the device's memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.errors import OutOfMemory
from stages.interfaces import Example, FitJob, TrainingSet
from stages.models.device import is_out_of_memory
from stages.settings import FitConfig
from stages.trainers.batched import chunked_loss, memory
from stages.trainers.batched.chunked_loss import get_loss_bytes
from stages.trainers.batched.loop import TrainingLoop
from stages.trainers.batched.memory import PassBudget, count_fitting_adapters, count_fitting_tokens, measure_saved_bytes
from stages.trainers.batched.packing import PackedSequence
from stages.trainers.batched.trainer import BatchedLoraTrainer
from tests.invented import Notes
from tests.trainers.exact import (
    BEYOND_ROUNDING,
    FLOAT32,
    FLOAT64,
    distance,
    exact_norms,
    sequence,
    snapshot,
    weights_of,
)

CPU = torch.device("cpu")
CONFIG = FitConfig(rank=3, alpha=6.0, learning_rate=1e-2, epochs=2)
WORDS = "the door of the inn at the end of the road is blue and heavy and old"


def make_jobs(folder: Path, count: int = 5) -> list[FitJob]:
    """Jobs of unlike lengths, with batches of one to three sequences."""
    found = []
    for number in range(count):
        texts = [f"{number} {WORDS[: 5 + 13 * ((number + i) % 5)]}" for i in range(2 + number % 3)]
        config = replace(CONFIG, batch_size=1 + number % 3, pad_mode="sampled:3" if number == 3 else "eos", pad_to=100)
        found.append(
            FitJob(
                f"{number}",
                TrainingSet(tuple(Example("", text) for text in texts)),
                config,
                number,
                folder / f"{number}",
            )
        )
    return found


def many(folder: Path, **options: Any) -> BatchedLoraTrainer:
    trainer = BatchedLoraTrainer(str(folder), device=FLOAT64, **options)
    exact_norms(trainer.network)
    return trainer


@pytest.fixture(scope="module")
def whole(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapters where every step is one pass."""
    out = tmp_path_factory.mktemp("whole")
    list(many(model_dir, tokens_per_step=100_000).fit(make_jobs(out)))
    return out


def same_as(whole: Path, found: Path) -> bool:
    return all(distance(weights_of(found / f"{n}"), weights_of(whole / f"{n}")) < BEYOND_ROUNDING for n in range(5))


# ---- passes


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 120))
def test_passes_hold_every_row_once_in_order_and_no_more_than_the_budget(lengths: list[int], tokens: int) -> None:
    rows = [PackedSequence(0, sequence(length)) for length in lengths]
    passes = list(PassBudget(tokens).split(rows))
    assert [row for each in passes for row in each] == rows
    assert all(len(each) == 1 or sum(row.size for row in each) <= tokens for each in passes)
    for first, second in pairwise(passes):  # no pass ends early
        assert sum(row.size for row in first) + second[0].size > tokens


@pytest.mark.parametrize("path", ["bmm", "naive"])
@pytest.mark.parametrize("tokens", [1, 40, 90])
def test_what_an_adapter_learns_does_not_depend_on_the_tokens_of_a_pass(
    model_dir: Path, whole: Path, tmp_path: Path, tokens: int, path: str
) -> None:
    list(many(model_dir, tokens_per_step=tokens, kernel=path).fit(make_jobs(tmp_path)))
    assert same_as(whole, tmp_path)


def test_passes_of_the_grouped_path_are_windows_of_slots(model_dir: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, rank=8, learning_rate=1e-3, epochs=1, batch_size=3)
    for name, tokens in (("whole", 100_000), ("parts", 50)):
        trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32, kernel="grouped_mm", tokens_per_step=tokens)
        list(trainer.fit(replace(job, config=config) for job in make_jobs(tmp_path / name)))
    gaps = [distance(weights_of(tmp_path / "whole" / name), weights_of(tmp_path / "parts" / name)) for name in "01234"]
    assert max(gaps) < 0.2 * config.learning_rate  # Adam makes a step of a rounding error


# ---- memory runs out


@contextmanager
def memory_for(
    trainer: BatchedLoraTrainer, tokens: int, error: Exception, *, late: bool = False
) -> Iterator[list[int]]:
    """As if a pass of more than `tokens` did not fit; `late`: its backward pass. Yields the sizes that were tried."""
    tried: list[int] = []

    def check(size: int) -> None:
        tried.append(size)
        if size > tokens:
            raise error

    def forward(module: Any, arguments: Any, options: Any) -> None:
        if not late:
            check(options["input_ids"].shape[1])

    def backward(module: Any, grads: Any, outs: Any) -> None:
        if late:
            check(outs[0].shape[1])

    handles = [
        trainer.network.base_model.register_forward_pre_hook(forward, with_kwargs=True),
        trainer.network.base_model.layers[0].mlp.register_full_backward_hook(backward),
    ]
    try:
        yield tried
    finally:
        for handle in handles:
            handle.remove()


ERRORS = [
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cublas", "gpu", "cpu"])
@pytest.mark.parametrize("late", [False, True], ids=["forward", "backward"])
def test_running_out_of_memory_shrinks_the_passes_and_changes_no_adapter(
    model_dir: Path, whole: Path, tmp_path: Path, error: Exception, late: bool
) -> None:
    trainer, progress = many(model_dir, tokens_per_step=100_000), Notes()
    with memory_for(trainer, 80, error, late=late) as tried:
        results = list(trainer.fit(make_jobs(tmp_path), progress))
    assert not any(result.error for result in results)
    assert same_as(whole, tmp_path)
    assert max(tried) > 80
    assert 1 <= len(progress.notes) <= 3  # said when it happens, not at every step
    assert all(note.startswith("memory ran out: from here on about ") for note in progress.notes)


def test_a_sequence_that_does_not_fit_alone_ends_the_run_with_the_flags_that_help(
    model_dir: Path, tmp_path: Path
) -> None:
    trainer = many(model_dir)
    before = snapshot(trainer.network)
    with (
        memory_for(trainer, 10, torch.OutOfMemoryError("CUDA out of memory")),
        pytest.raises(
            OutOfMemory,
            match=r"a sequence of \d+ tokens does not fit .*--slots, --dtype bfloat16, or --pad-mode sampled:32",
        ),
    ):
        list(trainer.fit(make_jobs(tmp_path)))
    assert snapshot(trainer.network) == before
    assert not list(tmp_path.iterdir())


def test_not_the_longest_sequence_but_the_pass_that_failed_is_halved(
    model_dir: Path, whole: Path, tmp_path: Path
) -> None:
    trainer, progress, calls = many(model_dir, tokens_per_step=60), Notes(), []

    def forward(module: Any, arguments: Any, options: Any) -> None:
        if "packing" not in options:  # the trial before the first pass
            return
        slots = len(options["packing"].slots)
        calls.append(slots)
        if slots > 1:  # copies of each slot's weights are what does not fit
            raise torch.OutOfMemoryError("CUDA out of memory")

    handle = trainer.network.base_model.register_forward_pre_hook(forward, with_kwargs=True)
    list(trainer.fit(make_jobs(tmp_path), progress))
    handle.remove()
    assert max(calls) > 1
    assert progress.notes
    assert same_as(whole, tmp_path)


def test_another_error_is_not_taken_for_memory(model_dir: Path, tmp_path: Path) -> None:
    trainer = many(model_dir)
    with memory_for(trainer, 80, RuntimeError("shapes do not match")), pytest.raises(RuntimeError, match="shapes"):
        list(trainer.fit(make_jobs(tmp_path)))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


# ---- what is planned


def test_bytes_for_the_backward_pass_are_counted_once_a_storage() -> None:
    weight = torch.ones(8, 8, requires_grad=True)
    x = torch.ones(4, 8)
    assert measure_saved_bytes(lambda: (x @ weight).sum()) == 4 * 4 * 8
    assert (
        measure_saved_bytes(lambda: ((x @ weight).relu() + (x[:2] @ weight).sum()).sum()) == 2 * 4 * 4 * 8
    )  # x and relu's result


def test_the_plan_follows_the_free_memory_and_stops_where_more_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def planned(free: int) -> int:
        monkeypatch.setattr(memory, "get_free_bytes", lambda device: free)
        return count_fitting_tokens(lambda length: 5_000 + 1_000 * length, 10_000, CPU)

    assert planned(1_010_000) == int(
        memory.MEMORY_SHARE * 1_000
    )  # 1,000 bytes a token; what is kept anyway does not count
    assert planned(510_000) == int(memory.MEMORY_SHARE * 500)
    assert planned(10**12) == memory.PASS_TOKENS["cpu"]
    assert planned(0) == 1

    def fail(length: int) -> int:
        raise error

    error = RuntimeError("out of memory")
    assert count_fitting_tokens(fail, 0, CPU) == 1
    error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        count_fitting_tokens(fail, 0, CPU)


def test_the_loss_of_a_token_is_planned_for_and_does_not_grow_with_the_vocabulary(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK_WORDS", {"cpu": 100})
    own, plans = TrainingLoop._count_fitting_tokens, []

    def plan(group: TrainingLoop) -> int:
        head = group.network.get_output_embeddings()
        plans.append((group.measure_pass(48) - group.measure_saved(48), 48 * get_loss_bytes(head), len(head.weight)))
        return own(group)

    monkeypatch.setattr(TrainingLoop, "_count_fitting_tokens", plan)
    list(many(model_dir).fit(make_jobs(tmp_path, 1)))
    ((planned, needed, words),) = plans
    assert planned == needed >= 48 * 100 * 8  # float64
    assert needed < 48 * words * 8


def test_adapters_in_work_take_at_most_half_of_the_free_memory(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = BatchedLoraTrainer(str(model_dir), device=FLOAT32).network
    names = ["model.layers.0.self_attn.q_proj"]  # 32 → 32
    each = 5 * 4 * 2 * 64  # masters, gradients, two moments and a copy, in float32, of rank 2
    for free, count in ((20 * each, 10), (3 * each, 1), (0, 1), (10**12, memory.MAX_ADAPTERS)):
        monkeypatch.setattr(memory, "get_free_bytes", lambda device, free=free: free)
        assert count_fitting_adapters(network, names, 2) == count


def test_a_trainer_without_limits_plans_from_the_memory_that_is_there(
    model_dir: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = {}
    for free in (600_000, 1_200_000):  # a token keeps 6.8 KB, and 3.4 KB go to its loss
        monkeypatch.setattr(memory, "get_free_bytes", lambda device, free=free: free)
        trainer = many(model_dir)
        with memory_for(trainer, 100_000, RuntimeError("unused")) as tried:
            list(trainer.fit(make_jobs(tmp_path / str(free))))
        plans[free] = max(tried[2:])  # the first two are the trial
        assert same_as(whole, tmp_path / str(free))
    small, large = plans.values()
    assert small < large < 200  # tokens in the largest pass; all of a step are more


# ---- what the onlooker hears


def test_the_onlooker_hears_of_all_real_tokens_and_of_each_step(model_dir: Path, tmp_path: Path) -> None:
    progress, jobs = Notes(), make_jobs(tmp_path)
    results = list(many(model_dir).fit(jobs, progress))
    assert progress.expected == sum(progress.tokens) == CONFIG.epochs * sum(result.tokens for result in results)
    assert len(progress.tokens) == progress.stepped == progress.steps == max(result.steps for result in results)
    assert progress.notes == []
