"""The outer update through trl: fine-tuning on self-edits, loss on the completion only (SEAL App. B).

Examples are tokenised here with their loss mask, as everywhere in `stages`; trl gets ids and labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.errors import BadConfig
from stages.interfaces import Example, NullProgress, Progress
from stages.models.device import Device, get_widest_dtype
from stages.models.loading import load_model, load_tokenizer
from stages.models.lora_targets import resolve_targets
from stages.records.schema import Checkpoint
from stages.settings import SftConfig
from stages.tokens.chat_templates import get_control_tokens
from stages.tokens.tokenization import Tokens
from stages.trainers.jobs import explain_divergence
from stages.trainers.model_files import check_saving, save_model
from stages.trainers.outer_losses import encode_rows, make_outer_trainer
from stages.trainers.team import Team


class SupervisedTrainer:
    """Fine-tunes one model on examples, by the loss of the settings, and writes an ordinary model directory.

    `run` is a name for model, examples and settings together, which the directory then carries. `check` is called when
    the model is loaded, and raises where that is not the one that `run` stands for. Of a `team` one process has the
    examples and writes; the others return what it does.
    """

    def __init__(
        self,
        model: str,
        *,
        device: Device = Device(),
        run: str = "",
        check: Callable[[], object] = bool,
        team: Team = Team(),
    ) -> None:
        self.model, self.run, self.check, self.team = model, run, check, team
        self.device = team.place(device)
        self.tokenizer = load_tokenizer(model)

    def finetune(
        self, examples: Sequence[Example], config: SftConfig, out: Path, progress: Progress = NullProgress()
    ) -> Checkpoint:
        """Return the checkpoint that is now complete in `out`: it is built under a temporary name and renamed."""
        from transformers import set_seed

        config.check()
        if self.team.leads:
            self.team.share(examples, self.device)
        set_seed(config.seed % 2**32)  # numpy's generator takes no others
        wide = config.full and self.device.dtype == "auto"  # bfloat16 weights would round small updates away
        network = load_model(self.model, replace(self.device, dtype="float32") if wide else self.device)
        self.check()
        dtype = self.device.resolve()[1] if wide and network.device.type != "cpu" else network.dtype
        if self.team.leads:
            for told in check_saving(network, self.tokenizer, out, self.model, dtype.itemsize):
                progress.note(told)
        steps, losses = self._train(network, examples, config, progress)
        progress.set_phase("writing")
        network.to(dtype=dtype)
        checkpoint = Checkpoint(
            model=str(out),
            base=self.model,
            examples=len(examples),
            steps=steps,
            loss_first=losses[0],
            loss_last=losses[-1],
            fit={
                key: list(value) if isinstance(value, tuple) else value
                for key, value in config.get_used_settings().items()
            },
        )
        about = {"run": self.run, "checkpoint": checkpoint.model_dump(mode="json")}
        if self.team.leads:
            save_model(network, self.tokenizer, out, lambda folder: about)
        return checkpoint

    def _train(
        self, network: Any, examples: Sequence[Example], config: SftConfig, progress: Progress
    ) -> tuple[int, list[float]]:
        """Train the network in place: all weights, or a LoRA that is merged. Returns steps and logged losses."""
        from peft import LoraConfig
        from transformers import PrinterCallback, ProgressCallback

        rows = encode_rows(self.tokenizer, examples)
        first = rows[0].tokens
        self._note_control_tokens(examples, progress)
        network.requires_grad_(config.full)
        text = network.config.get_text_config()
        of_experts = {
            key: getattr(text, key) for key in ("router_aux_loss_coef", "output_router_logits") if hasattr(text, key)
        }
        lora = None
        if not config.full:
            _check_targets(network, config.targets)
            lora = LoraConfig(
                r=config.rank,
                lora_alpha=config.alpha,
                lora_dropout=0.0,
                target_modules=resolve_targets(network, config.targets),
                task_type="CAUSAL_LM",
            )
        with TemporaryDirectory() as scratch:
            with self.team.blame_others():
                trainer = make_outer_trainer(network, self.tokenizer, rows, config, lora, scratch, self.team)
            if trainer.takes_trl_loss:
                _check_loss(trainer.model, first)
            trainer.remove_callback(PrinterCallback)
            trainer.remove_callback(ProgressCallback)
            tokens = sum(row.length for row in rows)
            trainer.add_callback(_make_callback(progress, tokens, len(rows), config, self.team.size))
            with self.team.blame_others(lambda: trainer.state.global_step > 0):
                trainer.train()
        if explain_divergence([], trainer.model.parameters()):
            raise BadConfig(f"--learning-rate {config.learning_rate}: the training diverged; take a smaller one")
        if not config.full:
            _merge_lora(trainer.model, first)
        for key, value in of_experts.items():  # trl writes its own into the model's settings
            setattr(text, key, value)
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        return trainer.state.global_step, losses

    def _note_control_tokens(self, examples: Sequence[Example], progress: Progress) -> None:
        """Say of how many texts the control tokens, which others may have meant as such, are learned as letters."""
        texts = [
            f"{each.prompt}{each.completion.removesuffix(self.tokenizer.eos_token)}"
            for each in examples
            if isinstance(each.prompt, str)
        ]
        found = [match[0] for text in texts if (match := get_control_tokens(self.tokenizer).pattern.search(text))]
        if found:
            told = f"{len(found)} of {len(examples)} examples have control tokens in their text ({found[0]})"
            progress.note(f"{told}, which are learned as letters; give a chat as messages")


def _check_targets(network: Any, targets: Sequence[str]) -> None:
    """Raise BadConfig for the output layer: trl's losses pass a LoRA of it by, and merged it may change embeddings."""
    head = network.get_output_embeddings()
    if head is None:
        return
    name = next(name for name, part in network.named_modules() if part is head).rpartition(".")[2]
    if name in {target.rpartition(".")[2] for target in targets}:
        tied = head.weight is getattr(network.get_input_embeddings(), "weight", None)
        why = "has the embeddings' weights in this model (tie_word_embeddings), which merging would change, too"
        told = why if tied else "is the output layer, of which trl trains no LoRA"
        raise BadConfig(f"--target {name}: it {told}; leave it out, or give --full")


