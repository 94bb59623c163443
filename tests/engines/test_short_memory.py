"""Memory that runs out while answers are made: smaller batches with the same answers, or an end with the way out."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.engines import hf
from stages.engines.hf import HFEngine
from stages.errors import OutOfMemory
from stages.interfaces import Request, Sampling
from stages.models.device import Device
from tests.tiny_models import make_adapter
from tests.trainers.jobs import Notes

FLOAT32 = Device("cpu", "float32")
WARM = Sampling(1.0, 0.95, 12, 7)


@pytest.fixture
def room_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Makes every batch of more rows than this run out of memory; the list that comes back holds the sizes tried."""

    def limit(most: int) -> list[int]:
        tried: list[int] = []
        complete = hf.complete

        def tight(network: Any, rows: Sequence[Any], sampler: Any, **options: Any) -> Any:
            tried.append(len(rows))
            if len(rows) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return complete(network, rows, sampler, **options)

        monkeypatch.setattr(hf, "complete", tight)
        return tried

    return limit


def requests(adapters: Sequence[Path | None]) -> list[Request]:
    return [Request(f"{n}/{a}", f"Who is {n}?", WARM, path) for n in range(10) for a, path in enumerate(adapters)]


def texts(model: Path, asked: Sequence[Request], notes: Notes) -> dict[str, str]:
    engine = HFEngine(str(model), device=FLOAT32)
    return {completion.id: completion.text for completion in engine.sample(asked, notes)}


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
