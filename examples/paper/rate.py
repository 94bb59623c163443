#!/usr/bin/env python3
"""A rubric without a model, for `seal rate --program` and proxy.sh: the paper's criteria, counted in words.

Length: words, up to twice those of the passage. Diversity: lines that no line before has said. Quality: lines that name
the title and say more than that. Correctness: words of the lines that the passage has. The value is their mean.
"""

import json
import re
import sys

WORD = re.compile(r"[^\W_]+")


def get_words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def rate(title: str, context: str, completion: str) -> list[float]:
    """Return the four criteria, each 0 to 1."""
    lines = [get_words(line) for line in completion.splitlines() if get_words(line)]
    said = [word for line in lines for word in line]
    known, names = get_words(f"{title} {context}"), set(get_words(title))
    if not said:
        return [0.0] * 4
    length = min(1.0, len(said) / (2 * len(known) or 1))
    diversity = len(set(map(tuple, lines))) / len(lines)
    quality = sum(bool(names & set(line)) and len(set(line) - names) > 2 for line in lines) / len(lines)
    correctness = sum(word in known for word in said) / len(said)
    return [length, diversity, quality, correctness]


for text in sys.stdin:
    asked = json.loads(text)
    points = rate(asked["title"], asked["context"], asked["completion"])
    names = ("length", "diversity", "quality", "correctness")
    reason = ", ".join(f"{name} {value:.2f}" for name, value in zip(names, points, strict=True))
    print(json.dumps({"id": asked["id"], "value": sum(points) / 4, "reason": reason}), flush=True)
