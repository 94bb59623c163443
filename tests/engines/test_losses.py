"""The chunked cross-entropy against torch's own: values and gradients, whatever the chunks and the output layer."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from stages.engines import losses
from stages.engines.losses import ChunkedCrossEntropy
from tests.engines.conftest import make_llama

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
@pytest.mark.parametrize("chunk", [1, 4, 12, 13, 14, 4096])
def test_values_and_gradients_are_torchs(monkeypatch: pytest.MonkeyPatch, chunk: int, bias: bool) -> None:
    monkeypatch.setattr(losses, "CHUNK", {"cpu": chunk * WORDS})
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
    monkeypatch.setattr(losses, "CHUNK", {"cpu": 5 * WORDS})
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