def _check_loss(student: Any, tokens: Tokens) -> None:
    """Raise BadConfig where trl's loss is not that of the model's own logits.

    It takes the last hidden states through the output layer itself, and knows of some architectures what comes behind.
    """
    import torch

    ids = torch.tensor([tokens.ids[:16] if len(tokens.ids) > 1 else tokens.ids * 2], device=student.device)
    student.eval()
    with torch.no_grad():
        own = student(input_ids=ids).logits[0, :-1].float().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0]
        try:
            fused = student(input_ids=ids, labels=ids, fused_lm_head=True).log_probs
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BadConfig(f"trl cannot train this architecture ({error}); take another model") from error
    if not torch.allclose(own, fused.flatten().float()[: len(own)], rtol=0.02, atol=0.02):
        raise BadConfig("trl's loss is not that of this architecture's logits; take another model")


def _merge_lora(student: Any, tokens: Tokens) -> None:
    """Merge the LoRA into the model's weights. Raises BadConfig where the model then says something else."""
    import torch

    ids, wide = torch.tensor([tokens.ids[:16]], device=student.device), get_widest_dtype(student.device)
    student.eval()
    with torch.no_grad():
        before = student(input_ids=ids).logits.to(wide)
        after = student.merge_and_unload()(input_ids=ids).logits.to(wide)
    tolerance = 1e-3 if student.dtype in (torch.float32, torch.float64) else 0.1
    if not (after - before).norm() <= tolerance * (before - before.mean()).norm():
        raise BadConfig("the LoRA, merged into the weights, says something else; take other layers with --target")


def _make_callback(progress: Progress, tokens: int, examples: int, config: SftConfig, processes: int) -> Any:
    """trl's callback that tells, after every pass, a pass's share of all tokens: which they are, it hides."""
    from transformers import TrainerCallback

    total, done = tokens * config.epochs, 0
    passes = -(-examples // (config.micro_batch * processes)) * config.epochs

    class Reporter(TrainerCallback):  # type: ignore[misc]
        def on_substep_end(self, *_: Any, **__: Any) -> None:
            nonlocal done
            if done < passes:
                progress.add_trained(total * (done + 1) // passes - total * done // passes)
            done += 1

        on_step_end = on_substep_end  # the last pass of a step

    progress.expect(total)
    return Reporter()
