"""`seal sft`"""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seal_cli.flags import options as opt
from stages.interfaces import SftConfig

if TYPE_CHECKING:
    from stages.records.pairs import TrainingPair
    from stages.records.record import Checkpoint
    from stages.tokens.token_counts import Lengths

_DEFAULT = SftConfig()


def sft(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The model directory to write.")],
    model: opt.RequiredModel,
    file: opt.Input = None,
    full: Annotated[bool, typer.Option("--full/--lora", help="Tune every weight, or a LoRA that is merged.")] = False,
    rank: Annotated[int, typer.Option(metavar="R", min=1, help="LoRA rank.")] = _DEFAULT.rank,
    alpha: Annotated[float, typer.Option(metavar="A", help="LoRA alpha.")] = _DEFAULT.alpha,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A layer to adapt (repeat it), or all-linear. [default: the seven of a Llama block]"
        ),
    ] = None,
    learning_rate: Annotated[float, typer.Option(metavar="LR", min=0)] = _DEFAULT.learning_rate,
    epochs: Annotated[int, typer.Option(metavar="N", min=1)] = _DEFAULT.epochs,
    batch_size: Annotated[int, typer.Option(metavar="N", min=1, help="Examples per step.")] = _DEFAULT.batch_size,
    micro_batch: Annotated[
        int, typer.Option(metavar="N", min=1, help="Examples per forward pass; divides the batch size.")
    ] = _DEFAULT.micro_batch,
    max_grad_norm: Annotated[float, typer.Option(metavar="X", min=0)] = _DEFAULT.max_grad_norm,
    output: opt.Output = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out and the output if they exist.")] = False,
    limit: opt.Limit = None,
    shard: opt.Shard = None,
    seed: opt.Seed = 0,
    rejects: opt.Rejects = None,
    strict: opt.Strict = False,
    max_rejects: opt.MaxRejects = opt.MOST_REJECTS,
    allow_empty: opt.AllowEmpty = False,
    dry_run: opt.DryRun = False,
    device: opt.DeviceName = "auto",
    dtype: opt.Dtype = "auto",
) -> int:
    """Train the model on kept self-edits, loss on the completion only. sft lines → a model directory for --model.

    Any line will do that has prompt and completion, each as text or as messages, or messages (a chat): every turn of
    the assistant in the completion, or in messages, is learned behind the turns before it, without the thoughts
    (<think> …) that it begins with. Other keys are left alone.
    The defaults are the paper's (SEAL App. B). One line on stdout names the checkpoint.

    \b
    Examples:
      seal sft sft.jsonl --model examples/tiny/model --out round-1/model
      seal filter scores.jsonl | seal sft --model DIR --out next --full --learning-rate 1e-5
    """
    from dataclasses import asdict

    from seal_cli.flags.model import choose_model, quiet_libraries
    from seal_cli.runs.rejects import Rejects
    from seal_cli.runs.run import Run
    from seal_cli.runs.settings import digest_of
    from seal_cli.runs.stdio import input_pairs
    from seal_cli.terminal.console import note
    from stages import sft as stage
    from stages.errors import BadConfig, BadInput
    from stages.models.loading import Device, fingerprint

    config = SftConfig(
        full=full,
        rank=rank,
        alpha=alpha,
        targets=tuple(target) if target else _DEFAULT.targets,
        learning_rate=learning_rate,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        max_grad_norm=max_grad_norm,
        seed=seed,
    )
    _check_target(out, model, overwrite=overwrite)
    bad = Rejects(rejects, strict=strict, most=max_rejects, others=(file, output))
    with Run("sft", output=output, overwrite=overwrite, rejects=bad, dry=dry_run) as run:
        check = PairCheck(model, dry=dry_run)
        try:
            pairs = run.read(input_pairs(file, bad, check), limit=limit, shard=shard, allow_empty=allow_empty)
        except BadInput as error:
            if check.unwritten and check.unwritten == bad.count:  # it is the model that does not fit, not the lines
                raise BadConfig(str(error)) from None
            raise
        if run.empty:
            note("seal sft: no examples, no model: nothing is trained")
            return run.write_none({"limit": limit, "shard": shard})
        name = choose_model(model, ())
        if dry_run:
            count = sum(1 for pair in pairs for _ in pair.examples)
            run.would(f"train {name} on {count} examples and write {out}", config)
            return run.code
        weights = {"model": name, "weights": fingerprint(name), "dtype": dtype, "out": run.target.tell_place(out)}
        run.settle({**weights, "fit": asdict(config), "limit": limit, "shard": shard})
        digest = digest_of({**run.settings, "out": None, "input": run.input.hexdigest()})  # wherever the run lies
        made = _existing(out, digest, overwrite=overwrite)
        if made is None:
            run.costly = True
            run.progress.set_phase("loading")
            with run.display.apart(run.target.descriptors):
                quiet_libraries()
                from stages.trainers.sft import SupervisedTrainer

                trainer = SupervisedTrainer(name, device=Device(device, dtype), run=digest)
                made = stage.run(pairs, trainer, out=out, config=config, progress=run.progress)
        run.write([made])
    return run.code


