"""Names to classes."""

import pytest

from stages.errors import BadConfig
from stages.judges.base import JUDGES
from stages.judges.exact import ExactJudge
from stages.plugins import load_class

CHOICES = "take one of exact, lexical, or package.module:Class"


def test_a_name_of_the_table_gives_its_class() -> None:
    assert load_class("--judge", "exact", JUDGES) is ExactJudge


def test_a_class_of_another_package_is_named_by_its_path() -> None:
    assert load_class("--judge", "stages.judges.exact:ExactJudge", {}) is ExactJudge


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "exacct",
            f"--judge exacct: unknown (did you mean exact?); {CHOICES}",
        ),
        ("no.such:Judge", "--judge no.such:Judge: No module named 'no'"),
        (
            "stages.judges.exact:Exakt",
            "--judge stages.judges.exact:Exakt: stages.judges.exact has no Exakt; it has ExactJudge",
        ),
        (
            "exact:",
            f"--judge exact:: unknown (did you mean exact?); {CHOICES}",
        ),
        ("stages.judges.base:JUDGES", "--judge stages.judges.base:JUDGES: is a dict, not a class"),
        (
            ":Exact",
            f"--judge :Exact: unknown (did you mean exact?); {CHOICES}",
        ),
        (".judges:Exact", "--judge .judges:Exact: unknown; take one of exact, lexical, or package.module:Class"),
    ],
)
def test_an_unknown_name_is_answered_with_what_exists(name: str, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        load_class("--judge", name, JUDGES)
    assert str(caught.value) == words
