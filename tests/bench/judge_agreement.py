"""How often the offline judges agree with GPT-4.1, whose verdicts on real answers the paper's result files hold.

    OMP_NUM_THREADS=1 python -m tests.bench.judge_agreement            two tables: verdicts, and the self-edit picked
    OMP_NUM_THREADS=1 python -m tests.bench.judge_agreement --json     the same, one JSON object a line
    OMP_NUM_THREADS=1 python -m tests.bench.judge_agreement --fit      the lexical judge's coefficients, fitted afresh

The coefficients are fitted to the unique (question, gold, answer) triples of one half of the questions, and the
measures were chosen among many by cross-validation there; held-out is the other half. The halves go by the SHA-256 of
the question, so that all answers to it, and both files' copies, fall on one side. A passage has questions on both: the
rows `other passages` are of coefficients refitted to half of the passages, on the other half. `verdicts` counts every
verdict of a file, in which the unadapted model's answers stand up to 15 times each; `unique` each triple once.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

from stages.judges.base import Case, Judge, Verdict
from stages.judges.exact import ExactJudge, normalise
from stages.judges.lexical import LexicalJudge
from tests.bench.judge_fit import Graded, Row, fit, fit_rows, held_out, load, unique, weighed

PAPER = Path(__file__).parents[3] / "shared" / "data" / "seal_paper"
FILES = ("rank_iter0.json", "rank_iter0_prompt-self-qa.json")
TOKEN_RECALL = 0.75  # of .5, .75 and 1 the one that agrees best on all verdicts


class Containment:
    """Right if the normalised gold answer stands in the normalised answer."""

    name = "containment"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            gold, answer = normalise(case.gold), normalise(case.prediction)
            yield Verdict(bool(answer) and gold in answer)


class TokenRecall:
    """Right if 3/4 of the gold answer's words that the question does not contain stand in the answer, unstemmed."""

    name = "token recall"

    def grade(self, cases: Iterable[Case]) -> Iterator[Verdict]:
        for case in cases:
            gold, asked = normalise(case.gold).split(), set(normalise(case.question).split())
            telling = [word for word in gold if word not in asked] or gold
            found = set(normalise(case.prediction).split())
            yield Verdict(bool(telling) and sum(word in found for word in telling) >= TOKEN_RECALL * len(telling))


JUDGES: tuple[Judge, ...] = (ExactJudge(), Containment(), TokenRecall(), LexicalJudge())


def verdicts(judge: Judge, rows: Sequence[Graded]) -> list[bool]:
    return [_verdict(judge, row.case) for row in rows]


@cache
def _verdict(judge: Judge, case: Case) -> bool:
    """Each case once: many stand in several tables."""
    (found,) = judge.grade([case])
    return bool(found.correct)


def compare(given: Sequence[bool], rows: Sequence[Graded]) -> Row:
    """Agreement, precision and recall of `right`, and Cohen's kappa, with GPT-4.1's verdicts as the truth."""
    total, right, said = len(rows), sum(row.correct for row in rows), sum(given)
    both = sum(verdict and row.correct for verdict, row in zip(given, rows, strict=True))
    agreement = (total - right - said + 2 * both) / total
    chance = (right * said + (total - right) * (total - said)) / total**2
    kappa = (agreement - chance) / (1 - chance)
    precision = both / said if said else None
    return {"n": total, "agreement": agreement, "precision": precision, "recall": both / right, "kappa": kappa}


def agreement_rows(rows: Mapping[str, Sequence[Graded]]) -> Iterator[Row]:
    everything = [row for file in rows.values() for row in file]
    elsewhere = fit([row for row in everything if not held_out(row.title)])
    for file, graded in rows.items():
        held = [row for row in graded if held_out(row.case.question)]
        for part, chosen in (("all", graded), ("held-out", held)):
            for counted, counts in (("verdicts", chosen), ("unique", unique(chosen))):
                for judge in JUDGES:
                    about = {"file": file, "questions": part, "counted": counted, "judge": judge.name}
                    yield about | compare(verdicts(judge, counts), counts)
        other = [row for row in graded if held_out(row.title)]
        for counted, counts in (("verdicts", other), ("unique", unique(other))):
            about = {"file": file, "questions": "other passages", "counted": counted, "judge": "lexical, refitted"}
            yield about | compare(weighed(counts, elsewhere), counts)


