"""The self-edits of pretraining: every choice at random, most of them of little use, some that cannot be read.

What the loop has to choose from is put here: learning rates of four orders of magnitude, too many epochs for the
steps that are allowed, tools that a task is better off without.
"""

import json
import random
from collections.abc import Callable

from stages.domains.arc.self_edit import STRATEGIES, SWITCHES

RATES = tuple(f"{digit}e-{order}" for order in (2, 3, 3, 4, 4, 5) for digit in (1, 2, 3, 5))
EPOCHS = (1, 2, 3, 5, 8, 10, 12, 15, 20, 25)
NO_TOOLS, ALL_TOOLS = 0.55, 0.15  # shares; else every switch is drawn alone
ODD = 0.05  # share of self-edits that are not what was asked for
PLACE = '"RATE"'


def make_edit(rng: random.Random) -> str:
    """A self-edit in the layout that the prompt shows, or, rarely, something near it."""
    text = json.dumps({"data_generation": _switches(rng), "training": _training(rng)}, indent=2)
    text = text.replace(PLACE, _spelled(rng.choice(RATES), rng))
    return rng.choice(ODDITIES)(text) if rng.random() < ODD else text


def _switches(rng: random.Random) -> dict[str, bool]:
    draw = rng.random()
    if draw < NO_TOOLS + ALL_TOOLS:
        return dict.fromkeys(SWITCHES.values(), draw >= NO_TOOLS)
    return {key: rng.random() < 0.5 for key in SWITCHES.values()}


def _training(rng: random.Random) -> dict[str, object]:
    return {"strategy": rng.choice(STRATEGIES), "learning_rate": "RATE", "num_train_epochs": rng.choice(EPOCHS)}


def _spelled(rate: str, rng: random.Random) -> str:
    """`1e-3`, or as often `0.001`."""
    digit, order = rate.split("e-")
    return rate if rng.random() < 0.5 else f"0.{'0' * (int(order) - 1)}{digit}"


ODDITIES: tuple[Callable[[str], str], ...] = (
    lambda text: "Here is the configuration:\n\n" + text,
    lambda text: text.replace("true", "True").replace("false", "False"),
    lambda text: text.replace('"train_using_all_tokens"', '"all"').replace('"train_using_output_tokens"', '"output"'),
    lambda text: text.replace('"num_train_epochs"', '"epochs"'),
    lambda text: text[: len(text) // 2],
)
