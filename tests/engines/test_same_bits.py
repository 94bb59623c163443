"""In float32 on an x86 CPU an adapter is the same to the last bit, whoever is trained beside it: bytes can be compared.

The command and tests/conftest.py tell MKL to take each row of a product the same way (MKL_CBWR), and a row's rectangle
is as wide as its own length says. Without the one or the other most of these jobs differ in their last bits.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.engines.base import FitJob
from stages.engines.many import ManyTrainer
from tests.engines.exact import FLOAT32
from tests.engines.jobs import KINDS, make_job

pytestmark = pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="other libraries sum in other orders")


def jobs(folder: Path) -> list[FitJob]:
    """Each kind of job twice, the second time with another batch size."""
    kinds = [(texts, replace(config, batch_size=3)) for texts, config in KINDS]
    return [make_job(folder, number, config, texts=texts) for number, (texts, config) in enumerate([*KINDS, *kinds])]


def files(folder: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in folder.glob("*/adapter_model.safetensors")}


@pytest.fixture(scope="module")
def alone(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, float]]:
    """The weights of every job and its last loss, trained with no other in sight."""
    folder = tmp_path_factory.mktemp("alone")
    trainer = ManyTrainer(str(model_dir), device=FLOAT32)
    results = [result for job in jobs(folder) for result in trainer.fit([job])]
    return files(folder), {result.id: result.loss_last for result in results}


@pytest.mark.parametrize(
    ("slots", "tokens", "order"), [(64, None, 1), (64, None, -1), (3, None, 1), (5, 40, -1), (1, 2000, 1)]
)
def test_an_adapter_is_the_same_to_the_last_bit_in_any_company(
    model_dir: Path,
    alone: tuple[dict[str, bytes], dict[str, float]],
    tmp_path: Path,
    slots: int,
    tokens: int | None,
    order: int,
) -> None:
    trainer = ManyTrainer(str(model_dir), device=FLOAT32, slots=slots, tokens_per_step=tokens)
    losses = {result.id: result.loss_last for result in trainer.fit(jobs(tmp_path)[::order])}
    assert (files(tmp_path), losses) == alone
    assert len(losses) == 2 * len(KINDS)
