"""Sampling whose result depends on the request alone, not on the batch it happens to share."""

from collections.abc import Sequence
from typing import Any

import torch

from stages.engines.base import Sampling


class SeededSampling:
    """A logits processor: the argmax of its scores is a draw from softmax(logits / temperature) cut to top_p.

    Each row has its own generator (Gumbel noise), so neighbours, order and batch size change nothing but rounding.
    Rows of temperature 0 stay greedy.
    """

    def __init__(self, rows: Sequence[Sampling], device: torch.device) -> None:
        self.rows = rows
        self.drawn = [row for row, sampling in enumerate(rows) if sampling.temperature > 0]
        self.generators = [torch.Generator(device).manual_seed(rows[row].seed) for row in self.drawn]
        self.temperature = self._column([rows[row].temperature for row in self.drawn], device)
        self.top_p = self._column([rows[row].top_p for row in self.drawn], device)

    @staticmethod
    def _column(values: Sequence[float], device: torch.device) -> torch.Tensor:
        return torch.tensor(values, device=device)[:, None]  # (drawn rows, 1)

    def __call__(self, input_ids: Any, scores: torch.Tensor) -> torch.Tensor:
        """scores (rows, vocabulary) → the same with noise on the rows that are drawn."""
        if not self.drawn:
            return scores
        logits = keep_top_p(scores[self.drawn].float() / self.temperature, self.top_p)
        for logit, generator in zip(logits, self.generators, strict=True):
            logit -= torch.empty_like(logit).exponential_(generator=generator).log_()
        noisy = scores.float().clone()
        noisy[self.drawn] = logits
        return noisy


def keep_top_p(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Logits (rows, vocabulary) outside the smallest set of likeliest tokens with mass top_p (rows, 1) become -inf."""
    if bool((top_p >= 1).all()):
        return logits
    ordered, index = logits.sort(descending=True, dim=-1)
    share = ordered.softmax(-1)
    outside = share.cumsum(-1) - share >= top_p  # by the mass of the tokens likelier than this one
    outside[:, 0] = False  # the likeliest always stays
    ordered = ordered.masked_fill(outside, float("-inf"))
    return torch.empty_like(logits).scatter_(-1, index, ordered)
