"""Requests in batches, as the engine makes them."""

from pathlib import Path

import pytest

from stages.planning.batches import SizedRequest, describe_batch, describe_calls, make_row_batches

pytestmark = pytest.mark.fast
ONE, TWO = Path("one"), Path("two")


def test_rows_without_an_adapter_come_first_and_adapters_share_batches() -> None:
    rows = [
        SizedRequest(9, 1, ONE),
        SizedRequest(8, 1),
        SizedRequest(7, 1, TWO),
        SizedRequest(6, 1, ONE),
        SizedRequest(5, 1),
    ]
    found = [[row.prompt for row in batch] for batch in make_row_batches(rows, 3)]
    assert found == [[8, 5], [9, 6, 7]]


def test_an_adapter_that_does_not_fit_begins_a_batch() -> None:
    rows = [SizedRequest(1, 1, ONE), SizedRequest(2, 1, ONE), SizedRequest(3, 1, TWO), SizedRequest(4, 1, TWO)]
    assert [len(batch) for batch in make_row_batches(rows, 3)] == [2, 2]


def test_all_rows_of_a_batch_cost_as_much_as_the_longest() -> None:
    found = describe_batch([SizedRequest(10, 3), SizedRequest(2, 8)])
    assert (found["prompt cells"], found["steps"], found["step rows"]) == (20, 7, 14)
    assert describe_batch([SizedRequest(10, 3, ONE)])["adapted steps"] == 2


def test_measured_rows_write_nothing() -> None:
    assert describe_batch([SizedRequest(10, 0)])["steps"] == 0


def test_calls_to_a_server_go_in_rounds() -> None:
    assert describe_calls([SizedRequest(1, 6)] * 5, 2)["rounds"] == 3
