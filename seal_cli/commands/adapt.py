"""`seal adapt`"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from seal_cli.flags import options as opt
from seal_cli.flags.domain import domain_of, refuse_chosen, tell_left_out, trained_domain
from seal_cli.flags.given import Given
from seal_cli.flags.model import choose_model, identity_of, weights_of
from seal_cli.flags.run import InputFlags, RunFlags
from seal_cli.flags.trainer import TRAINERS, TrainerFlags
from seal_cli.runs.contexts import count_untrainable
from seal_cli.runs.run import Run
from seal_cli.runs.stdio import input_records
from stages import adapt as stage
from stages.files import hold_folder
from stages.interfaces import FitConfig, PadMode
from stages.models.adapter_checks import is_whole, usable_on


@dataclass(frozen=True)
class AdaptFlags:
    """Which adapters are trained, and on what."""

    panel: ClassVar[str] = "Options"
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the adapter directories go.")] = Path("adapters")
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Adapters per self-edit.")] = 1
    show_data: Annotated[
        bool, typer.Option("--show-data", help="Print the training sequences, or grids; train nothing.")
    ] = False
    split_newlines: Annotated[
        bool | None,
        typer.Option(
            "--split-newlines/--no-split-newlines",
            help="Every line of a self-edit is a sequence of its own. [default: yes]",
        ),
    ] = None
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat",
            help="Put ARC tasks through the student's chat template. [default: yes]",
            show_default=False,
        ),
    ] = None


def adapt(
    run: RunFlags,
    lines: InputFlags,
    flags: AdaptFlags,
    fit: Given[FitConfig],
    trainer: TrainerFlags,
    model: opt.Model = None,
    seed: opt.Seed = 0,
) -> int:
    """Fine-tune the student on each self-edit, once per seed. edit → adapter lines, and PEFT directories under --out.

    The defaults are the paper's (SEAL App. B). The training sequences are the self-edit's pieces, each under the
    title, and the passage last; of an ARC task, the training tasks that the self-edit's tools make of the
    demonstrations. An adapter does not depend on what is trained beside it: to the last bit where `seal doctor` says
    so (same bits), else to the last digits.

    \b
    Examples:
      seal adapt edits.jsonl --out adapters --seeds 3 -o adapters.jsonl
      seal adapt edits.jsonl --rank 8 --alpha 16 --target q_proj --target v_proj --epochs 4
      seal adapt edits.jsonl --show-data | jq -r '.sequences[]'
      seal adapt arc-edits.jsonl --show-data | jq -r '.tasks[].tool' | sort | uniq -c
    """
    PadMode.parse(fit.values.get("pad_mode", "none"))
    trainer.check()
    bad = lines.open_rejects(run.output)
    with Run(
        "adapt", output=run.output, overwrite=run.overwrite, journal=run.journal, rejects=bad, dry=run.dry_run
    ) as current:
        read = input_records(lines.file, ("edit",), bad)
        records = current.read(read, **lines.selection, allow_empty=lines.allow_empty)
        if current.empty:
            return current.write_none(lines.selection)
        kind, defaults = domain_of(current.domains)
        refuse_chosen(kind, fit.values)
        config = fit.over(defaults.fit)
        unnamed = flags.show_data and model is None and (kind == "qa" or current.editors <= {"none", "unknown"})
        name = "" if unnamed else choose_model(model, current.editors)
        split, chat = flags.split_newlines, flags.chat
        domain = trained_domain(kind, model=name, config=config, seed=seed, split_newlines=split, chat=chat)
        selected = {
            **({"split_newlines": split is not False} if kind == "qa" else {"chat": chat is not False}),
            **lines.selection,
        }
        if flags.show_data:
            current.settle({**selected, "show_data": True})
            current.write(stage.show_data(records, domain=domain), total=len(records))
            return current.code
        base = identity_of(name)
        gathered = stage.Pieces(
            name, domain=domain, out=flags.out, config=config, seeds=flags.seeds, run_seed=seed, identity=base
        )
        current.sift(records, gathered.add)
        todo = gathered.found
        tell_left_out(domain)
        if run.dry_run:
            own = ", each at the learning rate and for the epochs that its self-edit says" if kind == "arc" else ""
            current.would(f"train {len(todo)} adapters of {name}{own}", config)
            count_untrainable(current, name, (piece.job for piece in todo.values() if piece.job))
            return current.code
        fitted = {
            "trainer": trainer.name,
            "out": current.target.tell_place(flags.out),
            "seeds": flags.seeds,
            "seed": seed,
            "fit": asdict(config),
        }
        intact = usable_on(name) if trainer.name in TRAINERS else is_whole
        current.settle({**selected, **fitted, **weights_of(name, trainer.device)}, stage.plan(todo, intact))
        with nullcontext() if current.target.complete else hold_folder(flags.out):
            current.produce(
                lambda: trainer.load(name),
                lambda fitter, keys, progress: stage.run(todo, fitter, keys=set(keys), progress=progress),
            )
    return current.code
