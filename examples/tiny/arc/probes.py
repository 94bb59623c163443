"""Small exams that say whether pretraining is alive: the last output of unseen puzzles, by what moves the cells."""

import random
from collections.abc import Mapping

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from examples.tiny.arc.batches import encode
from examples.tiny.arc.documents import Document, Part, task_document
from examples.tiny.arc.world import CHANGES, KEEP, MOVES, STAY, make_palette, make_rule, make_task
from examples.tiny.batches import Batch, exact_share, pad

PUZZLES = 40
SIZES = [(3, 3)] * 4
EXAMS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # moves and changes to draw from
    STAY: ((STAY,), (KEEP,)),
    "moves": (tuple(MOVES), (KEEP,)),
    "changes": ((STAY,), tuple(CHANGES)),  # never in pretraining
    "both": (tuple(MOVES), tuple(CHANGES)),  # never in pretraining: the kind of the loop's tasks
}


class Probes:
    """The exams, made once; `measure` sits them."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._batches: dict[str, Batch] = {}
        for name, (moves, changes) in EXAMS.items():
            rng = random.Random(5)
            puzzles = [_puzzle(rng.choice(moves), rng.choice(changes), rng) for _ in range(PUZZLES)]
            self._batches[name] = pad([encode(tokenizer, puzzle) for puzzle in puzzles])

    def measure(self, model: PreTrainedModel) -> dict[str, float]:
        """Exact-match share of each exam, 0 to 1."""
        model.eval()
        scores = {name: exact_share(model, batch) for name, batch in self._batches.items()}
        model.train()
        return scores


def _puzzle(move: str, change: str, rng: random.Random) -> Document:
    """The loss counts on the answer alone."""
    palette = make_palette(rng)
    document = task_document(make_task(make_rule(move, change, palette, rng), palette, SIZES, rng), whole=False)
    return [*(Part(part.text, False) for part in document[:-1]), document[-1]]
