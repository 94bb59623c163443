"""Texts of elsewhere in every training set, in their share, and drawn the same whatever stands beside a line."""

from pathlib import Path

import pytest

from stages.adapt import Adapt
from stages.domains.arc.domain import Arc
from stages.domains.base import Domain
from stages.domains.pools import PoolPlanner
from stages.domains.qa import QA
from stages.domains.training.replay import add_replay, describe_replay
from stages.errors import BadConfig, BadInput, MissingInput
from stages.records.record import Record
from stages.records.schema import TrainingData
from stages.settings import Pooling
from stages.work import Facts, Listing, WholeSource
from tests.cli.conftest import jsonl
from tests.invented import a_task, an_edit, plan_lines
from tests.stages.test_adapt import Pretender, adapted

NAMES = ("Ada", "Bo", "Cy", "Di", "Ed", "Flo")
LINES = [
    Record(task=a_task(name), edit=an_edit(a_task(name), completion="\n".join(f"{name} did {n}." for n in range(5))))
    for name in NAMES
]


def shown(*replay: str, lines: list[Record] = LINES, seed: int = 0) -> dict[str, tuple[str, ...]]:
    """The training sequences of each line's task, by its title."""
    work = Adapt(show_data=True, replay=replay, seed=seed).prepare(lines)
    assert isinstance(work, Listing)
    names = {line.task.id: line.task.name for line in lines}
    return {names[each.task_id]: each.sequences for each in work.lines if isinstance(each, TrainingData)}


OWN = shown()


def test_other_tasks_of_the_run_have_their_share_before_the_lines_own_sequences() -> None:
    for name, texts in shown("self:0.25").items():
        assert texts[-6:] == OWN[name]  # the passage stays the last one
        assert len(texts) == 8
        assert all(f"{name} " not in text for text in texts[:-6])


def test_a_share_that_is_no_whole_number_holds_on_average() -> None:
    counts = [len(texts) - 6 for seed in range(40) for texts in shown("self:0.1", seed=seed).values()]
    assert set(counts) == {0, 1}
    assert sum(counts) / len(counts) == pytest.approx(6 * 0.1 / 0.9, abs=0.08)


def test_what_is_drawn_depends_on_the_seed_and_the_texts_and_not_on_the_order_of_lines() -> None:
    assert shown("self:0.5") == shown("self:0.5", lines=LINES[::-1])
    assert shown("self:0.5") != shown("self:0.5", seed=1)
    assert [len(set(texts)) for texts in shown("self:0.5").values()] == [12] * 6


def test_a_file_has_lines_of_any_stage_before_or_texts(tmp_path: Path) -> None:
    tasks, edits, text = tmp_path / "tasks.jsonl", tmp_path / "edits.jsonl", tmp_path / "known.txt"
    tasks.write_text(jsonl([Record(task=line.task) for line in LINES]))
    edits.write_text(jsonl(LINES))
    text.write_text("What is known.\nIn two lines.\n\n\nAnd more.\n")
    ada = LINES[:1]
    assert set(shown(f"{tasks}:0.4", lines=ada)["Ada"][:-6]) < {OWN[name][-1] for name in NAMES[1:]}
    assert set(shown(f"{edits}:0.9", lines=ada)["Ada"][:-6]) == {text for name in NAMES[1:] for text in OWN[name]}
    assert set(shown(f"{text}:0.25", lines=ada)["Ada"][:-6]) == {"What is known.\nIn two lines.", "And more."}
    both = shown(f"{text}:0.2", f"{tasks}:0.2", lines=ada)["Ada"]
    assert len(both) == 10


def test_an_adapter_says_how_much_was_replayed_and_is_another() -> None:
    domain = replaying("self:0.25")
    (with_it, *_), (without, *_) = (
        sorted(adapted(LINES, Pretender(), domain=each, out=Path("a")), key=lambda line: line.task.name)
        for each in (domain, QA())
    )
    assert with_it.adapter and without.adapter
    assert (with_it.adapter.fit["replayed"], "replayed" in without.adapter.fit) == (2, False)
    assert with_it.adapter.id != without.adapter.id and with_it.adapter.seed == without.adapter.seed
    assert describe_replay(domain) == []


def replaying(*flags: str, lines: list[Record] = LINES) -> Domain:
    return add_replay(QA(), flags, lines, 0, len(lines))


def test_the_settings_name_it_only_where_it_is_given_and_a_file_by_its_texts(tmp_path: Path) -> None:
    file = tmp_path / "known.txt"
    file.write_text("One.")
    assert "replay" not in replaying().training_settings
    assert replaying("self:0.5").training_settings["replay"] == {"self:0.5": ""}
    first = replaying(f"{file}:0.5").training_settings
    file.write_text("Another.")
    assert first != replaying(f"{file}:0.5").training_settings


