"""What is seen of the work: true at any moment, whatever is told in which order, and also from another process."""

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seal_cli.terminal import progress
from seal_cli.terminal.progress import ProgressMeter, Sight, format_progress

TRACES = json.loads((Path(__file__).parent / "traces.json").read_text())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def tell(work: ProgressMeter, name: str, *values: Any) -> None:
    """One event of a trace: names are only counted, and lines come several at once."""
    if name in ("begin_work", "end_work"):
        getattr(work, name)(map(str, range(values[0])))
    elif name == "step":
        for _ in range(values[0]):
            work.step()
    elif name == "expect":
        work.expect(values[0], values[1], steps=sum(values[2:]))
    else:
        getattr(work, name)(*values)


# ---- always

COUNTS = st.integers(min_value=0, max_value=300)
EVENTS = st.one_of(
    st.tuples(st.sampled_from(("begin_work", "end_work", "add_trained", "step")), COUNTS),
    st.tuples(st.just("add_written"), COUNTS, COUNTS),
    st.tuples(st.just("expect"), COUNTS, st.sampled_from(("tokens", "requests"))),
    st.tuples(st.just("set_phase"), st.sampled_from(("loading", "judging", "writing"))),
    st.tuples(st.just("prepare")),
    st.tuples(st.just("begin"), st.one_of(st.none(), COUNTS)),
)
PAUSES = st.one_of(st.just(0.0), st.floats(min_value=0, max_value=1e-3), st.floats(min_value=0, max_value=1e5))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(PAUSES, EVENTS, PAUSES), max_size=40))
def test_whatever_is_told_nothing_that_is_seen_is_negative_undefined_or_beyond_its_total(story: list[Any]) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "time", clock)
        work, before = ProgressMeter("adapt"), (0, 0)
        for wait, event, later in story:
            clock.now += wait
            tell(work, *event)
            sight = work.look(clock.now + later)
            check(sight, format_progress("adapt", sight, clock.now + later - 1000.0))
            if event[0] not in ("begin", "set_phase", "prepare", "expect"):
                again = sight.phase == "training" and before[1] > sight.tokens  # it had not begun
                assert sight.lines >= before[0]
                assert sight.tokens >= before[1] or again
            before = sight.lines, sight.tokens


def check(sight: Sight, line: str) -> None:
    assert sight.left_s is None or (math.isfinite(sight.left_s) and sight.left_s >= 0)
    assert sight.total is None or 0 <= sight.lines <= sight.total
    assert sight.expected is None or 0 <= sight.tokens <= sight.expected
    assert sight.per_second is None or 0 < sight.per_second < math.inf
    assert not re.search(r"-\d|nan|inf|, 0 s left|None", line), line


def test_what_was_done_before_a_worker_died_counts_for_nothing(clock: Clock) -> None:
    """Neither its lines nor its tokens: the next worker has its own total, its own time and no guess to begin with."""
    work = ProgressMeter("adapt")
    work.begin(150)
    work.prepare()
    work.expect(100_000)
    clock.now += 50
    work.add_trained(90_000)
    for _ in range(100):
        work.step()
    clock.now += 1  # it dies, and another begins
    work.begin(50)
    work.set_phase("loading")
    assert format_progress("adapt", work.look(clock.now), 51) == "seal adapt: loading, 0/50, 51 s"
    clock.now += 9
    work.prepare()
    work.expect(30_000)
    clock.now += 0.01
    work.add_trained(10)
    assert (
        format_progress("adapt", work.look(clock.now), 60)
        == "seal adapt: training, 0/50, 10/30,000 tokens, 60 s, 30 s left"
    )
    clock.now += 9.99
    work.add_trained(9_990)
    assert work.look(clock.now).per_second == pytest.approx(1000)
    assert work.look(clock.now).left_s == pytest.approx(20, rel=0.01)


def test_work_of_unknown_lines_is_judged_by_the_tokens_that_it_expects(clock: Clock) -> None:
    work = ProgressMeter("generate")
    work.begin(None)
    work.set_phase("loading")
    work.prepare()
    work.expect(800)
    for _ in range(4):
        clock.now += 1
        work.add_trained(50)
        work.step()
    seen = format_progress("generate", work.look(clock.now), 4)
    assert seen == "seal generate: writing self-edits, 4 lines, 200/800 tokens, 50 tokens/s, 4 s, 12 s left"


def test_an_engine_that_says_nothing_is_judged_by_its_lines(clock: Clock) -> None:
    work = ProgressMeter("generate")
    work.begin(100)
    work.prepare()
    work.expect(100, "requests")
    for _ in range(25):
        clock.now += 2
        work.step()
    sight = work.look(clock.now)
    assert (sight.phase, sight.lines) == ("writing self-edits", 25)
    assert sight.left_s == pytest.approx(150, rel=0.2)


def test_a_phase_that_nobody_can_foresee_has_no_time_left(clock: Clock) -> None:
    work = ProgressMeter("eval")
    for phase in ("planning", "loading", "preparing"):
        work.set_phase(phase)
        clock.now += 100
        assert work.look(clock.now).left_s is None


def test_another_process_sees_it() -> None:
    work = ProgressMeter("adapt")
    child = os.fork()
    if child == 0:
        work.begin(5)
        work.set_phase("training")
        work.step()
        os._exit(0)
    os.waitpid(child, 0)
    sight = work.look(1e9)
    assert (sight.phase, sight.lines, sight.total) == ("training", 1, 5)


# ---- runs as they were: what was told when, by the tiny model and by a server that takes its time


def estimates(clock: Clock, events: list[Any]) -> Iterator[tuple[float, float, Sight]]:
    """(time since the work began, time to its end, what is seen) at a hundred moments of the work."""
    work = ProgressMeter(events[0][2])
    begun = next(at for at, name, *_ in events if name in ("begin_work", "add_trained", "advance"))
    end = events[-1][0]
    moments = [begun + (end - begun) * step / 100 for step in range(1, 100)]
    for at, name, *values in events[1:]:
        while moments and moments[0] < at:
            clock.now = 1000.0 + moments.pop(0)
            since = clock.now - 1000.0
            yield since - begun, end - since, work.look(clock.now)
        clock.now = 1000.0 + at
        if name != "end":
            tell(work, name, *values)


@pytest.mark.parametrize("name", [name for name in TRACES if name != "generate_one_batch"])
def test_after_a_fifth_of_the_work_the_time_left_is_within_a_factor_of_two(clock: Clock, name: str) -> None:
    """Or within a tenth of the whole: of the last seconds, or the last batch, nobody asks for half or double."""
    wrong, unknown = [], []
    for since, left, sight in estimates(clock, TRACES[name]):
        whole = since + left
        if since < 0.2 * whole:
            continue
        if sight.left_s is None:
            unknown.append(left)
        elif not (left / 2 <= sight.left_s <= 2 * left or abs(sight.left_s - left) <= 0.1 * whole):
            wrong.append((round(since, 2), round(left, 2), round(sight.left_s, 2)))
    assert wrong == []
    assert len(unknown) <= 3  # once all is done that can be foreseen


def test_of_a_single_batch_no_time_is_guessed_but_its_completions_are_counted(clock: Clock) -> None:
    """Sixty self-edits at once: the longest decides."""
    seen = [sight for _, _, sight in estimates(clock, TRACES["generate_one_batch"])]
    assert {sight.left_s for sight in seen} == {None}
    ended = [sight.ended for sight in seen if not sight.lines]
    assert ended == sorted(ended)
    assert ended[-1] == 60
    assert len({*ended}) > 20
