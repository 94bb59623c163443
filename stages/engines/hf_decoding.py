"""Complete prompts in batches with transformers' generate(), and find which prompts may share a batch."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

_BEGINNING = (2, 3, 4, 5, 6, 7, 8, 9)
_UNEQUAL_PROMPTS = ((*_BEGINNING, 3), (6, 7, 8), (*_BEGINNING, 4, 5))
_EQUAL_PROMPTS = ((2, 3, 4), (6, 7, 8))
Batching = Literal["any", "equal", "none"]  # which prompts may share a batch: any, those of one length, or none
Report = Callable[[int, int], object]  # told after each token: how many were written, how many rows have just ended


@dataclass(frozen=True)
class PromptRow:
    """A prompt (token ids) to complete by at most `limit` tokens."""

    prompt: Sequence[int]
    limit: int


class _StopAtLimits(StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its own limit or end token, and reports progress."""

    def __init__(self, rows: Sequence[PromptRow], ends: Collection[int], device: torch.device, report: Report) -> None:
        self.limits = torch.tensor([row.limit for row in rows], device=device)
        self.ends = torch.tensor(sorted(ends), dtype=torch.long, device=device)
        self.done = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self.report, self.written, self.writing = report, 0, len(rows)

    def __call__(self, input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
        self.written += 1
        self.done |= torch.isin(input_ids[:, -1], self.ends) | (self.written >= self.limits)
        before, self.writing = self.writing, int((~self.done).sum())
        self.report(before, before - self.writing)
        return self.done


@torch.inference_mode()
def complete(
    network: Any,
    rows: Sequence[PromptRow],
    sampler: Any,
    *,
    ends: Collection[int],
    pad: int,
    report: Report = lambda tokens, ended: None,
) -> list[list[int]]:
    """Return the tokens after each prompt, up to and with its end token, or up to its limit.

    `sampler` is a logits processor whose largest score is taken. `network` may be wrapped by peft. The request says how
    to sample, not the checkpoint, so the model's own generation settings are set aside meanwhile.
    """
    base = network.get_base_model() if hasattr(network, "get_base_model") else network
    ids, mask = left_pad([row.prompt for row in rows], pad, base.device)  # (rows, longest prompt)
    settings = GenerationConfig(
        max_new_tokens=max(row.limit for row in rows),
        do_sample=False,
        eos_token_id=sorted(ends) or None,
        pad_token_id=pad,
    )
    own, base.generation_config = base.generation_config, GenerationConfig()
    try:
        grown = network.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=settings,
            logits_processor=LogitsProcessorList([sampler]),
            stopping_criteria=StoppingCriteriaList([_StopAtLimits(rows, ends, base.device, report)]),
        )
    finally:
        base.generation_config = own
    return [_cut(text[: row.limit], ends) for text, row in zip(grown[:, ids.shape[1] :].tolist(), rows, strict=True)]


def _cut(text: list[int], ends: Collection[int]) -> list[int]:
    stop = next((place + 1 for place, token in enumerate(text) if token in ends), len(text))
    return text[:stop]


def left_pad(texts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad texts on the left. Returns (ids, mask), each (texts, longest)."""
    longest = max(map(len, texts))
    ids = [[pad] * (longest - len(text)) + list(text) for text in texts]
    mask = [[0] * (longest - len(text)) + [1] * len(text) for text in texts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@dataclass
class Recorder:
    """A sampler that keeps the logits of every step and always takes the same token."""

    token: int
    seen: list[Tensor] = field(default_factory=list)  # (rows, vocabulary) each

    def __call__(self, input_ids: Any, logits: Tensor) -> Tensor:
        self.seen.append(logits.detach().double().cpu())
        forced = torch.zeros_like(logits)
        forced[:, self.token] = 1
        return forced


def find_batching(network: Any, ends: Collection[int], pad: int) -> Batching:
    """Find which prompts get the same logits in a batch as alone: a few are tried, two tokens each.

    A model without attention may take pads for text; RWKV, in transformers, mixes the rows of any batch.
    """
    token = next(each for each in range(3 + len(ends)) if each not in ends)
    tolerance = 1e-3 if network.dtype in (torch.float32, torch.float64) else 0.05

    def get_logits(prompts: Sequence[Sequence[int]]) -> Tensor:
        """(steps, rows, vocabulary)"""
        recorder = Recorder(token)
        complete(network, [PromptRow(prompt, 2) for prompt in prompts], recorder, ends=(), pad=pad)
        return torch.stack(recorder.seen)

    def are_alike(prompts: Sequence[Sequence[int]]) -> bool:
        together = get_logits(prompts)
        alone = torch.cat([get_logits([prompt]) for prompt in prompts[:2]], dim=1)
        gap, spread = together[:, :2] - alone, alone - alone.mean(-1, keepdim=True)
        return bool((gap.norm(dim=-1) <= tolerance * spread.norm(dim=-1)).all())

    return "any" if are_alike(_UNEQUAL_PROMPTS) else "equal" if are_alike(_EQUAL_PROMPTS) else "none"
