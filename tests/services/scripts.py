"""Scripts of a server: what it does with the n-th request, by its body. Tests write their own, too."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.services.behaviours import Behaviour, cut_off, limited, ok, page, raw, status

Script = Callable[[int, Mapping[str, Any]], Behaviour]  # n counts from 0


def always(behaviour: Behaviour) -> Script:
    return lambda n, body: behaviour


def in_turn(*behaviours: Behaviour) -> Script:
    """One after the other; the last one stays."""
    return lambda n, body: behaviours[min(n, len(behaviours) - 1)]


def prompt_of(body: Mapping[str, Any]) -> str:
    """The last thing said in a request."""
    messages = body.get("messages")
    return str(messages[-1].get("content") if messages else body.get("prompt", ""))


def chance(body: Mapping[str, Any], n: int, seed: int = 0) -> float:
    """A number in [0, 1) that depends on the request, on n and on the seed."""
    text = json.dumps([seed, n, body], sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48


def flaky(share: float, failures: Sequence[Behaviour], then: Script, seed: int = 0) -> Script:
    """A share of the requests fails, in all the ways given; a request that is sent again may do better.

    What becomes of the k-th try of a prompt depends on nothing else.
    """
    tries: Counter[str] = Counter()

    def choose(n: int, body: Mapping[str, Any]) -> Behaviour:
        prompt = prompt_of(body)
        drawn = chance({"prompt": prompt}, tries[prompt], seed)
        tries[prompt] += 1
        return failures[int(drawn / share * len(failures))] if drawn < share else then(n, body)

    return choose


def poison(share: float, failure: Behaviour, then: Script, seed: int = 0) -> Script:
    """A share of the prompts fails however often they are sent."""
    return lambda n, body: failure if chance({"prompt": prompt_of(body)}, 0, seed) < share else then(n, body)


def echoes(n: int, body: Mapping[str, Any]) -> Behaviour:
    """Says what it was asked."""
    return ok(prompt_of(body))


PASSING = (status(500), status(503), limited(), cut_off(), raw(b"not JSON"), page(502))
