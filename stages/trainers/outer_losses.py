"""What the outer update minimises, each as a trainer of trl: cross-entropy, preferences, cross-entropy by advantages.

sft        the completion's cross-entropy, mean over the tokens of a step (ReST-EM, SEAL section 3)
weighted   the same, each completion's times its weight; all weights 1 are sft (GRPO's step without ratio and clip:
           its first, where both are 1; arXiv 2402.03300 eq. 21)
dpo        -log sigmoid(beta (log p(chosen)/q(chosen) - log p(rejected)/q(rejected))), p the model, q the one before
           (arXiv 2305.18290 eq. 7); of a LoRA q is the model without it
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
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
    make = _make_preferring if config.loss == "dpo" else _make_completing
    data = [row.preference if config.loss == "dpo" else row.labelled for row in rows]
    common = {"train_dataset": Dataset.from_list(data), "processing_class": tokenizer, "peft_config": lora}
    trainer = make(network, tokenizer, config, _make_settings(config, network, scratch, team), common)
    if team.size > 1:
        share_out(trainer, count, config, team)
    return trainer


def _make_completing(
    network: Any, tokenizer: Any, config: SftConfig, settings: dict[str, Any], common: dict[str, Any]
) -> Any:
    """SFTTrainer, whose loss is the sum of weight · cross-entropy over the step's tokens, divided by their number.

    The targets' losses are taken a few words at a time, the prompt's not at all. trl does so on a GPU; elsewhere it has
    logits for every token, three times. Where that cannot be, as the output layer is trained or is not the model's end,
    the loss is trl's, or of the model's own logits where there are weights. `takes_trl_loss` tells which it is.
    """
    import torch
    from trl import SFTConfig, SFTTrainer

    weighted, on_cpu = config.loss == "weighted", network.device.type == "cpu"

    class CompletionTrainer(SFTTrainer):  # type: ignore[misc]
        head: Any = None  # the output layer, while the model is without it

        def train(self, *given: Any, **named: Any) -> Any:
            if not self.sets_head_aside:
                return super().train(*given, **named)
            with _without_head(network) as self.head:
                try:
                    return super().train(*given, **named)
                finally:
                    self.head = None

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            rest = {key: value for key, value in inputs.items() if key != "weight"}
            if self.head is None and not weighted:
                return super().compute_loss(model, rest, return_outputs, num_items_in_batch)
            targets = rest.pop("labels")[:, 1:]
            outputs = model(**rest, use_cache=False)
            kept = targets.ne(-100)
            weights = inputs["weight"][:, None].expand_as(targets)[kept]
            total = _sum_weighted(outputs.logits[:, :-1][kept], self.head, targets[kept], weights)
            count = kept.sum() if num_items_in_batch is None else num_items_in_batch
            loss = total / torch.as_tensor(count).clamp(min=1)
            if num_items_in_batch is not None:
                loss = loss * self.accelerator.num_processes  # it counts all tokens, and gradients are averaged
            return (loss, outputs) if return_outputs else loss

    args = SFTConfig(packing=False, remove_unused_columns=False, **settings)
    collate = partial(_collate, tokenizer, network.device)
    trainer = CompletionTrainer(model=network, args=args, data_collator=collate, **common)
    trainer.sets_head_aside = (weighted or on_cpu) and _ends_in_frozen_head(network)
    trainer.takes_trl_loss = not (weighted or trainer.sets_head_aside)
    trainer.model_accepts_loss_kwargs = True  # a step's tokens are counted over its passes, whatever the model takes
    return trainer


def _sum_weighted(found: Any, head: Any, targets: Any, weights: Any) -> Any:
    """Sum weight · cross-entropy over n targets of states (n, hidden) before a `head`, or of logits (n, vocabulary)."""
    import torch
    from torch.nn.functional import cross_entropy

    from stages.trainers.batched.chunked_loss import ChunkedCrossEntropy

    wide = torch.promote_types(found.dtype, torch.float32)
    if head is None:
        return (weights.to(wide) * cross_entropy(found.to(wide), targets, reduction="none")).sum()
    states = found.to(head.weight.dtype)  # autocast has widened them
    return ChunkedCrossEntropy.apply(states, head, targets, weights.to(wide))[0]  # type: ignore[no-untyped-call]


def _collate(tokenizer: Any, device: Any, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pad a pass of labelled rows, and add their weights (rows,)."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    plain = DataCollatorForLanguageModeling(pad_token_id=_find_pad(tokenizer))
    batch = plain([{key: row[key] for key in ("input_ids", "labels")} for row in rows])
    return {**batch, "weight": torch.tensor([row["weight"] for row in rows], dtype=get_widest_dtype(device))}


@contextmanager
def _without_head(network: Any) -> Iterator[Any]:
    """Take the output layer away, and yield it: what the model calls its logits are then the states before it."""
    import torch

    head = network.get_output_embeddings()
    owner, _, name = next(name for name, part in network.named_modules() if part is head).rpartition(".")
    parent = network.get_submodule(owner)
    setattr(parent, name, torch.nn.Identity())
    try:
        yield head
    finally:
        setattr(parent, name, head)


def _ends_in_frozen_head(network: Any) -> bool:
    """Return True if the logits are, bit for bit, what an output layer puts out that is not trained."""
    import torch

    head = network.get_output_embeddings()
    if type(head) is not torch.nn.Linear or any(weight.requires_grad for weight in head.parameters()):
        return False
    ids = torch.arange(min(4, len(head.weight)), device=network.device)[None]
    with torch.no_grad():
        logits = network(input_ids=ids, use_cache=False).logits
        try:
            with _without_head(network):
                states = network(input_ids=ids, use_cache=False).logits
            return torch.equal(head(states), logits)
        except (AttributeError, RuntimeError, TypeError):  # a model that reads its output layer's weights elsewhere
            return False


def _make_preferring(
    network: Any, tokenizer: Any, config: SftConfig, settings: dict[str, Any], common: dict[str, Any]
) -> Any:
    """DPOTrainer, which is given token ids: its own tokenizing would take control tokens in a text for such.

    A step's loss is the mean over its pairs. trl takes the mean over the passes, of which the last may be short.
    """
    from copy import deepcopy

    from trl import DPOConfig, DPOTrainer

    class PreferenceTrainer(DPOTrainer):  # type: ignore[misc]
        takes_trl_loss = True

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
        "seed": config.seed % 2**32,
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
