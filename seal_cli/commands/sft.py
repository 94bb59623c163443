"""`seal sft`"""

from pathlib import Path
from typing import Annotated

import typer

from seal_cli import options as opt
from stages.engines.base import SftConfig

DEFAULT = SftConfig()


def sft(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The model directory to write.")],
    model: opt.RequiredModel,
    file: opt.Input = None,
    full: Annotated[bool, typer.Option("--full/--lora", help="Tune every weight, or a LoRA that is merged.")] = False,
    rank: Annotated[int, typer.Option(metavar="R", min=1, help="LoRA rank.")] = DEFAULT.rank,
    alpha: Annotated[float, typer.Option(metavar="A", help="LoRA alpha.")] = DEFAULT.alpha,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A layer to adapt (repeat it), or all-linear. [default: the seven of a Llama block]"
        ),
    ] = None,
    learning_rate: Annotated[float, typer.Option(metavar="LR", min=0)] = DEFAULT.learning_rate,
    epochs: Annotated[int, typer.Option(metavar="N", min=1)] = DEFAULT.epochs,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Examples per step.")] = DEFAULT.batch_size,
    micro_batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Examples per forward pass; divides the batch size.")
    ] = DEFAULT.micro_batch,
    max_grad_norm: Annotated[float, typer.Option(metavar="X", min=0)] = DEFAULT.max_grad_norm,
    output: opt.Output = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out and the output if they exist.")] = False,
    limit: opt.Limit = None,
    seed: opt.Seed = 0,
    dry_run: opt.DryRun = False,
    device: opt.DeviceName = "auto",
    dtype: opt.Dtype = "auto",
) -> int:
    """Train the model on kept self-edits, loss on the completion only. sft lines → a model directory for --model.

    The defaults are the paper's (SEAL App. B). One line on stdout names the checkpoint.

    \b
    Examples:
      seal sft sft.jsonl --model examples/tiny/model --out round-1/model
      seal filter scores.jsonl | seal sft --model DIR --out next --full --learning-rate 1e-5
    """
    from seal_cli.console import counted
    from seal_cli.jsonl import input_examples
    from seal_cli.models import choose_model, quiet_libraries
    from seal_cli.run import Run
    from stages import sft as stage
    from stages.engines.models import Device
    from stages.failures import ExistingOutput

    if not out.name or (out.exists() and not (out / "config.json").is_file()):
        raise ExistingOutput(f"--out {out}: is there and is no model directory; give another one")
    if out.exists() and not overwrite:
        raise ExistingOutput(f"--out {out}: exists already; give --overwrite, or another directory")
    config = SftConfig(
        full=full,
        rank=rank,
        alpha=alpha,
        targets=tuple(target) if target else DEFAULT.targets,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        max_grad_norm=max_grad_norm,
        seed=seed,
    )
    with Run("sft", output=None if dry_run else output, overwrite=overwrite) as run:
        examples = list(counted(input_examples(file), run.counts))[:limit]
        choose_model(model, ())
        if dry_run:
            run.plan(f"train {model} on {len(examples)} examples and write {out}", config)
            return run.code
        quiet_libraries()
        from stages.engines.finetune import TrlFinetuner

        run.write([stage.run(examples, TrlFinetuner(model, device=Device(device, dtype)), out=out, config=config)])
    return run.code
