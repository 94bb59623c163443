"""Sampling whose result depends on the request alone, not on the batch it happens to share."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stages.interfaces import Sampling

SHORTLIST = 64  # of the likeliest tokens: most often they hold the mass of top_p
MAX_REJECTIONS = 8  # draws that are looked at one by one, before a whole row is sorted
_NEVER = float("-inf")
_MOST_CHANCE = 1 - 2.0**-24  # the largest float32 below 1
_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # splitmix64 (Steele, Lea and Flood 2014): the step of its counter, and its two factors
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ROUNDS = ((16, 0x21F0AAAD), (15, 0x735A2D97))  # lowbias32 (C. Wellons, hash-prospector): shifts and factors


class SeededSampling:
    """A logits processor: the argmax of its scores is a draw from softmax(logits / temperature) cut to top_p.

    The noise of a word (Gumbel's) follows from the row's seed, the number of the token and the word, so neighbours,
    order and batch size change nothing but rounding, and only words that can be drawn need any. Rows of temperature 0
    stay greedy.
    """

    def __init__(self, rows: Sequence[Sampling], device: torch.device) -> None:
        self.rows, self.device, self.step = rows, device, 0
        self.drawn = [row for row, sampling in enumerate(rows) if sampling.temperature > 0]
        settings = [(rows[row].temperature, rows[row].top_p) for row in self.drawn]
        columns = torch.tensor(settings, device=device).view(-1, 2)
        self.temperature, self.top_p = columns[:, :1], columns[:, 1:]  # (drawn rows, 1) each
        self.broken: dict[int, int] = {}  # row → the first step whose logits were not finite: nothing can be drawn

    def __call__(self, input_ids: Any, scores: Tensor) -> Tensor:
        """scores (rows, vocabulary) → the same with noise on the rows that are drawn, and -inf on words that are cut.

        One call a token.
        """
        step, self.step = self.step, self.step + 1
        finite = scores.amax(-1).isfinite()  # NaN and infinity are the largest
        if not bool(finite.all()):
            self.broken = dict.fromkeys((~finite).nonzero().flatten().tolist(), step) | self.broken
        if not self.drawn:
            return scores
        logits = scores[self.drawn].float()
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature  # else a small one overflows
        keys = [derive_key(self.rows[row].seed, step) for row in self.drawn]
        noisy = scores.float().clone()
        noisy[self.drawn] = draw(logits, self.top_p, torch.tensor(keys, dtype=torch.int32, device=self.device))
        return noisy


def draw(logits: Tensor, top_p: Tensor, keys: Tensor) -> Tensor:
    """Noisy logits (rows, vocabulary) whose argmax is drawn; top_p (rows, 1), keys (rows, 2).

    Where the SHORTLIST of the likeliest words reaches top_p, only those get noise.
    """
    likeliest, words = logits.topk(min(SHORTLIST, logits.shape[-1]))
    least, within = _least_kept(likeliest, logits, top_p)
    few = add_noise(likeliest.masked_fill(likeliest < least, _NEVER), words, keys)
    noisy = torch.full_like(logits, _NEVER).scatter_(1, words, few)
    beyond = (~within).nonzero()[:, 0]
    at_once = 1 if beyond.device.type == "cpu" else max(1, len(beyond))  # a cache holds one row
    for start in range(0, len(beyond), at_once):
        rows = beyond[start : start + at_once]
        noisy[rows] = _draw_among_many(logits[rows], top_p[rows], keys[rows])
    return noisy


def _draw_among_many(logits: Tensor, top_p: Tensor, keys: Tensor) -> Tensor:
    """As `draw`, without sorting: the word drawn is looked at, and if it is cut, the next one.

    After MAX_REJECTIONS words the rows that still have none are sorted.
    """
    noisy = add_noise(logits, torch.arange(logits.shape[-1], device=logits.device), keys)
    open_rows = (top_p < 1).nonzero()[:, 0]
    chances = logits.softmax(-1) if len(open_rows) else logits
    for _ in range(MAX_REJECTIONS):
        if not len(open_rows):
            return noisy
        own, word = logits[open_rows], noisy[open_rows].argmax(-1, keepdim=True)
        likelier = chances[open_rows].masked_fill_(own <= own.gather(1, word), 0).sum(-1, keepdim=True)
        cut = (likelier >= top_p[open_rows])[:, 0]
        open_rows = open_rows[cut]
        noisy[open_rows, word[cut, 0]] = _NEVER
    if len(open_rows):
        kept = keep_top_p(logits[open_rows], top_p[open_rows]) > _NEVER
        noisy[open_rows] = noisy[open_rows].masked_fill(~kept, _NEVER)
    return noisy


def keep_top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """Logits (rows, vocabulary) outside the smallest set of likeliest tokens with mass top_p (rows, 1) become -inf.

    Tokens exactly as likely as the last of the set stay too. A whole row is sorted only where the SHORTLIST does not
    reach.
    """
    if bool((top_p >= 1).all()):
        return logits
    least, within = _least_kept(logits.topk(min(SHORTLIST, logits.shape[-1]))[0], logits, top_p)
    beyond = (~within).nonzero()[:, 0]
    if len(beyond):
        own = logits[beyond]
        least[beyond], _ = _least_kept(own.sort(-1, descending=True)[0], own, top_p[beyond])
    return logits.masked_fill(logits < least, _NEVER)


def _least_kept(likeliest: Tensor, logits: Tensor, top_p: Tensor) -> tuple[Tensor, Tensor]:
    """(the least logit of the set (rows, 1), whether the set ends within the likeliest, which are in order (rows,))."""
    share = (likeliest - logits.logsumexp(-1, keepdim=True)).exp()
    kept = share.cumsum(-1) - share < top_p  # by the mass of the tokens likelier than this one
    last = kept.sum(-1, keepdim=True).clamp(min=1) - 1  # the likeliest always stays
    return likeliest.gather(-1, last), ~kept[:, -1]


def add_noise(logits: Tensor, words: Tensor, keys: Tensor) -> Tensor:
    """Logits (rows, n) of these words, ids (n,) or (rows, n), each with the Gumbel noise of its row's keys."""
    mixed = words.to(torch.int32)
    for number in range(2):
        mixed = mixed ^ keys[:, number : number + 1]
        for shift, factor in _ROUNDS:
            mixed.bitwise_xor_(_shift_right(mixed, shift)).mul_(factor)
        mixed.bitwise_xor_(_shift_right(mixed, 16))
    chance = _shift_right(mixed, 1).float().add_(0.5).mul_(2.0**-31)  # small ones keep all their digits
    chance.clamp_(max=_MOST_CHANCE)  # 1 would never be drawn, not even where no other word can be
    return logits - chance.neg_().log1p_().neg_().log_()


def derive_key(seed: int, step: int) -> tuple[int, int]:
    """Where the words' noise begins for this token of this request: 64 bits in halves, by splitmix64."""
    mixed = (seed + _GOLDEN * (step + 1)) & _WORD
    for shift, factor in ((30, FIRST), (27, SECOND)):
        mixed = (mixed ^ mixed >> shift) * factor & _WORD
    mixed ^= mixed >> 31
    return _to_int32(mixed >> 32), _to_int32(mixed & 0xFFFFFFFF)


def _to_int32(half: int) -> int:
    """The 32 bits as torch's int32 has them."""
    return half - (1 << 32) if half >> 31 else half


def _shift_right(words: Tensor, by: int) -> Tensor:
    """Shift to the right, filling with zeros."""
    return (words >> by).bitwise_and_((1 << (32 - by)) - 1)
