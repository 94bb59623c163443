"""What the rows of a run took, and what they gained: `python -m examples.gemma.costs RUN NAME=RUN/rows/NAME.jsonl …`.

A table in Markdown on stdout: accuracy, adapters, how many of them failed, tokens that each was trained on, seconds of
each stage (of the files' manifests, on the wall), and the points that a row gains on the row none, for 1,000 tokens of
an adapter and for a minute of its row's stages. A stage that went on behind an earlier try has no seconds: its manifest
knows those of the last one alone. What it took to train a model before its rows could be made is a line of its own.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.records.jsonl import read_bounded_lines
from stages.records.parser import read_records
from stages.records.record import Record
from stages.reporting.cards.cost import FileCost, list_costs
from stages.reporting.page_lines import RowCost
from stages.reporting.rows import make_row, read_scores

STAGES = ("generate", "adapt", "eval")
COLUMNS = ("row", "accuracy %", "adapters", "failed %", "tokens each", *(f"{stage} s" for stage in STAGES))
MODELS = ("round-1", "taught", "taught-again")  # folders of a run whose files made a model
GAINS = ("gain a 1,000 tokens", "gain a minute")


@dataclass(frozen=True)
class RowTotals:
    """A row of the table; accuracy 0..1, `trained` in tokens of an adapter, seconds by stage."""

    name: str
    accuracy: float | None
    adapters: int
    failed: float  # share of the lines
    trained: float
    seconds: Mapping[str, float]
    continued: frozenset[str] = frozenset()  # stages whose seconds nobody knows

    def list_cells(self, plain: float | None) -> list[str]:
        """The cells of the table; `plain`: the accuracy of the row none, None where there is no such row."""
        gain = None if plain is None or self.accuracy is None else 100 * (self.accuracy - plain)
        minutes = 0.0 if self.continued else sum(self.seconds.values()) / 60
        cells = [self.name, "" if self.accuracy is None else f"{100 * self.accuracy:.1f}"]
        cells += [str(self.adapters), f"{100 * self.failed:.0f}", f"{self.trained:.0f}"] if self.adapters else [""] * 3
        cells += [f"{self.seconds[stage]:.0f}" if stage in self.seconds else "" for stage in STAGES]
        is_gained = gain is not None and self.name != "none"
        return [
            *cells,
            f"{gain / self.trained * 1000:+.2f}" if is_gained and gain is not None and self.trained else "",
            f"{gain / minutes:+.2f}" if is_gained and gain is not None and minutes else "",
        ]


def total_row(name: str, lines: Sequence[Record], files: Iterable[FileCost]) -> RowTotals:
    """Add up the lines of a row, and the seconds of the files that it is made of."""
    cost, seconds, continued = RowCost(), dict[str, float](), set[str]()
    for line in lines:
        cost.add(line)
    for file in files:
        seconds[file.stage] = seconds.get(file.stage, 0.0) + (file.seconds or 0.0)
        continued |= {file.stage} if file.continued else set()
    scores = read_scores(name, lines)
    accuracy = make_row(name, [scores], {}, 0).mean if scores else None
    adapters = len(cost.adapters)
    failed, trained = cost.failed / max(cost.lines, 1), cost.trained / max(adapters, 1)
    known = {stage: each for stage, each in seconds.items() if stage not in continued}
    return RowTotals(name, accuracy, adapters, failed, trained, known, frozenset(continued))


def list_files_of(files: Iterable[FileCost], row: str) -> list[FileCost]:
    """The files that a row is made of, by where they lie in the run: rows/ROW.jsonl, and what is in rows/ROW."""
    return [each for each in files if each.file == f"rows/{row}.jsonl" or each.file.startswith(f"rows/{row}/")]


def main() -> None:
    parser = argparse.ArgumentParser(description="Say what the rows of a run took, and what they gained by it.")
    parser.add_argument("run", type=Path)
    parser.add_argument("rows", nargs="+", metavar="NAME=FILE")
    given = parser.parse_args()
    files, rows = list_costs(given.run), []
    for name, _, text in (row.partition("=") for row in given.rows):
        path = Path(text)
        with path.open("rb") as file:
            lines = list(read_records(read_bounded_lines(file), text))
        rows.append(total_row(name, lines, list_files_of(files, path.stem)))
    plain = next((row.accuracy for row in rows if row.name == "none"), None)
    print(f"| {' | '.join((*COLUMNS, *GAINS))} |\n|{'---|' * len((*COLUMNS, *GAINS))}")
    for row in rows:
        print(f"| {' | '.join(row.list_cells(plain))} |")
    if any(row.continued for row in rows):
        print("\nSeconds are left empty where a run went on: only those of its last try are known.")
    for model in MODELS:
        if made := [each for each in files if each.file.startswith(f"{model}/")]:
            told = ", ".join(f"{each.stage} {each.seconds or 0:.0f}" for each in made)
            least = "more than " if any(each.continued for each in made) else ""
            print(f"\nThe model {model} itself took {least}{sum(each.seconds or 0 for each in made):.0f} s: {told}.")


if __name__ == "__main__":
    main()
