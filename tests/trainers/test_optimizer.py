"""The stacked optimizer against torch's own AdamW and clipping, one adapter at a time."""

import math

import pytest
import torch

from stages.trainers.batched.optimizer import StackedAdamW, Update

WIDTH = 7
UPDATES = (
    Update(1e-2, 1.0, 0.0),
    Update(3e-3, 0.05, 0.1),
    Update(1e-1, 0.0, 0.5),
    Update(0.0, 1.0, 0.3),
)


def gradient(row: int, step: int, size: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(100 * row + step)
    return size * torch.randn(WIDTH, generator=generator, dtype=torch.float64)


def start(row: int) -> torch.Tensor:
    return gradient(row, 99)


def alone(row: int, update: Update, steps: int, size: float = 1.0) -> torch.Tensor:
    """torch's AdamW on this row, with torch's clipping."""
    weight = torch.nn.Parameter(start(row))
    optimizer = torch.optim.AdamW([weight], lr=update.learning_rate, weight_decay=update.weight_decay)
    for step in range(steps):
        weight.grad = gradient(row, step, size)
        if update.max_grad_norm:
            torch.nn.utils.clip_grad_norm_([weight], update.max_grad_norm)
        optimizer.step()
    return weight.detach()


def stacked(rows: int, dtype: torch.dtype = torch.float64) -> StackedAdamW:
    weights = torch.stack([start(row) for row in range(rows)]).to(dtype)
    return StackedAdamW(weights, torch.zeros_like(weights))


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.allclose(found, expected, rtol=0, atol=1e-14)


def test_each_row_is_stepped_as_torch_steps_it_alone() -> None:
    optimizer = stacked(len(UPDATES))
    for step in range(6):
        for row in range(len(UPDATES)):
            optimizer.grads[row] = gradient(row, step)
        optimizer.step(UPDATES)
    for row, update in enumerate(UPDATES):
        assert close(optimizer.weights[row], alone(row, update, 6)), update
    assert not optimizer.grads.any()


def test_a_neighbours_giant_gradient_does_not_shrink_mine() -> None:
    optimizer = stacked(2)
    for step in range(3):
        optimizer.grads[0], optimizer.grads[1] = gradient(0, step), gradient(1, step, 1e9)
        optimizer.step([UPDATES[0]] * 2)
    assert close(optimizer.weights[0], alone(0, UPDATES[0], 3))
    assert close(optimizer.weights[1], alone(1, UPDATES[0], 3, 1e9))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_neighbours_gradient_that_is_not_finite_stays_in_its_row(bad: float) -> None:
    optimizer = stacked(3)
    for step in range(2):
        for row in range(3):
            optimizer.grads[row] = gradient(row, step)
        optimizer.grads[1] = bad
        optimizer.step([UPDATES[1]] * 3)
    for row in (0, 2):
        assert close(optimizer.weights[row], alone(row, UPDATES[1], 2))
    assert not optimizer.grads.any()


def test_every_row_counts_its_own_steps() -> None:
    optimizer = stacked(2)
    for step in range(5):  # the second row joins two steps later
        optimizer.grads[0] = gradient(0, step)
        updates = [UPDATES[0]]
        if step >= 2:
            optimizer.grads[1] = gradient(1, step - 2)
            updates.append(UPDATES[1])
        optimizer.step(updates)
    assert close(optimizer.weights[0], alone(0, UPDATES[0], 5))
    assert close(optimizer.weights[1], alone(1, UPDATES[1], 3))


def test_idle_rows_keep_weights_moments_and_gradients() -> None:
    optimizer = stacked(3)
    optimizer.grads[:] = 1.0
    optimizer.step([UPDATES[2]] * 3)
    before = optimizer.weights.clone()
    optimizer.grads[:] = 1.0
    optimizer.step([UPDATES[2]])  # with weight decay
    for row in (1, 2):
        assert torch.equal(optimizer.weights[row], before[row])
        assert optimizer.optimizer.state[optimizer.leaves[row]]["step"] == 1
        assert bool((optimizer.grads[row] == 1).all())
    assert not torch.equal(optimizer.weights[0], before[0])


def test_a_refilled_row_starts_from_zero_moments() -> None:
    optimizer = stacked(1)
    for step in range(3):
        optimizer.grads[0] = gradient(5, step, 10.0)
        optimizer.step([UPDATES[0]])
    optimizer.reset(0)
    optimizer.weights[0] = start(0)
    for step in range(3):
        optimizer.grads[0] = gradient(0, step)
        optimizer.step([UPDATES[1]])
    assert close(optimizer.weights[0], alone(0, UPDATES[1], 3))


def test_a_row_that_moves_goes_on_as_if_it_had_stayed() -> None:
    optimizer = stacked(3)
    for step in range(4):
        row = 2 if step < 2 else 0
        optimizer.grads[row] = gradient(2, step)
        optimizer.step([UPDATES[1]] * (row + 1))
        if step == 1:
            optimizer.weights[0] = optimizer.weights[2]
            optimizer.move(2, 0)
    assert close(optimizer.weights[0], alone(2, UPDATES[1], 4))


def test_corrections_late_in_float32_are_those_of_torch() -> None:
    optimizer = stacked(1, torch.float32)
    for step in range(50):
        optimizer.grads[0] = gradient(0, step)
        optimizer.step([UPDATES[0]])
    expected = alone(0, UPDATES[0], 50)
    assert torch.allclose(optimizer.weights[0].double(), expected, rtol=0, atol=2e-6)
