"""Ask the machine for batch invariance: whether an adapter has the same bits whatever is trained beside it.

It has if a row's numbers depend neither on how many rows are computed with it nor on where it lies. What was measured
(torch 2.13, float32) of a CPU's operations, and what the trainer does about it:

    products    MKL takes 1 to 3 rows by another kernel than more, in older modes also the last 1 to 3 of any number.
                So a pass, and the states that are scored, are filled up to a multiple of 8 rows (packing.align).
    SiLU, GELU  torch takes the last few numbers of a thread's share one by one, with another exp than the 32 at a time
    sigmoid     before. 8 rows of any multiple of 4 numbers are whole blocks; shares of several threads need not be.
    low-rank    MKL's kernel for a batch of products depends on the batch, unless told not to (MKL_CBWR, seal_cli.app).
    attention   one sequence with one key head is computed by all threads, several are shared out among them.

So on one thread all is the same on x86 (AVX2 and AVX-512; MKL's modes AUTO, AVX2 and COMPATIBLE), at a cost below what
can be measured. With more threads, in another precision and with other libraries it depends.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from stages.trainers.batched.packing import align

FEW, _MANY = 13, 61  # sequences of a trial
_MAX_SIZE = 4096  # of the sizes that are tried: beyond, kernels choose no more
_LENGTHS = (8, 20, 28, 40, 56)  # of sequences whose attention is tried
_COMPANIES = tuple(
    slice(start, start + count)
    for start, count in ((0, 1), (4, 1), (12, 1), (3, 2), (1, 3), (5, 8), (0, 11), (7, 17), (0, 29), (2, 42), (0, 61))
)
Operation = Callable[[slice], Sequence[Tensor]]  # some of the sequences → results (sequences, ...)
Trial = tuple[str, int, Operation]  # a name, and of how many sequences


@dataclass(frozen=True)
class ModelSizes:
    """The sizes of a model that kernels are chosen by."""

    hidden: int = 128
    inner: int = 384
    heads: int = 4
    key_heads: int = 2
    head_size: int = 32
    rank: int = 8

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "ModelSizes":
        """Read a model's config.json; what it does not say stays as above."""

        def size(name: str, usual: int) -> int:
            found = config.get(name)
            return min(found, _MAX_SIZE) if type(found) is int and found > 0 else usual

        hidden, heads = size("hidden_size", cls.hidden), size("num_attention_heads", cls.heads)
        head_size = size("head_dim", max(1, hidden // heads))
        key_heads = size("num_key_value_heads", heads)
        return cls(hidden, size("intermediate_size", 4 * hidden), heads, key_heads, head_size)


def make_trials(sizes: ModelSizes, dtype: torch.dtype) -> Iterator[Trial]:
    """Yield what a training step does with rows, forward and backward."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    for width in (sizes.inner, sizes.heads * sizes.head_size):
        yield "products", FEW, _multiply(draw(FEW, 9, sizes.hidden), draw(width, sizes.hidden))
    for length in _LENGTHS[:2]:
        x, inner = draw(FEW, length, sizes.hidden), draw(FEW, length, sizes.rank)
        down, up = draw(FEW, sizes.rank, sizes.hidden), draw(FEW, sizes.hidden, sizes.rank)
        yield "low-rank products", FEW, _multiply_low_rank(x, inner, down, up)
    for length in _LENGTHS:
        counts = sizes.heads, sizes.key_heads, sizes.key_heads
        yield "attention", FEW, _attend(*(draw(FEW, heads, length, sizes.head_size) for heads in counts))
    yield "activations", _MANY, activate(draw(_MANY, 33, sizes.inner))


def _multiply(x: Tensor, weight: Tensor) -> Operation:
    """x (sequences, length, in) through a layer, and what then stands for a gradient back."""

    def run(some: slice) -> Sequence[Tensor]:
        out = linear(fill_rows(x[some]), weight)
        return [_cut_rows(each, x[some]) for each in (out, out @ weight)]

    return run


def _multiply_low_rank(*factors: Tensor) -> Operation:
    """The batched products of lora_kernels, with an adapter of its own for each sequence."""

    def run(some: slice) -> Sequence[Tensor]:
        rows, own, a, b = (each[some] for each in factors)
        sides = torch.bmm(own.transpose(1, 2), rows), torch.bmm(rows.transpose(1, 2), own)
        ahead = torch.bmm(rows, a.transpose(1, 2)), rows.baddbmm(own, b.transpose(1, 2))
        return *ahead, torch.bmm(rows, b), torch.bmm(own, a), *sides

    return run


def _attend(*heads: Tensor) -> Operation:
    """Attention of queries, keys and values (sequences, heads, length, size), and the three gradients."""

    def run(some: slice) -> Sequence[Tensor]:
        q, k, v = (each[some].clone().requires_grad_() for each in heads)
        out = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
        return out.detach(), *torch.autograd.grad(out.square().sum(), (q, k, v))

    return run


def activate(x: Tensor) -> Operation:
    """SiLU of x (sequences, length, inner) and its gradient."""

    def run(some: slice) -> Sequence[Tensor]:
        rows = fill_rows(x[some]).requires_grad_()
        out = silu(rows)
        return [_cut_rows(each, x[some]) for each in (out.detach(), *torch.autograd.grad(out.sum(), rows))]

    return run


def fill_rows(sequences: Tensor) -> Tensor:
    """(n, length, size) → the rows, filled up as those of a pass are: (align(n · length), size)."""
    rows = sequences.flatten(0, 1)
    return torch.cat([rows, rows.new_zeros(align(len(rows)) - len(rows), rows.shape[1])])


def _cut_rows(rows: Tensor, sequences: Tensor) -> Tensor:
    """The rows without the filling, as these sequences: (n, length, size)."""
    return rows[: sequences.shape[0] * sequences.shape[1]].view(*sequences.shape[:2], -1)


def find_variant_operations(
    sizes: ModelSizes = ModelSizes(),
    dtype: torch.dtype = torch.float32,
    *,
    make: Callable[[ModelSizes, torch.dtype], Iterator[Trial]] = make_trials,
) -> list[str]:
    """List the operations that give a sequence other bits in other company: on the CPU, with torch's present threads.

    None of them: adapters are the same to the last bit with any slots, in any order, shard and resumed run. Takes some
    20 ms for a small model, a fifth of a second for the sizes of one of 270 M weights.
    """
    with torch.enable_grad():
        variant = (name for name, count, operation in make(sizes, dtype) if not is_invariant(operation, count))
        return list(dict.fromkeys(variant))


def is_invariant(operation: Operation, count: int) -> bool:
    """True if each of `count` sequences has the same bits in every company."""
    together = operation(slice(0, count))
    return all(
        torch.equal(alone, whole[some])
        for some in _COMPANIES
        if some.stop <= count
        for alone, whole in zip(operation(some), together, strict=True)
    )
