"""In float32 an adapter is the same to the last bit, whoever is trained beside it, where the machine keeps rows apart.

It does on x86 with one thread (stages/checks/invariance.py says why). Where it does not, the last digits differ.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from stages.interfaces import FitJob
from stages.trainers.batched.trainer import BatchedLoraTrainer
from tests.bits import assert_same, promised
from tests.trainers.exact import FLOAT32
from tests.trainers.jobs import KINDS, make_job


def jobs(folder: Path) -> list[FitJob]:
    """Each kind of job twice, the second time with another batch size."""
    kinds = [(texts, replace(config, batch_size=3)) for texts, config in KINDS]
    return [make_job(folder, number, config, texts=texts) for number, (texts, config) in enumerate([*KINDS, *kinds])]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/adapter_model.safetensors")}


@pytest.fixture(scope="module")
def alone(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, float]]:
    """The weights of every job and its last loss, trained with no other in sight."""
    folder = tmp_path_factory.mktemp("alone")
    trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32)
    results = [result for job in jobs(folder) for result in trainer.fit([job])]
    return files(folder), {result.id: result.loss_last for result in results}


@pytest.mark.parametrize(
    ("slots", "tokens", "order"), [(64, None, 1), (64, None, -1), (3, None, 1), (5, 40, -1), (1, 2000, 1)]
)
def test_an_adapter_is_the_same_in_any_company_as_far_as_is_promised_here(
    model_dir: Path,
    alone: tuple[dict[str, bytes], dict[str, float]],
    tmp_path: Path,
    slots: int,
    tokens: int | None,
    order: int,
) -> None:
    trainer = BatchedLoraTrainer(str(model_dir), device=FLOAT32, slots=slots, tokens_per_step=tokens)
    losses = {result.id: result.loss_last for result in trainer.fit(jobs(tmp_path)[::order])}
    weights, own_losses = alone
    assert_same(files(tmp_path), weights)
    assert losses == (own_losses if promised() else pytest.approx(own_losses, rel=1e-4))
    assert len(losses) == 2 * len(KINDS)
