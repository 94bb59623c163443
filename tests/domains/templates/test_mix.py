"""A mix's file, and which template a sample takes."""

from collections import Counter
from pathlib import Path

import pytest

from stages.domains.arc.domain import Arc
from stages.domains.qa import QA, TEMPLATES
from stages.domains.templates.mix import read_mix
from stages.errors import BadConfig, BadInput, MissingInput
from tests.conftest import ROOT


def mix_of(tmp_path: Path, text: str) -> str:
    (tmp_path / "own.txt").write_text("Of {title}: {context}")
    (tmp_path / "mix").write_text(text)
    return f"mix:{tmp_path / 'mix'}"


def test_templates_are_taken_in_the_shares_of_their_weights(tmp_path: Path) -> None:
    mix = read_mix(mix_of(tmp_path, "# ways\n2 rewrite\n\nimplications\r\n own.txt \n"), QA())
    assert dict(mix.texts) == {
        "rewrite": TEMPLATES["rewrite"],
        "implications": TEMPLATES["implications"],
        "own.txt": "Of {title}: {context}",
    }
    names = [mix.pick(0, "task", sample).name for sample in range(40)]
    assert Counter(names) == {"rewrite": 20, "implications": 10, "own.txt": 10}
    assert all(Counter(names[n : n + 4])["rewrite"] == 2 for n in range(0, 40, 4))
    assert len({tuple(names[n : n + 4]) for n in range(0, 40, 4)}) > 1  # each turn has an order of its own
    assert names == [mix.pick(0, "task", sample).name for sample in range(40)]
    others = ([mix.pick(seed, task, sample).name for sample in range(40)] for seed, task in ((1, "task"), (0, "other")))
    assert all(names != other for other in others)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rewrite\npoem", ":2: --template poem: unknown; take one of implications"),
        ("0 rewrite", ":1: the weight 0; they are whole, from 1"),
        ("999 rewrite\n2 self-qa", ":2: the weight 2; they are whole, from 1, and 1000 in all at most"),
        ("1.5 rewrite", ":1: the weight 1.5; they are whole"),
        ("entigraph", ":1: entigraph is not a single prompt"),
        ("2 mix:other", ":1: mix:other is not a single prompt"),
        ("none", ":1: none asks no model"),
        ("# only words", "no template in it; a line of it names one: 2 rewrite"),
    ],
)
def test_what_cannot_be_mixed_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(BadConfig) as error:
        read_mix(mix_of(tmp_path, text), QA())
    assert words in str(error.value)


def test_a_named_template_is_that_whatever_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "rewrite").write_text("Of {title}: {context}")
    assert read_mix(mix_of(tmp_path, "rewrite\nown.txt"), QA()).parts[0].text == TEMPLATES["rewrite"]


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=f"--template mix:{tmp_path}/folder: a folder, not a file; a line of it names"):
        read_mix(f"mix:{tmp_path}/folder", QA())
    with pytest.raises(MissingInput, match="--template mix:nowhere: no such file"):
        read_mix("mix:nowhere", QA())
    with pytest.raises(MissingInput, match=r":1: --template lost.txt: no such file"):
        read_mix(mix_of(tmp_path, "lost.txt"), QA())


def test_grids_are_asked_about_in_a_mix_too(tmp_path: Path) -> None:
    assert read_mix(mix_of(tmp_path, "tools"), Arc()).pick(0, "task", 3).name == "tools"
    with pytest.raises(BadConfig, match="oracle is not a single prompt"):
        read_mix(mix_of(tmp_path, "oracle"), Arc())


def test_the_mix_that_comes_with_seal_has_seven_ways() -> None:
    mix = read_mix(f"mix:{ROOT / 'examples/templates/mix.txt'}", QA())
    assert len({part.text for part in mix.parts}) == len(mix.parts) == 7
    alone = {"focal.txt", "facts-by-example.txt", "qa-by-example.txt"}
    assert {part.name for part in mix.parts} | alone | {"mix.txt"} == {
        path.name for path in (ROOT / "examples/templates").iterdir()
    }
    for name in alone:
        QA().template_text(str(ROOT / "examples/templates" / name))
