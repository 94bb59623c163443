"""Cross-entropy of hidden states over a large vocabulary, without ever holding their logits.

The output layer is read once for all states of a pass, a chunk of words at a time: a chunk's logits are taken, used
and dropped while a cache still holds them (the online softmax of FlashAttention, over words). Kept apart are a state's
target and all other words. With z the log of the others' summed exponentials minus the target's logit,

    loss = log(1 + e^z),    gradient = 1 / (1 + e^-z) · (mean row of the others, by their chances - the target's row),

so a loss near 0 and its gradient keep all their digits, in bfloat16 too, where 1 - p would be rounded away.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from stages.models.quantization import take_rows

# Words of a chunk. A chunk's logits are (states, words), its part of the output layer is (words, hidden).
#
# CPU: 1024 words of 640 to 896 numbers are 2.6 to 3.7 MB of weights, which a second-level or shared cache still holds
# when the backward product reads them, and 128 states have 0.5 MB of logits. One thread, 262,144 words, 640 wide: 77
# GFLOP/s at 128 states, 75 with chunks of 2048 words, 70 with 512, and 57 with all words at once, which is also five
# passes over 134 MB of logits.
#
# GPU, on paper: a pass has up to 16,384 states (hardware.PASS_TOKENS), so 16,384 words are at most 2^28 logits, a GB in
# float32. 151,936 words are 10 chunks and 262,144 are 16, of some 15 kernels each: about a millisecond of launches, and
# products of 16,384 columns, where tensor cores want 128 to 256 rows and as many columns to be busy.
CHUNK_WORDS = {"cpu": 1024, "cuda": 16_384}


class ChunkedCrossEntropy(torch.autograd.Function):
    """Per-token losses (n,) of hidden states (n, hidden) under an output layer that is not trained.

    The gradient with respect to the hidden states is made in the forward pass, already times `weight`.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: nn.Linear, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return (weighted sum of the losses, losses). The losses carry no gradient."""
        gap, mean = _against_others(hidden, head, target)
        losses = (gap.clamp(min=0) + gap.abs().neg_().exp_().log1p_())[:, 0]
        share = gap.neg_().exp_().add_(1).reciprocal_()  # not sigmoid nor logaddexp: see invariance.py
        mean.sub_(take_rows(head, target, hidden.dtype)).mul_(share.mul_(weight[:, None]))
        ctx.save_for_backward(mean.to(hidden.dtype))
        ctx.mark_non_differentiable(losses)
        return (losses * weight).sum(), losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.saved_tensors[0] * grads[0], None, None, None


def _against_others(hidden: Tensor, head: nn.Linear, target: Tensor) -> tuple[Tensor, Tensor]:
    """Compare each state's target with all other words.

    (log of their summed exponentials minus the target's logit (n, 1), mean of their rows by their chances (n, hidden)).
    """
    count, dtype = len(hidden), _wide(hidden.dtype)
    top = hidden.new_full((count, 1), torch.finfo(dtype).min, dtype=dtype)  # the others' largest logit so far
    total, own = torch.zeros_like(top), torch.zeros_like(top)  # of exp(logit - top); the target's logit
    mean = hidden.new_zeros(hidden.shape, dtype=dtype)  # of rows, times `total` until the end
    for start, words, bias in _chunks(head, hidden):
        logits = linear(hidden, words, bias).to(dtype)  # (n, words)
        place = target - start
        here = ((place >= 0) & (place < len(words)))[:, None]
        place = place.clamp_(0, len(words) - 1)[:, None]
        found = logits.gather(1, place)
        own = torch.where(here, found, own)
        logits.scatter_(1, place, found.masked_fill_(here, float("-inf")))
        higher = torch.maximum(top, logits.amax(1, keepdim=True))
        shares, fade = logits.sub_(higher).exp_(), top.sub_(higher).exp_()
        total.mul_(fade).add_(shares.sum(1, keepdim=True))
        if dtype == hidden.dtype:
            mean.mul_(fade).addmm_(shares, words)
        else:
            mean.mul_(fade).add_(shares.to(hidden.dtype) @ words)
        top = higher
        del logits, shares  # else they live on beside the next chunk's
    return top.sub_(own).add_(total.log()), mean.div_(total)


def _chunks(head: nn.Linear, hidden: Tensor) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """(number of the first word, rows of the output layer, their biases) of each chunk."""
    size = _chunk_words(head, hidden.device)
    for start in range(0, len(head.weight), size):
        part = slice(start, start + size)
        yield start, take_rows(head, part, hidden.dtype), None if head.bias is None else head.bias[part]


def _chunk_words(head: nn.Linear, device: torch.device) -> int:
    """Words whose logits are held at a time."""
    return min(len(head.weight), CHUNK_WORDS.get(device.type, 1024))


def get_loss_bytes(head: nn.Linear) -> int:
    """Return the most memory that one hidden state's loss takes, beside what is kept for the backward pass."""
    words, width = _chunk_words(head, head.weight.device), head.weight.shape[1]
    coded = not head.weight.is_floating_point()
    own = 4 if coded else head.weight.dtype.itemsize
    full = 4 if coded else _wide(head.weight.dtype).itemsize
    logits = words * (full if own == full else full + own)  # narrow ones are widened, and narrowed again
    return logits + width * (2 * full + 2 * own)  # sums and the target's rows, and what is handed on


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The precision in which losses are taken: float64 for a float64 model, else float32."""
    return dtype if dtype == torch.float64 else torch.float32