def values(given: Iterable[bool], rows: Sequence[Graded]) -> dict[str, list[Fraction]]:
    """By context the mean verdict of each of its self-edits over questions and seeds, exact, in order of sample."""
    found: dict[str, dict[int, list[bool]]] = {}
    for verdict, row in zip(given, rows, strict=True):
        found.setdefault(row.context, {}).setdefault(row.sample, []).append(verdict)
    means = lambda edits: [Fraction(sum(edits[sample]), len(edits[sample])) for sample in sorted(edits)]  # noqa: E731
    return {context: means(edits) for context, edits in found.items()}


def pick(rewards: Mapping[str, list[Fraction]], choose: Callable[[str], Iterable[int]]) -> Row:
    """How choices fare by GPT-4.1's rewards, in the mean over contexts; several choices are each as likely."""
    same = tied = loss = Fraction(0)
    for context, reward in rewards.items():
        chosen, best = list(choose(context)), max(reward)
        same += Fraction(chosen.count(reward.index(best)), len(chosen))
        tied += Fraction(sum(reward[edit] == best for edit in chosen), len(chosen))
        loss += best - sum((reward[edit] for edit in chosen), Fraction(0)) / len(chosen)
    shares = (float(total / len(rewards)) for total in (same, tied, loss))
    return {"contexts": len(rewards)} | dict(zip(("same edit", "among best", "loss"), shares, strict=True))


def pick_rows(rows: Mapping[str, Sequence[Graded]]) -> Iterator[Row]:
    """Best of five by mean value, ties to the first: by each judge, by chance, and by GPT-4.1 itself."""
    for file, graded in rows.items():
        adapted = [row for row in graded if row.adapted]
        for part, chosen in (("all", adapted), ("held-out", [r for r in adapted if held_out(r.case.question)])):
            truth = values((row.correct for row in chosen), chosen)
            found = {judge.name: values(verdicts(judge, chosen), chosen) for judge in JUDGES} | {"GPT-4.1": truth}
            ways: dict[str, Callable[[str], Iterable[int]]] = {
                "random": lambda context, of=truth: range(len(of[context]))
            }
            for name, means in found.items():
                ways[name] = lambda context, of=means: [of[context].index(max(of[context]))]
            for name, way in ways.items():
                yield {"file": file, "questions": part, "picked by": name} | pick(truth, way)


def table(rows: Iterable[Row]) -> str:
    """Columns as wide as they must be."""
    listed = list(rows)
    names = list(dict.fromkeys(name for row in listed for name in row))
    cells = [names, *([_cell(row.get(name)) for name in names] for row in listed)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _cell(value: object) -> str:
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--fit", action="store_true", help="print the lexical judge's coefficients, fitted afresh")
    parser.add_argument("--json", action="store_true", help="one JSON object a line in place of tables")
    options = parser.parse_args()
    absent = [name for name in FILES if not (PAPER / name).is_file()]
    if absent:
        print(f"skipped: no {', '.join(absent)} in ../shared/data/seal_paper beside the project", file=sys.stderr)
        return
    rows = {name: load(PAPER / name) for name in FILES}
    everything = [row for graded in rows.values() for row in graded]
    kinds = [fit_rows(everything)] if options.fit else [agreement_rows(rows), pick_rows(rows)]
    for found in kinds:
        print(*(map(json.dumps, found) if options.json else [table(found), ""]), sep="\n", flush=True)


if __name__ == "__main__":
    main()