class PairCheck:
    """Raises BadLine for a pair that the model cannot learn: it is beyond its context, or no chat of its template.

    Also for a line of `seal filter` that comes twice; others may repeat what is to weigh more.

    The tokenizer is loaded when a pair comes that must be counted. In a `dry` run a hub model, which may not be here
    yet, is asked for chats alone. `unwritten`: chats of which the template writes none like them.
    """

    def __init__(self, model: str, *, dry: bool = False) -> None:
        from stages.sources.distinct import UniqueLines

        self.model, self.unwritten = model, 0
        self.distinct, self.measured = UniqueLines(), Path(model).is_dir() or not dry

    @cached_property
    def lengths(self) -> "Lengths":
        """Looks at the model: without a pair nobody asks for one."""
        from stages.tokens.token_counts import Lengths

        return Lengths(self.model)

    def __call__(self, pair: "TrainingPair") -> None:
        key = (pair.task_id, pair.edit_id)
        self.distinct.check(key, f"self-edit {pair.edit_id} of task {pair.task_id} occurs twice")
        self._check_fit(pair)
        if pair.edit_id is not None:
            self.distinct.seen.add(key)

    def _check_fit(self, pair: "TrainingPair") -> None:
        from seal_cli.flags.model import quiet_libraries
        from stages.errors import BadConfig, Untrainable
        from stages.records.jsonl import BadLine
        from stages.tokens.token_counts import NO_CHAT

        for example in pair.examples:
            if not pair.is_chat and (not self.measured or self.lengths.surely_holds(example)):
                continue
            quiet_libraries()
            templated = bool(self.lengths.tokenizer.chat_template)  # one that cannot be loaded is no line's fault
            try:
                if pair.is_chat and not templated:
                    raise BadConfig(f"--model {self.model}: has no chat template")
                self.lengths.check(example)
            except BadConfig as error:  # the template's
                self.unwritten += 1
                told = str(error).removesuffix(NO_CHAT)
                raise BadLine(f"{told}; give a chat model, or text instead of messages") from None
            except Untrainable as error:
                raise BadLine(str(error)) from None


def _check_target(out: Path, model: str, *, overwrite: bool) -> None:
    """Raises ExistingOutput for a folder that must or could not be replaced, or that no `seal sft` wrote."""
    from stages.errors import ExistingOutput
    from stages.models.loading import ABOUT

    if out.is_symlink():
        raise ExistingOutput(f"--out {out}: a symlink; give the directory itself")
    if Path(model).is_dir() and out.resolve() == Path(model).resolve():
        raise ExistingOutput(f"--out {out}: is the model that is trained; give another directory")
    if not out.name or (out.exists() and not (out / "config.json").is_file()):
        raise ExistingOutput(f"--out {out}: is there and is no model directory; give another one")
    if out.exists() and not overwrite and not (out / ABOUT).is_file():
        raise ExistingOutput(f"--out {out}: exists already; give --overwrite, or another directory")


def _existing(out: Path, digest: str, *, overwrite: bool) -> "Checkpoint | None":
    """The checkpoint that is there already, made by this very run. Raises ExistingOutput for another run's.

    What a killed run left beside it is removed.
    """
    from seal_cli.terminal.console import note
    from stages.errors import ExistingOutput
    from stages.files import remove_partials
    from stages.models.loading import read_checkpoint

    remove_partials(out.parent, {out.name})
    made = read_checkpoint(out, digest)
    if made:
        note(f"seal sft: {out} was made from the same examples with the same settings; nothing to train")
    elif out.exists() and not overwrite:
        raise ExistingOutput(f"--out {out}: exists already; give --overwrite, or another directory")
    return made
