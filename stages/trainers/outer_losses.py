"""What the outer update minimises, each as a trainer of trl: cross-entropy, preferences, cross-entropy by advantages.

sft        the completion's cross-entropy, mean over the tokens of a step (ReST-EM, SEAL section 3)
weighted   the same, each completion's times its weight; all weights 1 are sft (GRPO's step without ratio and clip:
           its first, where both are 1; arXiv 2402.03300 eq. 21)
dpo        -log sigmoid(beta (log p(chosen)/q(chosen) - log p(rejected)/q(rejected))), p the model, q the one before
           (arXiv 2305.18290 eq. 7); of a LoRA q is the model without it
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stages.errors import BadConfig
from stages.interfaces import Example
from stages.models.device import get_widest_dtype
from stages.models.devices.hardware import choose_dtype, describe_by_torch
from stages.settings import SftConfig
from stages.tokens.tokenization import Tokens, encode_example
from stages.trainers.team import Team, share_out


@dataclass(frozen=True)
class EncodedRow:
    """An example as tokens, and those of the completion that is rejected."""

    tokens: Tokens
    weight: float
    rejected: Tokens | None

    @property
    def length(self) -> int:
        """Tokens in a forward pass."""
        return len(self.tokens.ids) + (len(self.rejected.ids) if self.rejected else 0)

    @property
    def labelled(self) -> dict[str, Any]:
        """The row as trl's SFTTrainer takes it, with its weight."""
        return {"input_ids": list(self.tokens.ids), "labels": self.tokens.labels, "weight": self.weight}

    @property
    def preference(self) -> dict[str, list[int]]:
        """The row as trl's DPOTrainer has it behind its own tokenizer. Raise BadConfig where there are two prompts."""
        chosen, rejected = self.tokens, self.rejected
        if rejected is None:
            raise BadConfig("--loss dpo: an example without a rejected completion; run `seal filter --pairs`")
        prompt, other = chosen.ids[: chosen.prompt_tokens], rejected.ids[: rejected.prompt_tokens]
        if prompt != other:
            raise BadConfig("the chat template writes another prompt before chosen than before rejected; give texts")
        behind = {"chosen_ids": chosen.ids[len(prompt) :], "rejected_ids": rejected.ids[len(prompt) :]}
        return {"prompt_ids": list(prompt), **{key: list(ids) for key, ids in behind.items()}}


def encode_rows(tokenizer: Any, examples: Sequence[Example]) -> list[EncodedRow]:
    """Encode examples and what is rejected for them, each up to its end token."""

    def encode(example: Example) -> Tokens:
        return encode_example(tokenizer, example, end=True)

    return [
        EncodedRow(
            encode(each),
            each.weight,
            None if each.rejected is None else encode(replace(each, completion=each.rejected)),
        )
        for each in examples
    ]


def make_outer_trainer(
    network: Any,
    tokenizer: Any,
    rows: Sequence[EncodedRow],
    config: SftConfig,
    lora: Any,
    scratch: str,
    team: Team = Team(),
) -> Any:
    """Make trl's trainer of the loss that `config` names. `lora`: a peft config; None trains every weight."""
    from datasets import Dataset

    count = len(rows)
    if team.size > 1:
        ids = rows[0].tokens.ids[:1] * 2
        rows = [*rows, EncodedRow(Tokens(ids, len(ids)), 0.0, None)]  # without loss
    make = {"sft": _make_supervised, "weighted": _make_weighted, "dpo": _make_preferring}[config.loss]
    data = [row.preference if config.loss == "dpo" else row.labelled for row in rows]
    if config.loss == "sft":
        data = [{key: row[key] for key in ("input_ids", "labels")} for row in data]
    common = {"train_dataset": Dataset.from_list(data), "processing_class": tokenizer, "peft_config": lora}
    trainer = make(network, tokenizer, config, _make_settings(config, network, scratch, team), common)
    if team.size > 1:
        share_out(trainer, count, config, team)
    return trainer


def _make_supervised(
    network: Any, tokenizer: Any, config: SftConfig, settings: dict[str, Any], common: dict[str, Any]
) -> Any:
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(model=network, args=SFTConfig(packing=False, **settings), **common)


