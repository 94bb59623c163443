"""edit → score by a program: real ones, that behave and misbehave."""

import json
import sys
from pathlib import Path

import pytest

from stages import rate
from stages.errors import BadConfig, Unavailable
from stages.rate import RateByProgram
from stages.records.record import Record
from stages.records.score import Rating
from stages.work import Work
from tests.cli.conftest import jsonl, seal
from tests.invented import an_edit
from tests.invented_grids import an_arc_task
from tests.judges.programs import SAY
from tests.stages.test_rate import ADA, edits

START = "import sys, json\nedits = map(json.loads, sys.stdin)\n"


def rated_by(code: str, lines: list[Record], folder: Path) -> list[Rating]:
    (folder / "rate.py").write_text(START + SAY + code)
    stage = RateByProgram(f"{sys.executable} {folder / 'rate.py'}")
    work = stage.prepare(lines)
    assert isinstance(work, Work)
    made = {rate.make_key(line): line for line in work.open([]).make(list(work.plan.wanted))}
    scores = [score for line in lines if (score := made[rate.make_key(line)].score)]
    assert all(score.judge == f"program:{stage.command}" and score.kind == "rating" for score in scores)
    return [score.rating for score in scores if score.rating]


def test_a_program_sees_passage_and_self_edit_without_thoughts_and_its_values_are_taken(tmp_path: Path) -> None:
    code = (
        "for e in edits:\n    ok = sorted(e) == ['completion', 'context', 'id', 'title'] and e['title'] == 'Ada'\n"
        "    say(id=e['id'], value=len(e['completion']) / 10 if ok else None, reason=e['context'])\n"
    )
    lines = edits("<think>Hm.</think>alpha", "12345678")
    found = rated_by(code, lines, tmp_path)
    assert [(each.value, each.points, each.error) for each in found] == [(0.5, 0.5, None), (0.8, 0.8, None)]
    assert found[0].text == ADA.text


def test_what_a_program_leaves_open_or_says_wrongly_is_unscored(tmp_path: Path) -> None:
    code = (
        "given = [None, 2, True, 'high', 1]\n"
        "for e in edits:\n    say(id=e['id'], value=given[int(e['completion'])], reason='too short')\n"
    )
    found = rated_by(code, edits(*"01234"), tmp_path)
    assert [each.value for each in found] == [None, None, None, None, 1.0]
    assert found[0].error == "too short"
    assert [str(each.error) for each in found[1:4]] == [
        f"unparsable: value is '{said}', not 0 to 1 or null" for said in ("2", "True", "high")
    ]


def test_a_program_is_not_asked_about_what_says_nothing(tmp_path: Path) -> None:
    found = rated_by("for e in edits:\n    say(id=e['id'], value=1)\n", edits(" ", "A line."), tmp_path)
    assert [(each.value, each.error) for each in found] == [(0.0, "it says nothing"), (1.0, None)]


def test_a_program_that_ends_too_soon_or_rates_what_it_was_not_given_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(
        Unavailable, match=r"--program .* ended with code 3 before it had rated all self-edits; the same"
    ):
        rated_by("say(id=next(edits)['id'], value=1)\nsys.exit(3)\n", edits("a", "b"), tmp_path)
    with pytest.raises(BadConfig, match=r'gave a rating for the id "7", which no self-edit has'):
        rated_by("for e in edits:\n    say(id='7', value=1)\n", edits("a"), tmp_path)
    with pytest.raises(BadConfig, match=r'which is no \{"id", "value"\}'):
        rated_by("for e in edits:\n    say(value=1)\n", edits("a"), tmp_path)
    with pytest.raises(BadConfig, match=r"--program ./nowhere: no program ./nowhere that can be run"):
        RateByProgram("./nowhere").prepare(edits("x"))
    arc = [Record(task=an_arc_task(), edit=an_edit(ADA))]
    with pytest.raises(BadConfig, match="are choices, no texts; a program has nothing to rate"):
        RateByProgram(sys.executable).prepare(arc)


def test_the_command_goes_on_where_the_program_ended_and_its_lines_go_to_the_filter(tmp_path: Path) -> None:
    (tmp_path / "edits.jsonl").write_text(jsonl(edits("a", "bb", "ccc")))
    code = "for e in edits:\n    say(id=e['id'], value=len(e['completion']) / 10)\n"
    (tmp_path / "rate.py").write_text(
        f"{START}{SAY}if True:\n    e = next(edits)\n    say(id=e['id'], value=0)\n    exit(3)\n"
    )
    way = ("rate", "edits.jsonl", "--program", f"{sys.executable} rate.py", "-o", "rated.jsonl")
    first = seal(*way, cwd=tmp_path)
    assert (first.code, "before it had rated all self-edits" in first.err) == (69, True), first.err
    (tmp_path / "rate.py").write_text(START + SAY + code)
    again = seal(*way, cwd=tmp_path)
    assert again.code == 0, again.err
    values = [json.loads(line)["score"]["value"] for line in (tmp_path / "rated.jsonl").read_text().splitlines()]
    assert values in ([0, 0.2, 0.3], [0.1, 0.2, 0.3])
    (kept,) = seal("filter", "rated.jsonl", cwd=tmp_path).lines
    assert (kept["completion"], kept["value"]) == ("ccc", 0.3)


@pytest.mark.parametrize(
    "flags",
    [
        ("--engine", "openai"),
        ("--model", "m"),
        ("--rubric", "r.txt"),
        ("--highest", 10),
        ("--device", "cpu"),
        ("--chat",),
        ("--concurrency", 2),
        ("--emit-batch", "calls.jsonl"),
        ("--from-batch", "calls.jsonl"),
        ("--max-tokens", 8),
    ],
)
def test_a_flag_of_models_beside_a_program_is_refused(flags: tuple[object, ...], tmp_path: Path) -> None:
    (tmp_path / "edits.jsonl").write_text(jsonl(edits("a")))
    done = seal("rate", "edits.jsonl", "--program", "cat", *flags, cwd=tmp_path)
    assert done.code == 78, done.err
    assert f"{flags[0]}" in done.err
    assert "a program rates (--program), and no model is asked" in done.err
