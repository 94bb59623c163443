"""Servers that fail: what the stages do, by the table of tests/services/table.py."""

from pathlib import Path

import pytest

from tests.services.table import FAILURES, Failing, run

HELD = (  # the others take as long again; python -m tests.services.table runs them all
    "none",
    "400 for one prompt",
    "401 that repeats the key",
    "429, Retry-After as a date",
    "500 for ever",
    "no answer in time, ever",
    "no choices, for one prompt",
    "dies after 3 answers",
    "dies after 3, back after 0.5 s",
    "Ctrl-C in the middle",
    "judge: INCORRECT",
    "judge: 401",
    "judge: a share fails for good",
    "judge: dies after 5 answers",
    "judge: Ctrl-C in the middle",
)


@pytest.mark.parametrize("failing", [row for row in FAILURES if row.name in HELD], ids=lambda row: row.name)
def test_a_failing_server_ends_as_the_table_says_and_the_same_command_goes_on(failing: Failing, tmp_path: Path) -> None:
    assert run(failing, tmp_path).wrong(failing) == []


def test_the_table_has_what_is_held() -> None:
    assert set(HELD) <= {row.name for row in FAILURES}