def _make_weighted(
    network: Any, tokenizer: Any, config: SftConfig, settings: dict[str, Any], common: dict[str, Any]
) -> Any:
    """SFTTrainer, whose loss is the sum of weight · cross-entropy over the step's tokens, divided by their number."""
    import torch
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    class WeightedTrainer(SFTTrainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            inner = {key: value for key, value in inputs.items() if key not in ("labels", "weight")}
            outputs, targets = model(**inner, use_cache=False), inputs["labels"][:, 1:]
            logits = outputs.logits[:, :-1].transpose(1, 2)
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            losses = torch.nn.functional.cross_entropy(wide, targets, reduction="none")  # 0 at -100; (rows, tokens)
            count = targets.ne(-100).sum() if num_items_in_batch is None else num_items_in_batch
            loss = (inputs["weight"][:, None].to(losses.dtype) * losses).sum() / torch.as_tensor(count).clamp(min=1)
            if num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes  # it counts all tokens, and gradients are averaged
            return (loss, outputs) if return_outputs else loss

    plain = DataCollatorForLanguageModeling(pad_token_id=_find_pad(tokenizer))

    wide = get_widest_dtype(network.device)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        batch = plain([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
        return {**batch, "weight": torch.tensor([row["weight"] for row in rows], dtype=wide)}

    args = SFTConfig(packing=False, remove_unused_columns=False, **settings)
    return WeightedTrainer(model=network, args=args, data_collator=collate, **common)


def _make_preferring(
    network: Any, tokenizer: Any, config: SftConfig, settings: dict[str, Any], common: dict[str, Any]
) -> Any:
    """DPOTrainer, which is given token ids: its own tokenizing would take control tokens in a text for such.

    A step's loss is the mean over its pairs. trl takes the mean over the passes, of which the last may be short.
    """
    from copy import deepcopy

    from trl import DPOConfig, DPOTrainer

    class PreferenceTrainer(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def get_batch_samples(self, *given: Any, **named: Any) -> Any:
            found = super().get_batch_samples(*given, **named)
            self.mean_rows = sum(len(each["input_ids"]) for each in found[0]) / max(1, len(found[0]))
            return found

        def compute_loss(self, model: Any, inputs: dict[str, Any], *given: Any, **named: Any) -> Any:
            return super().compute_loss(model, inputs, *given, **named) * (len(inputs["input_ids"]) / self.mean_rows)

    before = deepcopy(network).requires_grad_(False) if config.full else None  # of a LoRA it is without it
    return PreferenceTrainer(model=network, ref_model=before, args=DPOConfig(beta=config.beta, **settings), **common)


def _find_pad(tokenizer: Any) -> int:
    """Return the id that fills up a batch; no loss and no attention is on it."""
    return int(tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id)


def _make_settings(config: SftConfig, network: Any, scratch: str, team: Team) -> dict[str, Any]:
    """trl's settings of every loss, with its defaults that depend on the device set from the model itself."""
    import torch
    from trl import SFTConfig

    on_gpu = network.device.type != "cpu"
    mixes = config.full and choose_dtype(describe_by_torch(network.device))[0] == "bfloat16"  # beside float32 weights
    experts = {"router_aux_loss_coef": 0.0} if hasattr(SFTConfig, "router_aux_loss_coef") else {}  # trl 1.16
    return {
        "output_dir": scratch,
        "num_train_epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "per_device_train_batch_size": config.micro_batch,
        "gradient_accumulation_steps": config.batch_size // (config.micro_batch * team.size),
        "max_grad_norm": config.max_grad_norm,
        "lr_scheduler_type": "linear",
        "seed": config.seed,
        "bf16": on_gpu and (mixes or network.dtype == torch.bfloat16),
        "gradient_checkpointing": on_gpu,
        "use_cpu": not on_gpu,
        "max_length": None,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "ddp_find_unused_parameters": any("expert" in name for name, _ in network.named_parameters()),
        "report_to": [],
        "save_strategy": "no",
        **experts,  # the loss is on the completion only
    }
