"""Sampling whose result depends on the request alone, not on the batch it happens to share."""

from collections.abc import Sequence
from typing import Any

import torch

from stages.engines.base import Sampling

FEW = 64  # of the likeliest tokens: most often they hold the mass of top_p


class SeededSampling:
    """A logits processor: the argmax of its scores is a draw from softmax(logits / temperature) cut to top_p.

    Each row has its own generator (Gumbel noise), so neighbours, order and batch size change nothing but rounding.
    Rows of temperature 0 stay greedy.
    """

    def __init__(self, rows: Sequence[Sampling], device: torch.device) -> None:
        self.rows, self.device = rows, device
        self.drawn = [row for row, sampling in enumerate(rows) if sampling.temperature > 0]
        self.generators = [torch.Generator(device).manual_seed(rows[row].seed) for row in self.drawn]
        self.temperature = self._column([rows[row].temperature for row in self.drawn], device)
        self.top_p = self._column([rows[row].top_p for row in self.drawn], device)

    def keep(self, rows: Sequence[int]) -> "SeededSampling":
        """The same for some of the rows alone: each goes on drawing where it is."""
        own = dict(zip(self.drawn, self.generators, strict=True))
        kept = SeededSampling([self.rows[row] for row in rows], self.device)
        kept.generators = [own[row] for row in rows if row in own]
        return kept

    @staticmethod
    def _column(values: Sequence[float], device: torch.device) -> torch.Tensor:
        return torch.tensor(values, device=device)[:, None]  # (drawn rows, 1)

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        """scores (rows, vocabulary) → the same with noise on the rows that are drawn."""
        if not self.drawn:
            return scores
        logits = keep_top_p(scores[self.drawn].float() / self.temperature, self.top_p)
        noise = torch.empty_like(logits)
        for row, generator in zip(noise, self.generators, strict=True):
            row.exponential_(generator=generator)
        logits -= noise.log_()
        noisy = scores.float().clone()
        noisy[self.drawn] = logits
        return noisy


def keep_top_p(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Logits (rows, vocabulary) outside the smallest set of likeliest tokens with mass top_p (rows, 1) become -inf.

    Tokens exactly as likely as the last of the set stay too. A whole row is sorted only where FEW tokens do not reach.
    """
    if bool((top_p >= 1).all()):
        return logits
    least, within = _least_kept(logits, top_p, min(FEW, logits.shape[-1]))
    beyond = (~within).nonzero()[:, 0]
    if len(beyond):
        least[beyond], _ = _least_kept(logits[beyond], top_p[beyond], logits.shape[-1])
    return logits.masked_fill(logits < least, float("-inf"))


def _least_kept(logits: torch.Tensor, top_p: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(the least logit of the set (rows, 1), whether the set ends within the `count` likeliest (rows,))."""
    likeliest, _ = logits.topk(count)
    share = (likeliest - logits.logsumexp(-1, keepdim=True)).exp()
    kept = share.cumsum(-1) - share < top_p  # by the mass of the tokens likelier than this one
    last = kept.sum(-1, keepdim=True).clamp(min=1) - 1  # the likeliest always stays
    return likeliest.gather(-1, last), ~kept[:, -1]
