"""The three ways to take the low-rank products are one function with one gradient, slot by slot."""

import pytest
import torch

from stages.trainers.batched.lora_kernels import KERNELS, PackedLayout
from tests.trainers.exact import packed, pieces, sequence


def low_rank(path: str, dtype: torch.dtype, *, poison: bool = False) -> list[list[torch.Tensor]]:
    """B·A·x and its gradients for x of each sequence, then those for A and B of each slot; one slot has no rows."""
    generator = torch.Generator().manual_seed(1)
    packing = packed([[sequence(8), sequence(9)], [sequence(40)], [sequence(24)], []], path)
    values = torch.randn(1, 81, 32, generator=generator).to(dtype) / 4
    a, b = (torch.randn(*shape, generator=generator).to(dtype) / 4 for shape in ((4, 8, 32), (4, 24, 8)))
    x = torch.zeros(1, packing.total, 32, dtype=dtype)
    for own, mine in zip(pieces(packing, x[0]), values[0].split([8, 9, 40, 24]), strict=True):
        own[:] = mine
    if poison:
        pieces(packing, x[0])[2][:], a[1] = float("nan"), float("inf")
    for leaf in (x, a, b):
        leaf.requires_grad_()
        leaf.grad = torch.zeros_like(leaf)
    scale = torch.tensor([1.0, 2.0, 3.0, 0.5], dtype=dtype)[:, None, None]
    out = PackedLayout(packing).add(torch.zeros(1, packing.total, 24, dtype=dtype) + 1, x, a, b, scale)
    assert out.shape == (1, packing.total, 24)
    torch.cat(pieces(packing, out[0])).square().sum().backward()
    grads = [leaf.grad for leaf in (x, a, b) if leaf.grad is not None]
    return [pieces(packing, out.detach()[0]), pieces(packing, grads[0][0]), list(grads[1]), list(grads[2])]


@pytest.mark.parametrize(
    ("path", "dtype", "tolerance"),
    [
        ("bmm", torch.float64, 1e-13),
        ("bmm", torch.float32, 1e-5),
        ("grouped_mm", torch.float32, 1e-5),
        ("grouped_mm", torch.bfloat16, 2e-2),
    ],
)
def test_the_paths_are_one_function_with_one_gradient(path: str, dtype: torch.dtype, tolerance: float) -> None:
    for expected, found in zip(low_rank("naive", dtype), low_rank(path, dtype), strict=True):
        for first, second in zip(expected, found, strict=True):
            assert float((first - second).abs().max()) <= tolerance * float(first.abs().max())


@pytest.mark.parametrize("path", KERNELS)
def test_a_slot_that_is_not_finite_spoils_no_other_slot(path: str) -> None:
    clean, poisoned = low_rank(path, torch.float32), low_rank(path, torch.float32, poison=True)
    for place, bad in enumerate((2, 2, 1, 1)):
        same = [
            torch.allclose(first, second, rtol=1e-5, atol=1e-6)
            for first, second in zip(clean[place], poisoned[place], strict=True)
        ]
        assert same == [number != bad for number in range(4)]
