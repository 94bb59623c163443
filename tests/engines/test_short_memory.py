"""Memory that runs out while answers are made: smaller batches with the same answers, or an end with the way out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import hf
from stages.engines.hf import HFEngine
from stages.engines.hf_adapters import AdapterSlot
from stages.errors import OutOfMemory
from stages.interfaces import Request
from stages.models.device import Device
from stages.models.stacked_lora import LoraStack
from stages.settings import Sampling
from tests.invented import Notes
from tests.tiny_models import make_adapter

FLOAT32 = Device("cpu", "float32")
WARM = Sampling(1.0, 0.95, 12, 7)


@pytest.fixture
def room_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Makes every batch of more rows than this run out of memory; the list that comes back holds the sizes tried."""

    def limit(most: int) -> list[int]:
        tried: list[int] = []
        complete = hf.complete

        def tight(network: Any, rows: Sequence[Any], **options: Any) -> Any:
            tried.append(len(rows))
            if len(rows) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return complete(network, rows, **options)

        monkeypatch.setattr(hf, "complete", tight)
        return tried

    return limit


def requests(adapters: Sequence[Path | None]) -> list[Request]:
    return [Request(f"{n}/{a}", f"Who is {n}?", WARM, path) for n in range(10) for a, path in enumerate(adapters)]


def texts(model: Path, asked: Sequence[Request], notes: Notes, **options: Any) -> dict[str, str]:
    engine = HFEngine(str(model), device=FLOAT32, **options)
    found = list(engine.sample(asked, notes))
    assert sorted(completion.id for completion in found) == sorted(request.id for request in asked)
    return {completion.id: completion.text for completion in found}


def test_smaller_batches_give_the_same_answers_and_it_is_said_once(
    model_dir: Path, tmp_path: Path, room_for: Callable[[int], list[int]]
) -> None:
    asked = requests(
        [None, make_adapter(model_dir, tmp_path / "A", seed=1), make_adapter(model_dir, tmp_path / "B", seed=2)]
    )
    plenty = texts(model_dir, asked, Notes())
    tried, notes = room_for(5), Notes()
    assert texts(model_dir, asked, notes) == plenty
    assert notes.notes == ["memory ran out: from here on 5 completions at a time (see --batch)"]
    assert [size for size in tried if size > 5] == [10]
    assert sum(size for size in tried if size <= 5) == len(asked)


def test_batches_behind_one_that_did_not_fit_lose_no_request(
    model_dir: Path, tmp_path: Path, room_for: Callable[[int], list[int]]
) -> None:
    """Of the model as it is, of an adapter that is asked alone, and of stacked ones."""
    alone, stacked = (make_adapter(model_dir, tmp_path / name, seed=1, dora=name == "dora") for name in ("dora", "A"))
    for adapter in (None, alone, stacked):
        asked = requests([adapter])
        plenty = texts(model_dir, asked, Notes())
        tried = room_for(2)
        assert texts(model_dir, asked, Notes(), batch_size=4) == plenty
        assert tried == [4, 2, 2, 2, 2, 2]


def test_a_stack_of_adapters_that_does_not_fit_is_halved(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = requests([make_adapter(model_dir, tmp_path / str(seed), seed=seed) for seed in range(4)])
    plenty, sizes, most = texts(model_dir, asked, Notes()), list[int](), 2

    class Tight(LoraStack):
        def __init__(self, *arguments: Any, slots: int, **options: Any) -> None:
            sizes.append(slots)
            if slots > most:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            super().__init__(*arguments, slots=slots, **options)

    monkeypatch.setattr(hf, "LoraStack", Tight)
    assert texts(model_dir, asked, Notes()) == plenty
    assert sizes == [4, 2, 2]
    most = 0
    with pytest.raises(OutOfMemory, match=r"adapter .*: does not fit into the device's memory; take --dtype bfloat16"):
        texts(model_dir, asked, Notes())


def test_memory_that_runs_out_while_an_adapter_is_read_is_not_the_adapters_fault(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(AdapterSlot, "_load", full)
    asked = requests([make_adapter(model_dir, tmp_path / "dora", seed=1, dora=True)])
    with pytest.raises(OutOfMemory, match=r"adapter .*dora: does not fit into the device's memory"):
        texts(model_dir, asked, Notes())


def test_a_single_prompt_that_does_not_fit_ends_the_run_with_the_flags_that_help(
    model_dir: Path, room_for: Callable[[int], list[int]]
) -> None:
    room_for(0)
    with pytest.raises(OutOfMemory, match=r"a prompt of \d+ tokens and up to 12 after it do not fit .* --max-tokens"):
        texts(model_dir, requests([None]), Notes())


def test_another_error_is_no_want_of_memory(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any, **options: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(hf, "complete", broken)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        texts(model_dir, requests([None]), Notes())
