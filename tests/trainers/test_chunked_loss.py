"""The chunked cross-entropy against torch's own: values and gradients, whatever the chunks and the output layer."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from stages.trainers.batched import chunked_loss
from stages.trainers.batched.chunked_loss import ChunkedCrossEntropy, get_loss_bytes
from tests.tiny_models import make_llama

ROWS, HIDDEN, WORDS = 13, 6, 29


def case(dtype: torch.dtype = torch.float64, *, bias: bool = False) -> tuple[torch.Tensor, nn.Linear, torch.Tensor]:
    """(hidden states, a frozen output layer, targets)."""
    generator = torch.Generator().manual_seed(3)
    head = nn.Linear(HIDDEN, WORDS, bias=bias, dtype=dtype).requires_grad_(False)
    head.weight.copy_(torch.randn(WORDS, HIDDEN, generator=generator))
    if bias:
        head.bias.copy_(3 * torch.randn(WORDS, generator=generator))
    hidden = (4 * torch.randn(ROWS, HIDDEN, generator=generator)).to(dtype).requires_grad_()
    return hidden, head, torch.randint(WORDS, (ROWS,), generator=generator)


def weights(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return (torch.rand(ROWS, generator=torch.Generator().manual_seed(4)) + 0.1).to(dtype)


@pytest.mark.parametrize("bias", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("chunk", [1, 2, 7, 28, 29, 30, 4096])
def test_values_and_gradients_are_torchs(monkeypatch: pytest.MonkeyPatch, chunk: int, bias: bool) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK_WORDS", {"cpu": chunk})
    hidden, head, target = case(bias=bias)
    expected = cross_entropy(head(hidden), target, reduction="none")
    (gradient,) = torch.autograd.grad((expected * weights()).sum(), hidden)
    total, each = ChunkedCrossEntropy.apply(hidden, head, target, weights())
    total.backward()
    assert torch.allclose(each, expected, rtol=0, atol=1e-13)
    assert float(total.detach()) == pytest.approx(float((expected * weights()).sum().detach()), abs=1e-12)
    assert hidden.grad is not None
    assert torch.allclose(hidden.grad, gradient, rtol=0, atol=1e-13)
    assert not each.requires_grad


def test_a_factor_behind_the_loss_reaches_the_gradient() -> None:
    hidden, head, target = case()
    total, _ = ChunkedCrossEntropy.apply(hidden, head, target, weights())
    (once,) = torch.autograd.grad(total, hidden)
    total, _ = ChunkedCrossEntropy.apply(hidden, head, target, weights())
    (thrice,) = torch.autograd.grad(3 * total, hidden)
    assert torch.allclose(thrice, 3 * once, rtol=0, atol=1e-13)


@pytest.mark.parametrize("tied", [False, True])
def test_a_models_own_output_layer_gives_the_models_own_loss(tmp_path: Path, tied: bool) -> None:
    folder = make_llama(tmp_path / "model", tie_word_embeddings=tied)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval().requires_grad_(False)
    assert (network.lm_head.weight is network.model.embed_tokens.weight) == tied
    ids = torch.tensor([[5, 9, 200, 31, 77, 5]])
    hidden = network.model(input_ids=ids).last_hidden_state[0, :-1].requires_grad_()
    expected = network(input_ids=ids, labels=ids).loss
    total, _ = ChunkedCrossEntropy.apply(
        hidden, network.lm_head, ids[0, 1:], torch.full((5,), 0.2, dtype=torch.float64)
    )
    assert float(total.detach()) == pytest.approx(float(expected), abs=1e-6)  # transformers takes its loss in float32
    exact = cross_entropy(network.lm_head(hidden), ids[0, 1:])
    assert float(total.detach()) == pytest.approx(float(exact.detach()), abs=1e-13)
    (gradient,) = torch.autograd.grad(exact, hidden)
    total.backward()
    assert hidden.grad is not None
    assert torch.allclose(hidden.grad, gradient, rtol=0, atol=1e-13)
    assert network.lm_head.weight.grad is None


def test_a_bfloat16_model_has_losses_in_float32() -> None:
    hidden, head, target = case(torch.bfloat16)
    total, each = ChunkedCrossEntropy.apply(hidden, head, target, weights(torch.float32))
    total.backward()
    expected = cross_entropy(head(hidden).float(), target, reduction="none")
    assert (each.dtype, hidden.dtype) == (torch.float32, torch.bfloat16)
    assert torch.allclose(each, expected, rtol=1e-6, atol=1e-6)
    assert hidden.grad is not None
    assert hidden.grad.dtype == torch.bfloat16


def test_giant_logits_do_not_overflow() -> None:
    hidden, head, target = case()
    with torch.no_grad():
        hidden *= 1e4
    total, each = ChunkedCrossEntropy.apply(hidden, head, target, weights())
    total.backward()
    assert torch.allclose(each, cross_entropy(head(hidden), target, reduction="none"), rtol=1e-13)
    assert hidden.grad is not None
    assert bool(hidden.grad.isfinite().all())


def test_a_hidden_state_that_is_not_finite_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK_WORDS", {"cpu": 5})
    hidden, head, target = case()
    clean, _ = ChunkedCrossEntropy.apply(hidden, head, target, weights())
    (expected,) = torch.autograd.grad(clean, hidden)
    with torch.no_grad():
        hidden[3] = float("nan")
    total, each = ChunkedCrossEntropy.apply(hidden, head, target, weights())
    (found,) = torch.autograd.grad(total, hidden)
    others = torch.arange(ROWS) != 3
    assert torch.equal(found[others], expected[others])
    assert bool(each[others].isfinite().all())


def test_no_targets_at_all_are_no_loss_and_no_gradient() -> None:
    hidden, head, target = case()
    total, each = ChunkedCrossEntropy.apply(hidden[:0], head, target[:0], weights()[:0])
    total.backward()
    assert (float(total.detach()), len(each)) == (0.0, 0)
    assert hidden.grad is not None
    assert not hidden.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_loss_near_zero_and_its_gradient_keep_their_digits(dtype: torch.dtype) -> None:
    """1 - p of a word that is all but certain is nothing any more in bfloat16, and little in float32."""
    hidden, head, _ = case(dtype)
    with torch.no_grad():
        hidden.mul_(2)
    target = head(hidden).argmax(-1)
    exact = nn.Linear(HIDDEN, WORDS, bias=False, dtype=torch.float64).requires_grad_(False)
    exact.weight.copy_(head.weight)
    states = hidden.detach().double().requires_grad_()
    expected = cross_entropy(exact(states), target, reduction="none")
    (gradient,) = torch.autograd.grad(expected.sum(), states)
    certain = (expected < 1e-2).nonzero()[:, 0]
    assert len(certain) > 2
    total, each = ChunkedCrossEntropy.apply(hidden, head, target, torch.ones(ROWS))
    total.backward()
    tolerance = 1e-3 if dtype == torch.float32 else 0.3  # logits of some 40 are themselves rounded
    assert torch.allclose(each[certain].double(), expected[certain], rtol=tolerance, atol=0)
    assert hidden.grad is not None
    gaps = (hidden.grad.double() - gradient)[certain].norm(dim=1) / gradient[certain].norm(dim=1)
    assert float(gaps.max()) < tolerance


# ---- what it costs


class Counted(TorchDispatchMode):  # type: ignore[misc]
    """Counts the rows of the output layer that products read, and the most bytes that are alive at a time."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head, self.read, self.most = head.weight.untyped_storage().data_ptr(), 0, 0
        self.alive: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("mm", "addmm", "addmm_"):
            own = [x for x in args if isinstance(x, torch.Tensor) and x.untyped_storage().data_ptr() == self.head]
            self.read += sum(max(x.shape) for x in own)
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else [out]:
            storage = tensor.untyped_storage()
            if storage.data_ptr() != self.head and storage._cdata not in self.alive:
                self.alive[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.alive.pop, storage._cdata, None)
        self.most = max(self.most, sum(self.alive.values()))
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("states", [1, 50])
def test_the_output_layer_is_read_once_and_memory_does_not_grow_with_the_words(
    monkeypatch: pytest.MonkeyPatch, states: int, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(chunked_loss, "CHUNK_WORDS", {"cpu": 1000})
    most = []
    for words in (8_000, 24_000):
        head = nn.Linear(16, words, bias=False, dtype=dtype).requires_grad_(False)
        hidden, target = torch.zeros(states, 16, dtype=dtype), torch.zeros(states, dtype=torch.int64)
        with Counted(head) as counted:
            ChunkedCrossEntropy.apply(hidden, head, target, torch.ones(states))
        assert counted.read == 2 * words  # for the logits, and for the gradient, of all states together
        assert counted.most <= states * get_loss_bytes(head) + 4096
        most.append(counted.most)
    assert most[0] == most[1]
    assert most[0] > states * 1000 * 4  # the measure sees the logits of a chunk
