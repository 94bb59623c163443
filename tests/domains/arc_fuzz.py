"""Mangled completions for the few-shot domain's two readers. `python -m tests.domains.arc_fuzz 10000 [SEED]`

Each completion is a good self-edit that a few accidents have befallen. `parse_edit` must give an edit within its bounds
or a BadEdit with a reason on one line; `read_grid` a grid or a reason. Never another error. The outcomes are counted.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from random import Random

from stages.domains.arc.grid_text import BadGrid, digits_text, numpy_text, read_grid
from stages.domains.arc.self_edit import (
    MAX_EPOCHS,
    MAX_LEARNING_RATE,
    MIN_EPOCHS,
    MIN_LEARNING_RATE,
    REPAIRS,
    STRATEGIES,
    SWITCHES,
    parse_edit,
)
from stages.errors import BadEdit
from stages.records.arc import ArcChoice, make_grid

JUNK = (
    *("{", "}", "[", "]", '"', "'", ",", ":", "\\", "\n", " ", "`", "```", "```json\n", "true", "True", "None", "NaN"),
    *(
        "null",
        "-",
        "1e999",
        "9" * 40,
        "0x1",
        "1_0",
        "\x00",
        "\x1b[31m",
        "\u2028",
        "\ud800",
        "é",
        "ー",
        "😀",
        "//",
        "/*",
    ),
    *(
        "<|eot_id|>",
        "{}",
        '{"a": 1}',
        "learning_rate",
        '"strategy"',
        "#",
        "[[1 2]\n [3 4]]",
        "٣",
        "{" * 200,
        "[" * 3000,
    ),
)
ODD_VALUES = ("null", '"true"', "1", "0", "-1", "1e-4", "0.5", "1e-9", "2.0", "[]", "{}", "True", "376", "1e400")


def good_edit(random: Random) -> str:
    data = {key: random.random() < 0.5 for key in SWITCHES.values()}
    training = {
        "strategy": random.choice(STRATEGIES),
        "learning_rate": random.choice([1e-4, 5e-5, 0.001, 0.01, 1e-7, 0.1]),
        "num_train_epochs": random.choice([1, 2, 3, 10, 375]),
    }
    return json.dumps({"data_generation": data, "training": training}, indent=random.choice([None, 2]))


def cut(text: str, random: Random) -> str:
    return text[: random.randrange(len(text) + 1)]


def insert(text: str, random: Random) -> str:
    place = random.randrange(len(text) + 1)
    return text[:place] + random.choice(JUNK) + text[place:]


def delete(text: str, random: Random) -> str:
    place = random.randrange(len(text) + 1)
    return text[:place] + text[place + random.randrange(1, 9) :]


def odd_value(text: str, random: Random) -> str:
    head, colon, tail = text.rpartition(random.choice([": ", "true", "false"]))
    return head + colon + random.choice(ODD_VALUES) + tail[random.randrange(6) :]


def repeat(text: str, random: Random) -> str:
    start, end = sorted(random.randrange(len(text) + 1) for _ in range(2))
    return text[:end] + text[start:end] + text[end:]


ACCIDENTS: tuple[Callable[[str, Random], str], ...] = (
    cut,
    insert,
    insert,
    delete,
    odd_value,
    repeat,
    lambda text, random: f"```json\n{text}\n```",
    lambda text, random: f"Here's the config:\n{text}\nI hope it helps",
    lambda text, random: text.replace("true", "True").replace("false", "False"),
    lambda text, random: text.replace("}", random.choice([",}", ",\n}"])),
    lambda text, random: text.replace('"', "'"),
)


def mangled(text: str, random: Random) -> str:
    """The text after none to three accidents; long ones are rare."""
    for _ in range(random.randrange(4)):
        text = random.choice(ACCIDENTS)(text, random)
    return text * random.choice([1] * 99 + [200])


def outcome(completion: str) -> str:
    """What became of a completion, in a word or two. Raises AssertionError where a promise is broken."""
    try:
        edit = parse_edit(completion)
    except BadEdit as error:
        reason = str(error)
        assert reason and reason.isprintable() and len(reason) < 300, f"a bad reason: {reason!r}"
        return "refused"
    check(edit)
    return "; ".join(edit.repairs) or "as it is"


def check(edit: ArcChoice) -> None:
    assert MIN_LEARNING_RATE <= edit.learning_rate <= MAX_LEARNING_RATE
    assert MIN_EPOCHS <= edit.epochs <= MAX_EPOCHS
    assert edit.strategy in STRATEGIES
    assert set(edit.tools) <= set(SWITCHES)
    assert set(edit.repairs) <= set(REPAIRS)


def grid_outcome(random: Random) -> str:
    rows = [[random.randrange(10) for _ in range(random.randrange(1, 5))]] * random.randrange(1, 5)
    text = mangled(random.choice([numpy_text, digits_text])(make_grid(rows)) + "#", random)
    found = read_grid(text)
    if isinstance(found, BadGrid):
        assert found.reason.isprintable() and len(found.reason) < 200, f"a bad reason: {found.reason!r}"
        return "no grid"
    assert make_grid(found) == found
    return "grid"


def fuzz(count: int, seed: int = 0) -> Counter[str]:
    """Feeds both readers `count` texts each and counts what came of them."""
    random = Random(seed)
    found: Counter[str] = Counter()
    for number in range(count):
        completion = mangled(good_edit(random), random)
        try:
            found.update([outcome(completion), grid_outcome(random)])
        except Exception as error:
            raise AssertionError(f"text {number} of seed {seed}: {completion[:500]!r}") from error
    return found


def main() -> None:
    count, seed = (int(text) for text in [*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]])
    start = time.perf_counter()
    for what, times in fuzz(count, seed).most_common():
        print(f"{times:8,}  {what}")
    print(f"{count:,} self-edits and {count:,} grids in {time.perf_counter() - start:.1f} s, seed {seed}")


if __name__ == "__main__":
    main()
