"""Token batches: documents encoded, grouped by length, padded; and the loss on them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.documents import Document

IGNORED = -100
Encoded = tuple[list[int], list[int]]  # ids, and targets of the same length, IGNORED where no loss counts
GROUPED_BATCHES = 8  # drawn together and sorted by length: little padding


@dataclass(frozen=True)
class Batch:
    """Right-padded token ids and targets, both (documents, tokens); targets are IGNORED outside completions."""

    inputs: torch.Tensor
    targets: torch.Tensor

    @property
    def tokens(self) -> int:
        return self.inputs.numel()


def encode(tokenizer: PreTrainedTokenizerFast, documents: list[Document]) -> list[Encoded]:
    """Prompts carry no loss, completions do."""
    prompts = tokenizer([document.prompt for document in documents], add_special_tokens=False)["input_ids"]
    completions = tokenizer([document.completion for document in documents], add_special_tokens=False)["input_ids"]
    return [(one + other, [IGNORED] * len(one) + other) for one, other in zip(prompts, completions, strict=True)]


def pad(encoded: Sequence[Encoded]) -> Batch:
    """Pad with id 0 (end of text) on the right; no attention mask is needed under a causal mask."""
    longest = max(len(ids) for ids, _ in encoded)
    inputs = torch.zeros(len(encoded), longest, dtype=torch.long)
    targets = torch.full((len(encoded), longest), IGNORED)
    for row, (ids, wanted) in enumerate(encoded):
        inputs[row, : len(ids)] = torch.tensor(ids)
        targets[row, : len(ids)] = torch.tensor(wanted)
    return Batch(inputs, targets)


def stream(draw: Callable[[], Document], size: int, tokenizer: PreTrainedTokenizerFast, rng: Random) -> Iterator[Batch]:
    """Endless batches of `size` drawn documents, alike in length within a batch, in random order."""
    while True:
        encoded = encode(tokenizer, [draw() for _ in range(size * GROUPED_BATCHES)])
        encoded.sort(key=lambda pair: len(pair[0]))
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
