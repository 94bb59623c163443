"""The training set as a whole: seeds, the cut to 250 rows, long rows, counts."""

import json
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.domains.arc import training_set as arc_training
from stages.domains.arc.training_set import (
    MAX_ROWS,
    Pair,
    Puzzle,
    get_row_identity,
    make_leave_out_rows,
    make_training_tasks,
)
from stages.domains.arc.transforms import GROUPS
from stages.errors import BadConfig
from tests.bench import arc_counts
from tests.bench.arc_counts import counts
from tests.domains.test_arc_training import ALL, SETTINGS, demonstrations, puzzles, rows_of, some_pairs
from tests.domains.test_arc_transforms import arc_tasks


def every(puzzle: Puzzle) -> bool:
    """None is too long."""
    return True


@given(demonstrations(), st.permutations(ALL), st.integers(0, 5))
@settings(deadline=None, max_examples=20)
def test_the_same_seed_gives_the_same_set_in_any_order_of_groups(
    pairs: tuple[Pair, ...], groups: list[str], seed: int
) -> None:
    one, other = (make_training_tasks(pairs, names, seed=seed, is_short=every) for names in (ALL, groups))
    assert one == other


def test_the_same_seed_gives_the_same_set_in_any_order_of_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = some_pairs(3, height=2, width=2, palette=2)
    before = puzzles(rows_of(pairs))
    chosen = make_training_tasks(pairs, ALL, seed=0, is_short=every)
    backwards = {group: dict([*GROUPS[group].items()][::-1]) for group in [*GROUPS][::-1]}
    monkeypatch.setattr(arc_training, "GROUPS", backwards)
    assert puzzles(rows_of(pairs)) == before
    again = make_training_tasks(pairs, ALL, seed=0, is_short=every)
    assert [row.puzzle for row in again] == [row.puzzle for row in chosen]


def test_another_seed_gives_another_set() -> None:
    one, other = (set(rows_of(some_pairs(3), ["size"], seed)) for seed in (0, 1))
    assert {row for row in one ^ other if not row.permuted} == set()
    assert len({row for row in one - other if row.permuted}) > 30


def test_at_most_250_rows_are_kept_and_another_seed_keeps_others() -> None:
    pairs = some_pairs(4)
    assert len(rows_of(pairs)) > 2 * MAX_ROWS
    one, other = (make_training_tasks(pairs, ALL, seed=seed, is_short=every) for seed in (0, 1))
    assert len(one) == len(other) == MAX_ROWS
    first, second = ({row for row in rows if not row.permuted and row.tool != "translate"} for rows in (one, other))
    assert len(first - second) > 20
    assert set(one) <= set(rows_of(pairs))
    assert {len(row.puzzle.shown) for row in one} == {2, 3}


def test_long_rows_are_left_out_before_the_cut() -> None:
    pairs = some_pairs(4)

    def is_short(puzzle: Puzzle) -> bool:
        return int(get_row_identity(puzzle), 16) % 2 == 0

    rows = make_training_tasks(pairs, ALL, seed=0, is_short=is_short)
    assert len(rows) == MAX_ROWS
    assert all(is_short(row.puzzle) for row in rows)
    assert make_training_tasks(pairs, ALL, seed=0, is_short=lambda puzzle: False) == ()


def test_few_rows_are_all_kept() -> None:
    rows = make_training_tasks(some_pairs(3), (), seed=0, is_short=every)
    assert set(rows) == set(rows_of(some_pairs(3), ()))


def test_an_unknown_group_is_answered_with_the_known_ones() -> None:
    with pytest.raises(BadConfig) as caught:
        make_leave_out_rows(some_pairs(2), 1, ["basic", "colour"], seed=0)
    assert str(caught.value) == "no group of tools is called colour; take some of basic, size, chain, repeat"


def test_the_counts_are_those_of_the_rows() -> None:
    pairs = some_pairs(3)
    found = counts(pairs, seed=2)
    assert list(found) == ["".join(setting) for setting in product("01", repeat=4)]
    for setting, groups in zip(found, SETTINGS, strict=True):
        assert found[setting] == tuple(len(make_leave_out_rows(pairs, n, groups, seed=2)) for n in (1, 2))
    assert found["1111"] == (3 * 24 * 2, 6 * 24 * 2)


@pytest.mark.paper_data
def test_the_counts_of_a_task_of_the_paper_do_not_depend_on_the_seed_where_its_grids_are_all_different() -> None:
    pairs = dict(arc_tasks())["5614dbcf"]  # two demonstrations: 9 x 9 to 3 x 3
    for seed in range(3):
        found = counts(pairs, seed=seed)
        assert found["0100"] == (16, 16)  # 2 tasks x (1 + 3 tools) x 2
        assert found["0010"] == (28, 28)
        assert found["0111"] == (52, 52)


@pytest.mark.paper_data
def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name, pairs = arc_tasks()[2]
    monkeypatch.setattr(arc_counts, "tasks", lambda: [(name, pairs)])
    monkeypatch.setattr("sys.argv", ["arc_counts", "--seed", "3"])
    arc_counts.main()
    found = json.loads(capsys.readouterr().out)
    assert found == {name: {setting: list(pair) for setting, pair in counts(pairs, seed=3).items()}}