def test_too_few_texts_are_all_taken_and_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("One.")
    domain = replaying(f"{tmp_path / 'known.txt'}:0.5")
    plan_lines(LINES, "student", domain=domain, out=Path("a"))
    assert describe_replay(domain) == [
        "note: --replay: 6 training sets have fewer texts than their share: there are no more"
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("self",), "--replay self: take FILE:SHARE or self:SHARE"),
        (("self:0",), "--replay self:0: take FILE:SHARE"),
        (("self:1/0",), "--replay self:1/0: take FILE:SHARE"),
        (("self:1",), "a share above 0 and below 1"),
        (("self:nan",), "a share above 0 and below 1"),
        (("self:0.5", "self:0.6"), "the shares leave nothing to the self-edits"),
        (("self:0.5", "self:0.5"), "the shares leave nothing"),
        (("self:0.2", "self:0.2"), "--replay self: twice; give one share for it"),
        (("self:0.2", "self:0.3"), "--replay self: twice"),
    ],
)
def test_shares_that_cannot_be_are_refused(flags: tuple[str, ...], words: str) -> None:
    with pytest.raises(BadConfig) as error:
        replaying(*flags)
    assert words in str(error.value)


def test_what_cannot_be_replayed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "bad.jsonl").write_text('{"v": 1, "task": 3}\n')
    with pytest.raises(BadInput, match=r"--replay .:0.2: a folder, not a file; give lines of `seal tasks`"):
        replaying(".:0.2")
    with pytest.raises(MissingInput, match=r"--replay nowhere.txt:0.2: no such file"):
        replaying("nowhere.txt:0.2")
    with pytest.raises(BadConfig, match="no text in it"):
        replaying(f"{tmp_path / 'empty.txt'}:0.2")
    with pytest.raises(BadInput, match=r"bad.jsonl:1"):
        replaying(f"{tmp_path / 'bad.jsonl'}:0.2")
    for name in "abc":
        (tmp_path / name).write_text("One.\n\nTwo.")
    with pytest.raises(BadConfig, match="the shares leave nothing to the self-edits"):
        replaying(*(f"{tmp_path / name}:{share}" for name, share in (("a", 0.7), ("b", 0.2), ("c", 0.1))))
    with pytest.raises(BadConfig, match="the lines are of one task"):
        replaying("self:0.2", lines=LINES[:1])
    with pytest.raises(BadConfig, match="arc self-edits are not texts"):
        add_replay(Arc(), ("self:0.2",), LINES, 0, len(LINES))
    with pytest.raises(BadConfig, match=r"--replay self:0.2: a pool is trained on all of its lines; give a file"):
        Adapt(show_data=True, replay=("self:0.2",), pooling=Pooling(pool=True)).prepare(LINES)
    with pytest.raises(BadConfig, match=r"--replay self:0.2: a step would learn passages of later steps; give a file"):
        Adapt(show_data=True, replay=("self:0.2",), sequential=True).prepare(LINES)


def test_a_pool_has_its_share_of_replayed_texts_before_its_own(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("\n\n".join(f"Known {n}." for n in range(20)))
    pooling, flag = Pooling(pool=True), f"{tmp_path / 'known.txt'}:0.25"

    def planned(*flags: str) -> PoolPlanner:
        domain = add_replay(QA(), flags, LINES, 0, len(LINES), pooled=True)
        planner = PoolPlanner("student", domain=domain, out=tmp_path, pooling=pooling)
        for line in LINES:
            planner.add(line)
        return planner

    (plain,), (mixed,) = (
        list({piece.job.id: piece.job for piece in planned(*flags).found.values() if piece.job}.values())
        for flags in ((), (flag,))
    )
    own = plain.lesson.examples
    count = round(len(own) / 3)
    assert mixed.lesson.replayed == count
    assert mixed.lesson.examples[count:] == own
    replayed = [example.completion for example in mixed.lesson.examples[:count]]
    assert len({text for text in replayed if text.startswith("Known ")}) == count
    assert mixed.id != plain.id
    told = f", on {len(own)} sequences of {len(LINES)} self-edits and {count} to replay in one pool"
    assert planned(flag).describe() == told
    shown = [text for each in planned(flag).show() for text in each.sequences]
    assert shown == replayed + [example.completion for example in own]


def test_a_pool_replays_no_passage_of_its_own_tasks_and_no_text_beyond_the_context(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(jsonl(LINES[:2]))
    domain = add_replay(QA(), (f"{tmp_path / 'own.jsonl'}:0.5",), LINES, 0, len(LINES), pooled=True)
    planner = PoolPlanner("student", domain=domain, out=tmp_path, pooling=Pooling(pool=True))
    for line in LINES:
        planner.add(line)
    assert {piece.job.lesson.replayed for piece in planner.found.values() if piece.job} == {0}
    assert "1 training sets have fewer texts than their share" in describe_replay(domain)[0]


def test_a_part_of_the_lines_cannot_replay_the_others() -> None:
    source = WholeSource(LINES[:3])
    source.facts = Facts(6, {"qa"}, {"editor"})
    with pytest.raises(BadConfig, match=r"of 6 lines only 3 are here \(--shard, --limit\)"):
        Adapt(show_data=True, replay=("self:0.2",)).prepare(LINES[:3], source)
