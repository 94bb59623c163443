"""Token batches: documents encoded, grouped by length, padded; and the loss on them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.documents import Document

IGNORED = -100
GROUPED_BATCHES = 8  # drawn together and sorted by length: little padding


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids and targets, both (documents, tokens); targets are IGNORED outside completions."""

    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def tokens(self) -> int:
        return self.inputs.numel()


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, completion ids) of each document."""
    prompts = tokenizer([document.prompt for document in documents], add_special_tokens=False)["input_ids"]
    completions = tokenizer([document.completion for document in documents], add_special_tokens=False)
    return list(zip(prompts, completions["input_ids"], strict=True))


def pad(encoded: list[tuple[list[int], list[int]]]) -> Batch:
    """Pad with id 0 (end of text) on the right; no attention mask is needed under a causal mask."""
    longest = max(len(prompt) + len(completion) for prompt, completion in encoded)
    inputs = torch.zeros(len(encoded), longest, dtype=torch.long)
    targets = torch.full((len(encoded), longest), IGNORED)
    for row, (prompt, completion) in enumerate(encoded):
        end = len(prompt) + len(completion)
        inputs[row, :end] = torch.tensor(prompt + completion)
        targets[row, len(prompt) : end] = torch.tensor(completion)
    return Batch(inputs, targets)


def stream(draw: Callable[[], Document], size: int, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[Batch]:
    """Endless batches of `size` drawn documents, alike in length within a batch, in random order."""
    while True:
        encoded = encode(tokenizer, [draw() for _ in range(size * GROUPED_BATCHES)])
        encoded.sort(key=lambda pair: len(pair[0]) + len(pair[1]))
        groups = [encoded[start : start + size] for start in range(0, len(encoded), size)]
        rng.shuffle(groups)
        yield from (pad(group) for group in groups)


def loss_on(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy of the target tokens; the vocabulary is unembedded only where there is a target."""
    hidden = model.model(input_ids=batch.inputs, use_cache=False).last_hidden_state[:, :-1]
    targets = batch.targets[:, 1:]  # (documents, tokens - 1)
    counted = targets != IGNORED
    return functional.cross_entropy(model.lm_head(hidden[counted]), targets[counted])


@torch.no_grad()
def exact_share(model: PreTrainedModel, batch: Batch) -> float:
    """Share of documents of which every target token is the arg-max: greedy exact match, teacher-forced."""
    hidden = model.model(input_ids=batch.inputs, use_cache=False).last_hidden_state[:, :-1]
    targets = batch.targets[:, 1:]
    counted = targets != IGNORED
    right = torch.ones_like(counted)
    right[counted] = model.lm_head(hidden[counted]).argmax(-1) == targets[counted]
    return float(right.all(1).float().mean())
