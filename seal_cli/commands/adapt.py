"""`seal adapt`"""

from pathlib import Path
from typing import Annotated

import typer

from seal_cli.flags import options as opt
from seal_cli.flags.domain import default
from stages.interfaces import PadMode


def adapt(
    file: opt.Input = None,
    model: opt.Model = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the adapter directories go.")] = Path(
        "adapters"
    ),
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Adapters per self-edit.")] = 1,
    show_data: Annotated[
        bool, typer.Option("--show-data", help="Print the training sequences, or grids; train nothing.")
    ] = False,
    split_newlines: Annotated[
        bool | None,
        typer.Option(
            "--split-newlines/--no-split-newlines",
            help="Every line of a self-edit is a sequence of its own. [default: yes]",
        ),
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option(
            "--chat/--no-chat",
            help="Put ARC tasks through the student's chat template. [default: yes]",
            show_default=False,
        ),
    ] = None,
    rank: Annotated[int | None, typer.Option(metavar="R", min=1, help=f"LoRA rank. {default('fit', 'rank')}")] = None,
    alpha: Annotated[
        float | None,
        typer.Option(metavar="A", help=f"LoRA alpha; the update is scaled by alpha/rank. {default('fit', 'alpha')}"),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(metavar="P", min=0, max=1, help=f"LoRA dropout. {default('fit', 'dropout')}")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A layer to adapt (repeat it), or all-linear. [default: peft's choice: q_proj, v_proj; ARC: q, v, "
            "gate, up, down]",
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(metavar="LR", min=0, help="[default: 0.001; ARC: what the self-edit says]"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="[default: 10; ARC: what the self-edit says]")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Sequences per batch. {default('fit', 'batch_size')}")
    ] = None,
    accumulation: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"Batches per step. {default('fit', 'accumulation')}")
    ] = None,
    schedule: Annotated[
        opt.Schedule | None, typer.Option(help=f"Learning rate over the steps. {default('fit', 'schedule')}")
    ] = None,
    warmup_steps: Annotated[int | None, typer.Option(metavar="N", min=0, help=default("fit", "warmup_steps"))] = None,
    max_grad_norm: Annotated[float | None, typer.Option(metavar="X", min=0, help=default("fit", "max_grad_norm"))] = (
        None
    ),
    weight_decay: Annotated[float | None, typer.Option(metavar="X", min=0, help=default("fit", "weight_decay"))] = None,
    pad_mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="What is learned behind a sequence: none, eos (one end token), full (end tokens up to --pad-to: the "
            f"official recipe), sampled:M (M of those, weighted). {default('fit', 'pad_mode')}",
            autocompletion=opt.offer("none", "eos", "full", "sampled:32"),
        ),
    ] = None,
    pad_to: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, help=f"Tokens up to which full and sampled pad. {default('fit', 'pad_to')}"),
    ] = None,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    journal: opt.Journal = None,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    seed: opt.Seed = 0,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    allow_empty: opt.AllowEmpty = False,
    dry_run: opt.DryRun = False,
    trainer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="batched (many at once), peft (one at a time), or package.module:Class.",
            autocompletion=opt.offer("batched", "peft"),
        ),
    ] = "batched",
    slots: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Adapters in work at a time. [default: 64, fewer where memory is short]"),
    ] = None,
    tokens_per_step: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Most tokens of one pass. auto: what memory holds, up to 16384 on a GPU and 2048 on a CPU. It shrinks "
            "when memory runs out.",
        ),
    ] = "auto",
    device: opt.DeviceName = "auto",
    dtype: opt.Dtype = "auto",
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
    from contextlib import nullcontext
    from dataclasses import asdict

    from seal_cli.flags.domain import domain_of, fit_config, tell_left_out, trained_domain
    from seal_cli.flags.model import TRAINERS, check_limits, choose_model, identity_of, load_trainer, weights_of
    from seal_cli.runs.contexts import count_untrainable
    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.run import Run
    from seal_cli.runs.stdio import input_records
    from stages import adapt as stage
    from stages.files import hold_folder
    from stages.models.adapter_checks import is_whole, usable_on

    PadMode.parse(pad_mode or "none")
    budget = opt.token_budget(tokens_per_step)
    check_limits(trainer, slots=slots, tokens_per_step=budget)
    given = {
        "rank": rank,
        "alpha": alpha,
        "dropout": dropout,
        "targets": tuple(target) if target else None,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "accumulation": accumulation,
        "schedule": schedule.value if schedule else None,
        "warmup_steps": warmup_steps,
        "max_grad_norm": max_grad_norm,
        "weight_decay": weight_decay,
        "pad_mode": pad_mode,
        "pad_to": pad_to,
    }
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("adapt", output=output, overwrite=overwrite, journal=journal, rejects=bad, dry=dry_run) as run:
        records = run.read(input_records(file, ("edit",), bad), limit=limit, shard=shard, allow_empty=allow_empty)
        if run.empty:
            return run.write_none({"limit": limit, "shard": shard})
        kind, _ = domain_of(run.domains)
        config = fit_config(kind, given)
        unnamed = show_data and model is None and (kind == "qa" or run.editors <= {"none", "unknown"})
        name = "" if unnamed else choose_model(model, run.editors)
        domain = trained_domain(kind, model=name, config=config, seed=seed, split_newlines=split_newlines, chat=chat)
        ways = {"split_newlines": split_newlines is not False} if kind == "qa" else {"chat": chat is not False}
        selected = {**ways, "limit": limit, "shard": shard}
        if show_data:
            run.settle({**selected, "show_data": True})
            run.write(stage.show_data(records, domain=domain), total=len(records))
            return run.code
        base = identity_of(name)
        gathered = stage.Pieces(name, domain=domain, out=out, config=config, seeds=seeds, run_seed=seed, identity=base)
        run.sift(records, gathered.add)
        todo = gathered.found
        tell_left_out(domain)
        if dry_run:
            own = ", each at the learning rate and for the epochs that its self-edit says" if kind == "arc" else ""
            run.would(f"train {len(todo)} adapters of {name}{own}", config)
            count_untrainable(run, name, (piece.job for piece in todo.values() if piece.job))
            return run.code
        fitted = {
            "trainer": trainer,
            "out": run.target.tell_place(out),
            "seeds": seeds,
            "seed": seed,
            "fit": asdict(config),
        }
        intact = usable_on(name) if trainer in TRAINERS else is_whole
        run.settle({**selected, **fitted, **weights_of(name, device, dtype)}, stage.plan(todo, intact))
        with nullcontext() if run.target.complete else hold_folder(out):
            run.produce(
                lambda: load_trainer(trainer, name, device, dtype, slots=slots, tokens_per_step=budget),
                lambda fitter, keys, progress: stage.run(todo, fitter, keys=set(keys), progress=progress),
            )
    return run.code
