"""How likely given texts are: one forward pass over prompts and the texts behind them, without generating."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.errors import Untrainable
from stages.interfaces import Completion, Example, Request
from stages.models.device import get_widest_dtype
from stages.tokens.tokenization import encode_example


@dataclass(frozen=True)
class MeasuredRow:
    """A prompt with a text behind it (token ids), of which those from `first` on are measured. It grows by nothing."""

    prompt: Sequence[int]
    first: int
    limit: int = 0

    @property
    def tokens(self) -> int:
        """How many are measured."""
        return len(self.prompt) - self.first


def make_measured_row(tokenizer: Any, request: Request) -> MeasuredRow:
    """Encode the prompt and its continuation, without an end. Raises Untrainable where nothing of it can be measured.

    The first token of a text without a prompt follows from nothing, and is not.
    """
    tokens = encode_example(tokenizer, Example(request.prompt, request.continuation or ""), end=False)
    row = MeasuredRow(tokens.ids, max(tokens.prompt_tokens, 1))
    if row.tokens < 1:
        raise Untrainable(f"there are no tokens to measure in {request.continuation!r}")
    return row


def find_unmeasurable(tokenizer: Any, request: Request, context: int | None, model: str) -> Completion | None:
    """Return a failed completion if the text cannot be measured: beyond the context, or of no tokens. Else None."""
    try:
        row = make_measured_row(tokenizer, request)
    except Untrainable as error:
        return Completion(request.id, "", "failed", None, error=str(error))
    if context is None or len(row.prompt) <= context:
        return None
    told = f"prompt and text of {len(row.prompt)} tokens are longer than {model}'s context of {context}"
    return Completion(request.id, "", "failed", None, error=told)


@dataclass(frozen=True)
class Measured:
    """The log-probability of each measured token, and their mean."""

    tokens: tuple[float, ...]
    mean: float


@contextmanager
def fold_output_rows(base: Any) -> Iterator[None]:
    """Let the output layer multiply all rows at once. It gets a slice, of which torch multiplies row by row.

    In bfloat16 a CPU even copies the layer for each row (torch 2.13): 335 MB of Gemma 3's. A slice of one row is not
    helped by contiguous(), which leaves it as it is.
    """
    head = base.get_output_embeddings()
    if head is None:
        yield
        return
    hook = head.register_forward_pre_hook(
        lambda layer, given: tuple(each.clone(memory_format=torch.contiguous_format) for each in given)
    )
    try:
        yield
    finally:
        hook.remove()


@torch.inference_mode()
def measure_rows(network: Any, rows: Sequence[MeasuredRow], pad: int) -> list[Measured | None]:
    """Return the log-probabilities of each row's measured tokens; None where the logits are not finite.

    Rows are padded behind, where no earlier token sees it. `network` may be wrapped by peft.
    """
    base = network.get_base_model() if hasattr(network, "get_base_model") else network
    longest, first = max(len(row.prompt) for row in rows), min(row.first for row in rows) - 1
    padded = [[*row.prompt, *[pad] * (longest - len(row.prompt))] for row in rows]
    seen = [[1] * len(row.prompt) + [0] * (longest - len(row.prompt)) for row in rows]
    ids, mask = (torch.tensor(each, device=base.device) for each in (padded, seen))  # (rows, longest)
    takes = inspect.signature(base.forward).parameters
    more = {"logits_to_keep": longest - first} if "logits_to_keep" in takes else {}
    more |= {"use_cache": False} if "use_cache" in takes else {}
    with fold_output_rows(base):
        logits = network(input_ids=ids, attention_mask=mask, **more).logits[:, -(longest - first) :]
    return [
        _pick(
            logits[place, row.first - 1 - first : len(row.prompt) - 1 - first], ids[place, row.first : len(row.prompt)]
        )
        for place, row in enumerate(rows)
    ]


def _pick(logits: Tensor, targets: Tensor) -> Measured | None:
    """logits (tokens, vocabulary), each of the token before; in float32 at least."""
    exact = logits if logits.dtype == torch.float64 else logits.float()
    found = torch.log_softmax(exact, dim=-1).gather(1, targets[:, None])[:, 0].to(get_widest_dtype(logits.device))
    return Measured(tuple(found.tolist()), float(found.mean())) if bool(exact.isfinite().all()) else None
