"""Documents as token batches: some parts of a document carry the loss, others do not."""

from collections.abc import Callable, Iterator
from random import Random

from transformers import PreTrainedTokenizerFast

from examples.tiny.arc.documents import Document
from examples.tiny.batches import GROUPED_BATCHES, IGNORED, Batch, Encoded, pad


def encode(tokenizer: PreTrainedTokenizerFast, document: Document) -> Encoded:
    """The ids of all parts; the targets are IGNORED where the loss does not count."""
    pieces = tokenizer([part.text for part in document], add_special_tokens=False)["input_ids"]
    targets = [
        token if part.counted else IGNORED for piece, part in zip(pieces, document, strict=True) for token in piece
    ]
    return [token for piece in pieces for token in piece], targets


def stream(
    draw: Callable[[], Document], tokens: int, tokenizer: PreTrainedTokenizerFast, rng: Random
) -> Iterator[Batch]:
    """Endless batches of about `tokens` cells, of documents alike in length, in random order."""
    while True:
        encoded = sorted(
            (encode(tokenizer, draw()) for _ in range(32 * GROUPED_BATCHES)), key=lambda pair: len(pair[0])
        )
        groups: list[list[Encoded]] = [[]]
        for one in encoded:
            if groups[-1] and (len(groups[-1]) + 1) * len(one[0]) > tokens:
                groups.append([])
            groups[-1].append(one)
        rng.shuffle(groups)
        yield from map(pad, groups)
