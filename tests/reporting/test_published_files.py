"""Which published numbers the paper's own result files give again. SEAL_OFFICIAL names a checkout of its code."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import report, tasks
from stages.reporting.published import PUBLISHED, QuestionCounts, compare_rows
from stages.reporting.rows import add_baseline
from tests.conftest import ROOT

OFFICIAL = Path(os.environ.get("SEAL_OFFICIAL", ROOT.parent / "SEAL")) / "knowledge-incorporation"
PASSAGES = "data/synthetic_data/eval/base_val.json"
SINGLE = {"passage": "naive", "self": "base", "gpt-4.1": "gpt4_1", "round-1": "iter1", "round-2": "iter2"}
POOLED = {"passage": "naive", "self": "base", "gpt-4.1": "gpt4_1", "round-2": "iter2"}
PROMPTS = {
    "implications-long": "long",
    "implications-very-long": "very-long",
    "rewrite": "rewrite",
    "self-qa": "self-qa",
}
FILES = {  # by table and row; `none` is what the file of `self` says of the model before
    **{("table-2", row): f"query_server/eval/{name}.json" for row, name in SINGLE.items() if row != "round-1"},
    **{("rounds", row): f"query_server/eval/{SINGLE[row]}.json" for row in ("self", "round-1", "round-2")},
    **{
        ("prompts", f"{template}-{number}"): f"query_server/alternate_prompts/eval/{round_}_prompt-{name}.json"
        for template, name in PROMPTS.items()
        for number, round_ in enumerate(("base", "iter1", "iter2"))
    },
    **{("cpt-lora", row): f"cpt/cpt_{name}.json" for row, name in POOLED.items()},
}
DIFFERENT = {("rounds", "round-1"): 42.7, ("cpt-lora", "none"): 32.5}  # docs/paper.md says why


def derive(table: str) -> Iterator[tuple[str, float, float]]:
    """Each row of a table: its name, the published number, and the one that its file gives, in per cent."""
    for row, name in ((row, name) for (found, row), name in FILES.items() if found == table):
        passages = OFFICIAL / PASSAGES if name.startswith("cpt/") else None
        counts = QuestionCounts(table)
        named = [(row, tasks.run(str(OFFICIAL / "results" / name), passages=passages))]
        files = add_baseline("none", named) if row == "self" and table != "rounds" else named
        rows = report.run((label, counts.watch(label, lines)) for label, lines in files)
        for each in compare_rows(table, rows, counts):
            if each.ours is not None and each.published is not None:
                yield each.row, 100 * each.published, 100 * each.ours


@pytest.mark.paper_data
@pytest.mark.parametrize("table", sorted({table for table, _ in FILES}))
def test_the_official_files_give_the_published_numbers_again(table: str) -> None:
    if not OFFICIAL.is_dir():
        pytest.skip("no checkout of the paper's code: SEAL_OFFICIAL names none")
    found = list(derive(table))
    assert len(found) == sum(each == table for each, _ in FILES) + (table in ("table-2", "cpt-lora"))
    for row, published, ours in found:
        assert round(ours, 1) == DIFFERENT.get((table, row), round(published, 1)), row


def test_every_row_with_a_file_is_published() -> None:
    assert all(row in {each.name for each in PUBLISHED[table]} for table, row in (*FILES, *DIFFERENT))
