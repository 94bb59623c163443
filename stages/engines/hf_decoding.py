"""Complete prompts in batches with transformers' generate(), each up to its own end."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from stages.engines.hf_cache import spare_copies
from stages.engines.hf_likelihood import fold_output_rows
from stages.engines.hf_sampling import SeededSampling
from stages.models.device import get_widest_dtype
from stages.settings import Sampling
from stages.tokens.tokenization import StopCheck

_BEGINNING = (2, 3, 4, 5, 6, 7, 8, 9)
_UNEQUAL_PROMPTS = ((*_BEGINNING, 4, 5), (6, 7, 8), (3, 5, 7, 2, 9), (9, 2), (*_BEGINNING, 3))
_EQUAL_PROMPTS = ((2, 3, 4), (6, 7, 8), (9, 2, 5), (5, 9, 3), (8, 6, 2))
Batching = Literal["any", "equal", "none"]  # which prompts may share a batch: any, those of one length, or none
See = Callable[[list[list[int]]], object]  # told after each token: what every row has so far
Report = Callable[[int, int], object]  # told after each token: how many were written, how many rows have just ended


@dataclass(frozen=True)
class PromptRow:
    """A prompt (token ids) to complete by at most `limit` tokens, or up to a stop string."""

    prompt: Sequence[int]
    limit: int
    sampling: Sampling
    stop: StopCheck | None = None


def complete(
    network: Any,
    rows: Sequence[PromptRow],
    *,
    ends: Collection[int],
    pad: int,
    report: Report = lambda tokens, ended: None,
    see: See | None = None,
) -> list[list[int] | None]:
    """Return the tokens after each prompt, up to and with its end token or its stop string, or up to its limit.

    None for a row whose logits were not finite before its end. `network` may be wrapped by peft. `see` is told the
    tokens after each prompt as they come, cut as those that are returned.
    """
    sampler = SeededSampling([row.sampling for row in rows], network.device)
    stop = _StopRows(rows, ends, sampler, report, see)
    prompts, longest = [row.prompt for row in rows], max(row.limit for row in rows)
    processors, criteria = LogitsProcessorList([sampler]), StoppingCriteriaList([stop])
    settings = {"max_new_tokens": longest, "pad_token_id": pad}
    grown = _generate(network, prompts, settings, logits_processor=processors, stopping_criteria=criteria)
    texts = stop.cut_all(grown)
    return [None if sampler.broken.get(place, len(text)) < len(text) else text for place, text in enumerate(texts)]


@torch.inference_mode()
def _generate(network: Any, prompts: Sequence[Sequence[int]], settings: Mapping[str, Any], **more: Any) -> Any:
    """The tokens (rows, as many as the longest has) after the prompts, or what else the settings ask for.

    The request says how to sample, not the checkpoint, so the model's own generation settings are set aside meanwhile.
    """
    base = network.get_base_model() if hasattr(network, "get_base_model") else network
    longest = max(map(len, prompts))
    padded = [[settings["pad_token_id"]] * (longest - len(prompt)) + list(prompt) for prompt in prompts]
    seen = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    ids, mask = (torch.tensor(rows, device=base.device) for rows in (padded, seen))  # (rows, longest)
    asked = GenerationConfig(do_sample=False, **settings)
    own, base.generation_config = base.generation_config, GenerationConfig()
    try:
        with fold_output_rows(base), spare_copies(base):
            made = network.generate(input_ids=ids, attention_mask=mask, generation_config=asked, **more)
    finally:
        base.generation_config = own
    return made[:, longest:] if isinstance(made, Tensor) else made


class _StopRows(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its limit, an end token, a stop string, or where its logits break; reports progress."""

    def __init__(
        self,
        rows: Sequence[PromptRow],
        ends: Collection[int],
        sampler: SeededSampling,
        report: Report,
        see: See | None = None,
    ) -> None:
        device = sampler.device
        self.limits = torch.tensor([row.limit for row in rows], device=device)
        self.ends = torch.tensor(sorted(ends), dtype=torch.long, device=device)
        self.done = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self.sampler, self.report, self.written, self.writing = sampler, report, 0, len(rows)
        self.see, self.cut_at = see, ends
        self.lengths = {place: row.limit for place, row in enumerate(rows)}  # tokens that a row has at most
        self.checks = {place: row.stop for place, row in enumerate(rows) if row.stop}  # of those that may go on

    def __call__(self, input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
        self.written += 1
        self.done |= torch.isin(input_ids[:, -1], self.ends) | (self.written >= self.limits)
        if self.sampler.broken:
            self.done[list(self.sampler.broken)] = True
        if self.checks:
            self._end_at_stop_strings(input_ids)
        before, self.writing = self.writing, int((~self.done).sum())
        self.report(before, before - self.writing)
        if self.see:
            self.see(self.cut_all(input_ids[:, -self.written :]))
        return self.done

    def _end_at_stop_strings(self, input_ids: Tensor) -> None:
        most = min(self.written, max(check.tail_tokens for check in self.checks.values()))
        tails, done = input_ids[:, -most:].tolist(), self.done.tolist()
        for place, check in list(self.checks.items()):
            if done[place]:
                del self.checks[place]
            elif check.may_end(tails[place]) and check.has_ended(input_ids[place, -self.written :].tolist()):
                self.done[place] = True
                self.lengths[place] = self.written
                del self.checks[place]

    def cut_all(self, grown: Tensor) -> list[list[int]]:
        """Return the tokens (rows, as many as the longest has) of each row without those behind its end."""
        return [_cut(text[: self.lengths[place]], self.cut_at) for place, text in enumerate(grown.tolist())]


def _cut(text: list[int], ends: Collection[int]) -> list[int]:
    stop = next((place + 1 for place, token in enumerate(text) if token in ends), len(text))
    return text[:stop]


def find_batching(network: Any, ends: Collection[int], pad: int) -> Batching:
    """Find which prompts get the same logits in a batch as alone: a few are tried, two tokens each.

    A model without attention may take pads for text; RWKV, in transformers, mixes the rows of any batch. Both change
    logits by about their spread. In 16 bits rounding, which differs by processor, may change a row by half of that
    (Gemma 3 270M on a CPU), but most rows by less than a tenth: there batches are refused where most rows of a step
    differ by more than a quarter.
    """
    token = next(each for each in range(3 + len(ends)) if each not in ends)
    exact = network.dtype in (torch.float32, torch.float64)
    settings = {"max_new_tokens": 2, "pad_token_id": pad, "output_logits": True, "return_dict_in_generate": True}

    def get_logits(prompts: Sequence[Sequence[int]]) -> Tensor:
        """(steps, rows, vocabulary)"""
        made = _generate(network, prompts, settings, prefix_allowed_tokens_fn=lambda *_: [token])
        return torch.stack(made.logits).to(get_widest_dtype(network.device))

    def are_alike(prompts: Sequence[Sequence[int]]) -> bool:
        together = get_logits(prompts)
        alone = torch.cat([get_logits([prompt]) for prompt in prompts], dim=1)
        if not bool(alone.isfinite().all()):
            return True  # a broken model says nothing, whatever its neighbours
        gaps, spread = (each.norm(dim=-1) for each in (together - alone, alone - alone.mean(-1, keepdim=True)))
        if exact:
            return bool((gaps <= 1e-3 * spread).all())
        return bool(((gaps <= 0.25 * spread).sum(-1) > len(prompts) // 2).all())

    return "any" if are_alike(_UNEQUAL_PROMPTS) else "equal" if are_alike(_EQUAL_PROMPTS) else "none"
