"""A few of the faults of table.py, which has them all: whoever dies, the lines are those of a run alone."""

from dataclasses import replace

import pytest

from tests.ray.conftest import NEEDS_RAY
from tests.ray.table import FAULTS, try_fault
from tests.ray.trial import STAGES

pytestmark = NEEDS_RAY
SHORT = {
    **{f"{stage}: nothing": [0] for stage in STAGES},
    "judge: every worker, at one record": [0],
    "judge: the run, by SIGKILL, at each line": [21],
    "judge: the run, by Ctrl-C": [13],
    "judge: the driver, at each line": [5],
    "judge: the head's raylet": [5],
}


@pytest.mark.parametrize("name", SHORT, ids=lambda name: name.replace(" ", "-"))
def test_no_line_is_lost_or_made_twice(name: str, address: str) -> None:
    (fault,) = [fault for fault in FAULTS if fault.name == name]
    row = try_fault(replace(fault, places=SHORT[name]), address)
    assert row.wrong == [], "\n".join(row.said)
