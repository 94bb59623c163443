"""`seal card`"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import typer

from seal_cli.exit_codes import DONE, INCOMPLETE
from seal_cli.flags import options as opt
from seal_cli.terminal.console import note, say, width_of
from stages.settings import Doc

if TYPE_CHECKING:
    from stages.card import Card


@dataclass(frozen=True)
class CardFlags:
    """The rows of a card, what decides about it, and how it is shown."""

    panel: ClassVar[str] = opt.OWN_PANEL
    rows: Annotated[
        tuple[str, ...], typer.Argument(metavar="RUN | NAME=FILE …", help="A run's folder, or score files by row.")
    ]
    probes: Annotated[
        tuple[str, ...], Doc("Answers of none, or of adapter, to probes (repeat it).", "NAME=FILE", "--probe")
    ] = ()
    gate: Annotated[str | None, Doc("Exit with 3 where this rule does not hold: 'learned>10 & lost<2'.", "RULE")] = None
    form: Annotated[Literal["table", "md", "json"], Doc("What stdout gets.", flag="--format")] = "table"
    json: Annotated[bool, Doc("The same as --format json.")] = False
    output: Annotated[Path | None, Doc("Also write it here: .json or .md.", "FILE", "--output -o")] = None


def make_card(flags: CardFlags, seed: opt.Seed = 0) -> int:
    """Say what an update taught, kept, lost, invented and cost, beside what else one could do, and gate it.

    \b
    RUN/rows/NAME.jsonl     score lines about one exam; NAME is none and
                            adapter, which are needed, passage, in-context,
                            rag, adapter-rag, or any other
    RUN/probes/NAME.jsonl   of none and adapter: questions that the documents
                            do not answer

    learned: accuracy of adapter less that of none, in points. kept, lost: of the anchors that were known before
    (`seal eval --retain`), the share that is right still, or wrong now, in per cent. invented: of the probes without a
    wrong answer before (right, or no claim), the share with one now. What was not asked is not measured, and never 0.

    --gate compares these, and each row's accuracy, with numbers and each other: < <= > >= = !=, & before |, and
    parentheses. It holds if it does so whatever unscored answers come to. The card is written in any case: of a run to
    RUN/card.json and RUN/card.md. An adapter that passes is released: RUN/current leads to it (`seal rollback`). None
    passes whose files are not those that answered, as the lines of `seal eval` name them.

    \b
    Examples:
      seal card runs/mine
      seal card runs/mine --gate 'learned>10 & lost<2 & invented<5'
      seal card runs/mine --gate 'adapter>rag | "adapter-rag">rag' --json | jq .gate
      seal card none=none.jsonl adapter=scores.jsonl --probe none=p0.jsonl --probe adapter=p1.jsonl -o card.md
    """
    from seal_cli.reports.cards import read_card_files, write_card  # late, as all that a run needs: help does without
    from seal_cli.runs.stdio import claim_stdout, write_stdout
    from seal_cli.terminal.card_tables import format_card, format_card_page
    from stages import card as stage

    stdout = claim_stdout()
    files = read_card_files(flags.rows, flags.probes, flags.output)
    of_run = files.run is not None
    made = stage.run(
        files.rows, files.probes, costs=files.costs, base=files.base, gate=flags.gate, released=of_run, seed=seed
    )
    for path in write_card(made, files, flags.output):
        note(f"seal card: written to {path}")
    if flags.json or flags.form == "json":
        text = json.dumps(stage.dump_card(made), ensure_ascii=False) + "\n"
    else:
        text = format_card_page(made) if flags.form == "md" else format_card(made, width_of(stdout))
    write_stdout(stdout, text.encode("utf-8", "replace"))
    return _conclude(made, files.run)


def _conclude(made: "Card", run: Path | None) -> int:
    """Say what the gate decided, release what it let through, and return the exit code."""
    if made.gate is None:
        for told in (*made.proof.faults, *made.proof.unknown):
            say(f"seal card: not proven: {told}")
        return INCOMPLETE if any(row.accuracy.unscored for row in made.rows) else DONE
    for reason in made.gate.reasons:
        say(f"seal card: gate: {reason}")
    if made.gate.passed and run and made.adapter.path:
        from stages.versions import release

        own, path, files = made.adapter.id, run / made.adapter.path, made.proof.fingerprint
        card, rule = run / "card.json", made.gate.expression
        now = release(run, path, adapter_id=own, gate=rule, card=card, fingerprint=files).adapter.id
        way = f"; {own} was given up by a rollback, take it again with: seal rollback {run} --to {own}"
        note(f"seal card: {run / 'current'} is {now}{'' if now == own else way}")
    return DONE if made.gate.passed else INCOMPLETE
