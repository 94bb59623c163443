"""What the calls cost: the server's numbers are added up, nonsense is passed over."""

import pytest

from stages.services.base import Failure, Reply, Usage


def count(*usages: object) -> Usage:
    usage = Usage()
    usage.add(Reply(str(number), {"usage": usage}) for number, usage in enumerate(usages))
    return usage


def test_tokens_and_cost_are_added_up() -> None:
    usage = count({"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.25}, {"prompt_tokens": 4, "cost": 1})
    assert usage == Usage(2, 0, 0, 7, 2, 1.25)


@pytest.mark.parametrize("found", [-1, 1.5, float("nan"), float("inf"), "3", True, None, [3]])
def test_numbers_that_cannot_be_are_passed_over(found: object) -> None:
    cost = 1.5 if found == 1.5 else None
    assert count({"prompt_tokens": None, "cost": found}).cost == cost
    assert count({"prompt_tokens": found, "completion_tokens": 2}) == Usage(1, completion_tokens=2)


@pytest.mark.parametrize("usage", [None, [], "3", {}])
def test_a_cost_that_is_never_told_is_none(usage: object) -> None:
    assert count(usage) == Usage(calls=1)


def test_failures_are_counted() -> None:
    usage = Usage()
    usage.add([Reply("0", None, Failure("timeout", "no answer within 1 s"))])
    assert (usage.calls, usage.failed) == (1, 1)
