"""Steps and passes of trainings, as the trainer makes them."""

import pytest

from stages.planning.steps import SizedJob, describe_fit

pytestmark = pytest.mark.fast


def test_jobs_in_slots_step_together() -> None:
    jobs = [SizedJob((10, 10), 1, 3), SizedJob((5,), 1, 2)]
    found, most = describe_fit(jobs, 2, 100)
    assert (found["steps"], found["slot steps"], found["tokens"]) == (6, 8, 70)
    assert (found["passes"], most.tokens, most.slots) == (6, 15, 2)


def test_one_slot_takes_one_job_after_the_other() -> None:
    found, most = describe_fit([SizedJob((10, 10), 1, 3), SizedJob((5,), 1, 2)], 1, 100)
    assert (found["steps"], found["slot steps"], most.slots) == (8, 8, 1)


def test_a_step_takes_several_passes_where_its_tokens_are_many() -> None:
    found, most = describe_fit([SizedJob((60, 60, 200), 3, 1)], 1, 100)
    assert (found["passes"], most.tokens) == (3, 200)


def test_a_job_without_rows_takes_no_step() -> None:
    assert describe_fit([SizedJob((), 1, 3)], 1, 100)[0]["steps"] == 0
