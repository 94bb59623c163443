"""The invented puzzles: pairs follow their rule, files are what the generator writes, held-out means unseen."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.tiny.arc.documents import COPIES, EVERYTHING, MOVED, Document, Library, stained, task_document
from examples.tiny.arc.tasks import PAIRS, PER_PAIR, challenges, main, make_tasks, pairs_of, solutions
from examples.tiny.arc.world import CHANGES, KEEP, MOVES, STAY, Rule, Task, make_palette, make_rule, make_task
from stages.domains.arc.grid_text import BadGrid, read_grid
from stages.domains.arc.training_set import Pair
from stages.records.jsonl import raise_on_reject
from stages.sources.arc import Solutions, read_challenges

ARC = Path(__file__).parents[2] / "examples" / "tiny" / "arc"
FILES = tuple(PER_PAIR)
seeds = st.integers(0, 2**32)
moves = st.sampled_from((STAY, *MOVES))
changes = st.sampled_from((KEEP, *CHANGES))


def task_of(seed: int, move: str, change: str) -> Task:
    rng = random.Random(seed)
    palette = make_palette(rng)
    return make_task(make_rule(move, change, palette, rng), palette, [(3, 3)] * 5, rng)


@given(seeds, moves, changes)
def test_every_pair_follows_the_rule_and_the_test_is_none_of_the_demonstrations(
    seed: int, move: str, change: str
) -> None:
    task = task_of(seed, move, change)
    assert all(task.rule(pair.input) == pair.output for pair in (*task.demonstrations, *task.tests))
    inputs = [pair.input for pair in (*task.demonstrations, *task.tests)]
    assert len(set(inputs)) == len(inputs) == 5


@given(seeds, moves, st.sampled_from(tuple(CHANGES)))
def test_what_the_rule_does_to_each_colour_of_the_test_is_shown(seed: int, move: str, change: str) -> None:
    """Also where one demonstration is left out."""
    task = task_of(seed, move, change)
    used = {colour for pair in task.tests for row in pair.input for colour in row}
    for left_out in task.demonstrations:
        others = [pair for pair in task.demonstrations if pair != left_out]
        assert used <= {colour for pair in others for row in pair.input for colour in row}


@given(seeds, st.sampled_from(tuple(MOVES)))
def test_a_move_changes_every_input_and_no_colour_count(seed: int, move: str) -> None:
    for pair in task_of(seed, move, KEEP).demonstrations:
        assert pair.output != pair.input
        assert sorted(sum(pair.output, ())) == sorted(sum(pair.input, ()))


@given(seeds, st.sampled_from(tuple(CHANGES)))
def test_no_two_colours_of_a_task_become_one(seed: int, change: str) -> None:
    rng = random.Random(seed)
    palette = make_palette(rng)
    rule = make_rule(STAY, change, palette, rng)
    assert len({rule.colours[colour] for colour in palette}) == len(palette)
    assert CHANGES[change] == sum(rule.colours[one] != one for one in palette)


def test_the_moves_are_all_different() -> None:
    grid = ((0, 1, 2), (3, 4, 5), (6, 7, 8))
    assert len({grid, *(move(grid) for move in MOVES.values())}) == len(MOVES) + 1


# ---- pretraining


def pairs_read(document: Document) -> list[Pair]:
    """The pairs of a puzzle's text."""
    text = "".join(part.text for part in document).replace("<|end|><|assistant|>", "")
    grids = []
    for piece in text.replace(" -> ", "#").split("#"):
        grid = read_grid(piece[piece.find("[[") :])
        grids += [] if isinstance(grid, BadGrid) else [grid]
    return [Pair(*both) for both in zip(grids[::2], grids[1::2], strict=True)]


@pytest.mark.parametrize("mix", [COPIES, MOVED, EVERYTHING])
def test_pretraining_never_changes_a_colour_by_a_rule(mix: object) -> None:
    """The answer of every puzzle has the colours of its input, each as often."""
    library = Library(random.Random(1), mix)  # type: ignore[arg-type]
    for _ in range(500):
        asked = pairs_read(library.puzzle())[-1]
        assert sorted(sum(asked.output, ())) == sorted(sum(asked.input, ()))


def test_the_rules_of_pretraining_are_none_of_the_files() -> None:
    library = Library(random.Random(2), EVERYTHING)
    assert {library.task().rule.change for _ in range(300)} == {KEEP}
    assert all(task.rule.change in CHANGES for name in FILES for task in make_tasks(name).values())


def test_a_puzzle_is_read_back_as_it_was_made() -> None:
    task = task_of(3, "flip0", KEEP)
    assert pairs_read(task_document(task, whole=False)) == [*task.demonstrations, *task.tests]


def test_stains_are_on_shown_outputs_only_and_carry_no_loss() -> None:
    task = task_of(4, "down", KEEP)
    dirty = stained(task, 1.0, random.Random(0))
    assert dirty.tests == task.tests
    assert [pair.input for pair in dirty.demonstrations] == [pair.input for pair in task.demonstrations]
    library = Library(random.Random(5), MOVED.__class__(stained=1.0))
    for _ in range(50):
        document = library.puzzle()
        assert [part.counted for part in document] == [False] * (len(document) - 1) + [True]


# ---- the files


@pytest.mark.parametrize("name", FILES)
def test_the_task_files_are_what_the_generator_writes(name: str) -> None:
    tasks = make_tasks(name)
    assert (ARC / f"{name}_challenges.json").read_text() == challenges(tasks)
    assert (ARC / f"{name}_solutions.json").read_text() == solutions(tasks)


def test_the_command_writes_the_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["tasks", "--out", str(tmp_path)])
    main()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}_{kind}.json" for name in FILES for kind in ("challenges", "solutions")
    }


def test_train_and_heldout_share_no_pair_of_move_and_change() -> None:
    train, heldout = map(pairs_of, FILES)
    assert not set(train) & set(heldout)
    assert set(train) | set(heldout) == set(PAIRS)
    for pairs in (train, heldout):
        assert {move for move, _ in pairs} == set(MOVES)
        assert {change for _, change in pairs} == set(CHANGES)


def test_ids_are_unique_and_name_the_rule() -> None:
    names = [name for file in FILES for name in make_tasks(file)]
    assert len(set(names)) == len(names)
    for file in FILES:
        for name, task in make_tasks(file).items():
            assert name.startswith(f"{task.rule.move}-{task.rule.change}-")


@pytest.mark.parametrize("name", FILES)
def test_the_product_reads_the_files(name: str) -> None:
    path = ARC / f"{name}_challenges.json"
    found = read_challenges(json.loads(path.read_text()), path, raise_on_reject, Solutions())
    records = {record.task.id: record.task for record in found}
    for task_id, task in make_tasks(name).items():
        read = records.pop(task_id)
        assert [Pair(pair.input, pair.output) for pair in read.train] == list(task.demonstrations)  # type: ignore[union-attr]
        assert [pair.output for pair in read.test] == [pair.output for pair in task.tests]  # type: ignore[union-attr]
    assert not records


def test_a_rule_moves_and_recolours() -> None:
    rule = Rule("flip0", "one", (0, 7, 2, 3, 4, 5, 6, 7, 8, 9))
    assert rule(((1, 2), (3, 3))) == ((3, 3), (7, 2))
