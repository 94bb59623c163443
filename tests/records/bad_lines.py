"""Bad input made from good: the same lines for the same seed. `python -m tests.records.bad_lines 10000` reads them all.

A mutant may by luck be good; whoever feeds it to a reader only knows that it is a record, a reject or a BadInput.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from stages.records.jsonl import to_json
from stages.records.schema import SftExample
from tests.invented import a_line, a_task

RECORD = to_json(a_line(a_task("Zoë"), [True, None])).encode()
EXAMPLE = to_json(SftExample(prompt="p", completion="Zoë", task_id="t", edit_id="e", value=0.5, baseline=None)).encode()
CHAT = json.dumps(
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Zoë"}], "id": 7},
    ensure_ascii=False,
).encode()
TASK = json.dumps(
    {"title": "Zoë", "context": "Zoë built a bridge.", "questions": [{"question": "Who?", "answer": "Zoë"}]},
    ensure_ascii=False,
).encode()
JUNK = [
    *(b"\x00", b"\xef\xbb\xbf", b"\r", b"\xe2\x80\xa8", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x1b[31m", b"\x85"),
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\ud800", b"\\u0000", b"\\x", b"NaN", b"-", b"e", b"null"),
]
TOKENS = [
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1e999",
        "1e-999",
        "-0",
        "-0.0",
        "01",
        "+1",
        "0x1",
        ".5",
        "5.",
        "1E400",
    ),
    *("9" * 5000, "-" + "9" * 25, str(2**63), str(2**64), str(-(2**63)), "-1", "1.5", "0", "true", "false", "null"),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\u2028"', '"\ufeff"', '"true"', '"1"', "[]", "{}"),
    *("[[]]", '[""]', "[null]", '{"": ""}', '{"a": 1, "a": 2}', '{"\\ud800": 1, "\\udc00": 2}', '"' + "x" * 5000 + '"'),
    *("[" * 50 + "]" * 50, "[" * 101 + "]" * 101, '{"a":' * 300 + "1" + "}" * 300, "[" * 900 + "]" * 900, "1" * 4301),
]
HUGE: list[Callable[[], str]] = [
    lambda: "[" * 100_000,
    lambda: "[" * 100_000 + "]" * 100_000,
    lambda: '{"a":' * 100_000,
    lambda: "1" * 1_000_000,
    lambda: "1." + "1" * 1_000_000,
    lambda: '"' + "long " * 1_000_000 + '"',
    lambda: "[" + "1," * 500_000 + "1]",
    lambda: '"' + "\\ud800" * 200_000 + '"',
    lambda: "{" + ",".join(f'"{n}": 1' for n in range(100_000)) + "}",
]
HUGE_SHARE = 0.004


def bad_lines(seed: int, count: int, good: bytes = RECORD) -> Iterator[bytes]:
    """`count` lines, none of which contains a newline."""
    dice = random.Random(f"{seed}:{count}")
    for _ in range(count):
        line = dice.choice([damaged, damaged, restructured, restructured, restructured, alien])(dice, good)
        yield line.replace(b"\n", b"\r")


def damaged(dice: random.Random, good: bytes) -> bytes:
    """The bytes themselves: some flipped, cut off, left out, doubled or put in, once or a few times."""
    line = bytearray(good)
    for _ in range(dice.choice([1, 1, 1, 2, 5])):
        start = dice.randrange(len(line) + 1)
        end = min(len(line), start + dice.choice([0, 1, 1, 2, 8, 40]))
        kind = dice.randrange(6)
        if kind == 0 and start < len(line):
            line[start] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del line[start:]
        elif kind == 2:
            line[start:end] = b""
        elif kind == 3:
            line[start:start] = line[start:end]
        else:
            line[start:end] = dice.choice(JUNK)
    return bytes(line)


def restructured(dice: random.Random, good: bytes) -> bytes:
    """JSON of another shape: keys removed, renamed, added, doubled, and values that are something else."""
    value = json.loads(good)
    put: dict[str, str] = {}
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        _restructure(dice, value, put)
    text = json.dumps(value, ensure_ascii=dice.random() < 0.5)
    for mark, token in put.items():
        text = text.replace(f'"{mark}"', token)
    return text.encode("utf-8", "surrogatepass")


def _restructure(dice: random.Random, value: Any, put: dict[str, str]) -> None:
    holder, key = dice.choice(list(_places(value)))
    mark = f"@{len(put)}@"
    kind = dice.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[dice.choice(["", "v", "task", "answers", str(key).upper(), f"{key} ", "\ud800"])] = holder.pop(key)
    elif kind == 2 and isinstance(holder, dict):
        put[mark] = f"{json.dumps(key)}: {json.dumps(holder[key])}, {json.dumps(key)}"
        holder[mark] = holder.pop(key)
    elif kind == 3:
        other, its = dice.choice(list(_places(value)))
        holder[key] = json.loads(json.dumps(other[its]))
    else:
        put[mark] = dice.choice(HUGE)() if dice.random() < HUGE_SHARE else dice.choice(TOKENS)
        holder[key] = mark


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of everything inside; something to take hold of where nothing is left."""
    found = False
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found = True
        yield value, key
        if isinstance(value[key], dict | list) and value[key]:
            yield from _places(value[key])
    if not found and isinstance(value, dict):
        value["empty"] = 0
        yield value, "empty"
    elif not found:
        value.append(0)
        yield value, 0


def alien(dice: random.Random, good: bytes) -> bytes:
    """A line that never was one of ours."""
    kind = dice.randrange(5)
    if kind == 0:
        return dice.randbytes(dice.randrange(60))
    if kind == 1:
        return dice.choice([RECORD, EXAMPLE, TASK, b"{}", b'{"task": 1}', b'{"title": "", "context": ""}'])
    if kind == 2:
        return dice.choice([b"", b" ", b"\t\r", b"\xef\xbb\xbf", b"\x1e", b"\xef\xbb\xbf" * 2, b"\x00" * 100, b"# no"])
    token = dice.choice(HUGE)() if dice.random() < 4 * HUGE_SHARE else dice.choice(TOKENS)
    return (token if kind == 3 else f'{{"task": {token}}}').encode("utf-8", "surrogatepass")
