"""Draw tokens so that what a row draws depends on its own request alone."""

import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stages.settings import Sampling

SHORTLIST = 64  # of the likeliest tokens: most often they hold the mass of top_p
MAX_REJECTIONS = 8  # draws that are looked at one by one, before a whole row is sorted
_AT_ONCE = 1 << 21  # logits, on a CPU: few enough for its caches, and for memory that malloc keeps (below 32 MB)
_NEVER = float("-inf")
_SMALLEST = torch.finfo(torch.float32).tiny
_MOST_NOISE = 22.5  # that a word can get: 32 ln 2 = 22.18
_MOST_CHANCE = 1 - 2.0**-24  # the largest float32 below 1
_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # splitmix64 (Steele, Lea and Flood 2014): the step of its counter, and its two factors
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_ROUNDS = ((16, 0x21F0AAAD), (15, 0x735A2D97))  # lowbias32 (C. Wellons, hash-prospector): shifts and factors


class SeededSampling:
    """A logits processor: the argmax of its scores is a draw from softmax(logits / temperature) cut to top_p.

    The noise of a word (Gumbel's) follows from the row's seed, the number of the token and the word, so neighbours,
    order and batch size change nothing but rounding, and only words that can be drawn need any. Rows of temperature 0
    stay greedy.
    """

    def __init__(self, rows: Sequence[Sampling], device: torch.device) -> None:
        self.device, self.step = device, 0
        drawn = [row for row, sampling in enumerate(rows) if sampling.temperature > 0]
        self.greedy = [row for row, sampling in enumerate(rows) if not sampling.temperature > 0]
        self.seeds = [rows[row].seed for row in drawn]
        self.drawn = torch.tensor(drawn, dtype=torch.long, device=device)
        columns = torch.tensor([(rows[row].temperature, rows[row].top_p) for row in drawn], device=device).view(-1, 2)
        self.temperature, self.top_p = columns[:, :1], columns[:, 1:]  # (drawn rows, 1) each
        self.noisy: Tensor | None = None  # kept: a CPU takes longer to find fresh memory than to fill it
        self.broken: dict[int, int] = {}  # row → the first step whose logits were not finite: nothing can be drawn

    def __call__(self, input_ids: Any, scores: Tensor) -> Tensor:
        """scores (rows, vocabulary) → the same with noise on the rows that are drawn, and -inf on words that are cut.

        One call a token, which overwrites what the last one returned.
        """
        step, self.step = self.step, self.step + 1
        largest = scores.amax(-1, keepdim=True)
        finite = largest[:, 0].isfinite()  # NaN and infinity are the largest
        if not bool(finite.all()):
            self.broken = dict.fromkeys((~finite).nonzero().flatten().tolist(), step) | self.broken
        if not self.seeds:
            return scores
        noisy = self.noisy = torch.empty_like(scores, dtype=torch.float32) if self.noisy is None else self.noisy
        if self.greedy:
            noisy[self.greedy] = scores[self.greedy].float()
        keys = torch.tensor([derive_key(seed, step) for seed in self.seeds], dtype=torch.int32, device=self.device)
        block = max(1, _AT_ONCE // scores.shape[-1])
        at_once = block if scores.device.type == "cpu" else len(keys)
        for start in range(0, len(keys), at_once):
            part = slice(start, start + at_once)
            rows = self.drawn[part]
            logits = scores.index_select(0, rows).float()
            logits.sub_(largest[rows]).div_(self.temperature[part])  # else a small one overflows
            noisy.index_copy_(0, rows, draw(logits, self.top_p[part], keys[part]))
        return noisy


def draw(logits: Tensor, top_p: Tensor, keys: Tensor) -> Tensor:
    """Return noisy logits (rows, vocabulary) whose argmax is a draw; top_p (rows, 1), keys (rows, 2).

    It comes from the smallest set of likeliest words with mass top_p; words exactly as likely as the set's last belong
    to it, too. Where the SHORTLIST of the likeliest words holds that set, only they get noise.
    """
    top_p = top_p.clamp(min=_SMALLEST)  # the likeliest always stays
    likeliest, words = logits.topk(min(SHORTLIST, logits.shape[-1]))
    total = logits.logsumexp(-1, keepdim=True)
    least = _find_least_kept(likeliest, total, top_p)
    few = add_noise(likeliest.masked_fill(likeliest < least, _NEVER), words, keys)
    noisy = torch.full_like(logits, _NEVER).scatter_(1, words, few)
    if words.shape == logits.shape:
        return noisy
    beyond = (likeliest[:, -1:] >= least).nonzero()[:, 0]  # words as likely as the shortlist's last may be kept, too
    at_once = 1 if beyond.device.type == "cpu" else max(1, len(beyond))  # the words that may win differ by row
    for start in range(0, len(beyond), at_once):
        rows = beyond[start : start + at_once]
        best = few[rows].amax(-1, keepdim=True)
        noisy[rows] = _draw_among_many(logits[rows], total[rows], best, top_p[rows], keys[rows])
    return noisy


def _draw_among_many(logits: Tensor, total: Tensor, best: Tensor, top_p: Tensor, keys: Tensor) -> Tensor:
    """As `draw`, without sorting: the word drawn is looked at, and if it is cut, the next one.

    After MAX_REJECTIONS words the rows that still have none are sorted. `best` (rows, 1) is a noisy logit that stays:
    words that no noise lifts so high get none on a CPU. (Other devices would have to be waited for to list the rest.)
    """
    words, own = torch.arange(logits.shape[-1], device=logits.device), logits
    if logits.device.type == "cpu":
        words = (logits >= best - _MOST_NOISE).any(0).nonzero()[:, 0]
        own = logits[:, words]
    noisy = add_noise(own, words, keys)
    rows = (top_p < 1).nonzero()[:, 0]  # those that may still have drawn a word that is cut
    chances = (own - total).exp_() if len(rows) else own
    for _ in range(MAX_REJECTIONS):
        if not len(rows):
            break
        word = noisy[rows].argmax(-1, keepdim=True)
        likelier = chances[rows].masked_fill_(own[rows] <= own[rows].gather(1, word), 0).sum(-1, keepdim=True)
        cut = (likelier >= top_p[rows])[:, 0]
        rows = rows[cut]
        noisy[rows, word[cut, 0]] = _NEVER
    if len(rows):
        least = _find_least_kept(own[rows].sort(-1, descending=True)[0], total[rows], top_p[rows])
        noisy[rows] = noisy[rows].masked_fill(own[rows] < least, _NEVER)
    return noisy if own is logits else torch.full_like(logits, _NEVER).index_copy_(1, words, noisy)


def _find_least_kept(likeliest: Tensor, total: Tensor, top_p: Tensor) -> Tensor:
    """The least logit (rows, 1) that is kept of the likeliest, in order; total (rows, 1) is the logsumexp of all."""
    share = (likeliest - total).exp()
    kept = share.cumsum(-1) - share < top_p  # by the mass of the tokens likelier than this one
    last = kept.sum(-1, keepdim=True).clamp(min=1) - 1  # of broken logits none is kept
    return likeliest.gather(-1, last)


def add_noise(logits: Tensor, words: Tensor, keys: Tensor) -> Tensor:
    """Return logits (rows, n) of these words, ids (n,) or (rows, n), each with the Gumbel noise of its row's keys."""
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
    """Return where the words' noise begins for this token of this request: 64 bits of splitmix64, as two int32."""
    mixed = (seed + _GOLDEN * (step + 1)) & _WORD
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        mixed = (mixed ^ mixed >> shift) * factor & _WORD
    mixed ^= mixed >> 31
    high, low = struct.unpack(">ii", mixed.to_bytes(8, "big"))
    return high, low


def _shift_right(words: Tensor, by: int) -> Tensor:
    """Shift to the right, filling with zeros."""
    return (words >> by).bitwise_and_((1 << (32 - by)) - 1)
