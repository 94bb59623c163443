"""The transformers engine: batched generation in process, the adapters of many requests in one batch."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from stages.engines.hf_adapters import (
    AdapterBatch,
    LoraWeights,
    UnequalRows,
    assign_rows,
    get_stackable_layers,
    make_batches,
    read_plain_lora,
)
from stages.engines.hf_decoding import Company, Lay, Row, company, complete, decodable, left_padded
from stages.engines.hf_sampling import SeededSampling
from stages.errors import BadInput, MissingInput, OutOfMemory, SealError
from stages.interfaces import Completion, NullProgress, Progress, Request
from stages.models.checkpoints import context_of
from stages.models.inspection import adapter_config
from stages.models.loading import Device, load_model, load_tokenizer
from stages.models.stacked_lora import Stack
from stages.tokens.tokenization import decoded, end_tokens, prompt_ids, token_limit, without_room
from stages.trainers.batched.memory import out_of_memory


class HFEngine:
    """Samples from a transformers model. `batch_size` is the most completions in one forward pass.

    `loaded` is a (tokenizer, network) that is in memory already; the model is then only a name.
    """

    def __init__(
        self,
        model: str,
        *,
        device: Device = Device(),
        batch_size: int = 64,
        loaded: tuple[Any, Any] | None = None,
    ) -> None:
        self.model = model
        self.batch_size = batch_size
        self.tokenizer, self.network = loaded or (load_tokenizer(model), load_model(model, device))
        self.ends = end_tokens(self.tokenizer, self.network)
        self.slot = AdapterSlot(self.network)
        self.decodable = decodable(self.network)
        self.company: dict[bool, Company] = {}  # which prompts may share a batch, by our loop or transformers' own
        self.progress: Progress = NullProgress()
        self.in_work: set[str] = set()  # requests that are in the log of work

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Completions batch by batch: first those without an adapter, then many adapters at a time.

        A prompt that leaves no room in the model's context fails alone, and so do the requests of an adapter that
        cannot be used.
        """
        self.progress = progress
        groups: dict[Path | None, list[Request]] = {None: []}
        for request in requests:
            failed = without_room(self.tokenizer, request, self._context, self.model)
            if failed:
                yield failed
            else:
                groups.setdefault(request.adapter, []).append(request)
        yield from self._alone(None, groups.pop(None))
        left: list[Path | None] = []
        for batch in make_batches(self._stackable(groups, left), self.batch_size):
            yield from self._together(batch)
        for adapter in left:
            yield from self._alone(adapter, groups[adapter])

    def _stackable(
        self, groups: Mapping[Path | None, Sequence[Request]], left: list[Path | None]
    ) -> Iterator[tuple[LoraWeights, Sequence[Request]]]:
        """Adapters that can share a batch, read one after the other; the others are put on the list `left`."""
        linear = get_stackable_layers(self.network)
        for adapter, group in groups.items():
            lora = None
            with suppress(BadInput, MissingInput, OSError):  # said when it is asked alone
                lora = read_plain_lora(adapter, linear) if adapter and self._fits(None) else None
            if lora is None:
                left.append(adapter)
            else:
                yield lora, group

    def _alone(self, adapter: Path | None, group: Sequence[Request]) -> Iterator[Completion]:
        """The requests of one adapter, or of the model as it is."""
        try:
            network = self.slot.use(adapter)
        except (BadInput, MissingInput) as error:
            self._begin(group)
            yield from (Completion(request.id, "", "failed", None, error=str(error)) for request in group)
            self._settle(group)
            return
        try:
            for start in range(0, len(group), self.batch_size):
                batch = group[start : start + self.batch_size]
                yield from self._complete(network, batch, [0] * len(batch), lambda slots: None)
                self._settle(batch)
        finally:
            self.slot.use(None)

    def _together(self, batch: AdapterBatch) -> Iterator[Completion]:
        """One batch of several adapters, stacked on the model."""
        (first, _), count = batch[0], len(batch)
        requests = [request for _, own in batch for request in own]
        slots = [slot for slot, (_, own) in enumerate(batch) for _ in own]
        if len(requests) > 1:
            self._company(self.network)  # tried without the stack
        with Stack(self.network, first.layers, rank=first.rank, slots=count) as stack:
            for slot, (lora, _) in enumerate(batch):
                stack.load(slot, lora.state, lora.scale)
            stack.lay(count, UnequalRows.of(slots, count, stack.device))
            completions = list(self._complete(self.network, requests, slots, partial(assign_rows, stack, count)))
        yield from completions
        self._settle(requests)

    def _begin(self, batch: Sequence[Request]) -> None:
        """Tells who looks on, once: not again of the halves of a batch that did not fit."""
        begun = [request.id for request in batch if request.id not in self.in_work]
        self.in_work.update(begun)
        self.progress.begin_work(begun)

    def _settle(self, batch: Sequence[Request]) -> None:
        """Whoever asked has all the completions."""
        self.in_work.clear()
        self.progress.end_work(request.id for request in batch)

    def _complete(self, network: Any, batch: Sequence[Request], slots: Sequence[int], lay: Lay) -> Iterator[Completion]:
        """The requests in one batch, or in parts where memory, the context or a model that sees pads asks for it."""
        prompts = [prompt_ids(self.tokenizer, request.prompt) for request in batch]
        rooms = zip(batch, prompts, strict=True)
        limits = [token_limit(each.sampling, len(prompt), self._context, self.model) for each, prompt in rooms]
        most = self.batch_size if self._fits(max(map(len, prompts)) + max(limits)) else 1
        rows = [Row(*row) for row in zip(prompts, limits, slots, strict=True)]
        lengths, together = sorted(set(map(len, prompts))), self._company(network) if len(batch) > 1 else "any"
        if together == "equal" and len(lengths) > 1:
            for length in lengths:
                part = [place for place, prompt in enumerate(prompts) if len(prompt) == length]
                yield from self._complete(network, [batch[i] for i in part], [slots[i] for i in part], lay)
            return
        most = 1 if together == "none" else most
        texts = None
        if len(batch) <= most:
            self._begin(batch)
            texts = self._texts(network, rows, batch, lay)
        if texts is None:
            half = min(most, -(-len(batch) // 2))
            for piece in (slice(None, half), slice(half, None)):
                yield from self._complete(network, batch[piece], slots[piece], lay)
            return
        for request, prompt, text in zip(batch, prompts, texts, strict=True):
            if text is None:
                yield Completion(request.id, "", "failed", None, error=self._not_finite(request.adapter))
                continue
            yield decoded(self.tokenizer, self.ends, request.id, text, prompt, chat=not isinstance(request.prompt, str))

    def _not_finite(self, adapter: Path | None) -> str:
        what = f"with adapter {adapter}" if adapter else self.model
        way = "take another copy" if self.network.dtype == torch.float32 else "take another copy, or --dtype float32"
        return f"the logits of the model {what} are not finite, so that it says nothing: its weights are broken; {way}"

    def _texts(
        self, network: Any, rows: Sequence[Row], batch: Sequence[Request], lay: Lay
    ) -> list[list[int] | None] | None:
        """The tokens after each prompt, None for those of broken logits.

        None for all where memory ran out: then smaller batches from here on.
        """
        samplers = SeededSampling([request.sampling for request in batch], self.network.device)
        try:
            if self._is_ours(network):
                pad, share = self.tokenizer.pad_token_id, self.company.get(True, "any") == "any"
                tell = self.progress.add_written
                texts = complete(network, rows, samplers, ends=self.ends, pad=pad, lay=lay, tell=tell, share=share)
            else:
                lay([row.slot for row in rows])
                texts = self._generate(network, rows, [samplers, self._tell])
            return [None if place in samplers.broken else text for place, text in enumerate(texts)]
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
        self._shrink(rows)
        return None

    def _is_ours(self, network: Any) -> bool:
        """Whether our own loop completes: not with what peft has put around the model."""
        return self.decodable and network is self.network

    def _company(self, network: Any) -> Company:
        """Which prompts may share a batch: tried once, on what will be used."""
        ours = self._is_ours(network)
        if ours not in self.company:
            pad = self.tokenizer.pad_token_id

            def run(rows: Sequence[Row], sampler: Any) -> object:
                if ours:
                    return complete(network, rows, sampler, ends=(), pad=pad, lay=lambda slots: None)
                return self._generate(network, rows, [sampler])

            self.company[ours] = found = company(run, network, self.ends)
            if found != "any":
                which = "prompts of one length together" if found == "equal" else "one prompt at a time"
                self.progress.note(f"other prompts in a batch change what this model says: it completes {which}")
        return self.company[ours]

    def _shrink(self, rows: Sequence[Row]) -> None:
        if self.network.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(rows) == 1:
            raise OutOfMemory(
                f"a prompt of {len(rows[0].prompt)} tokens and up to {rows[0].limit} after it do not fit into the "
                "device's memory; take a smaller --max-tokens, or --dtype bfloat16"
            )
        self.batch_size = -(-len(rows) // 2)
        self.progress.note(f"memory ran out: from here on {self.batch_size} completions at a time (see --batch)")

    @torch.inference_mode()
    def _generate(self, network: Any, rows: Sequence[Row], processors: Sequence[Any]) -> list[list[int]]:
        """The tokens after each prompt by transformers' own loop, where ours is not for the model: greedy."""
        pad = self.tokenizer.pad_token_id
        ids, mask = left_padded([row.prompt for row in rows], pad, self.network.device)  # (rows, longest prompt)
        settings = GenerationConfig(
            max_new_tokens=max(row.limit for row in rows),
            do_sample=False,
            eos_token_id=sorted(self.ends),
            pad_token_id=pad,
        )
        own, self.network.generation_config = self.network.generation_config, GenerationConfig()
        try:  # the request says how to sample, not the checkpoint
            grown = network.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=settings,
                logits_processor=LogitsProcessorList(processors),
            )
        finally:
            self.network.generation_config = own
        return [text[: row.limit] for text, row in zip(grown[:, ids.shape[1] :].tolist(), rows, strict=True)]

    def _tell(self, ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """A processor of logits that only looks on: each row gets another token."""
        self.progress.add_written(len(ids))
        return logits

    @property
    def _context(self) -> int | None:
        return context_of(self.network.config)

    def _fits(self, length: int | None) -> bool:
        """Whether a batch may grow this long. Rotary positions never end: rows past their own limit are just cut."""
        rotary = hasattr(self.network.config.get_text_config(), "rope_parameters")
        return rotary or self._context is None or (length is not None and length <= self._context)


class AdapterSlot:
    """One PEFT slot on a model. Adapters of one shape take turns by weight copy; another shape rebuilds the slot."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.shape: dict[str, Any] | None = None
        self.wrapped: Any = None
        self.biases: dict[str, torch.Tensor] = {}  # the model's own, where an adapter brings others

    def use(self, path: Path | None) -> Any:
        """The model with this adapter, or the bare model for None. Raises MissingInput or BadInput for a bad one."""
        if path is None:
            self._clear()
            return self.network
        shape = adapter_config(path)
        try:
            if shape != self.shape:
                self._rebuild(path, shape)
            self._load(path)
        except Exception as error:  # peft has many classes for what it cannot read
            self._clear()
            if isinstance(error, SealError | MemoryError | torch.OutOfMemoryError):
                raise
            kind = "" if isinstance(error, RuntimeError | ValueError | OSError) else f"{type(error).__name__}: "
            first = " ".join(str(error).split())[:200]
            raise BadInput(f"adapter {path}: does not fit this model: {kind}{first}") from None
        return self.wrapped

    def _rebuild(self, path: Path, shape: dict[str, Any]) -> None:
        from peft import PeftConfig, get_peft_model

        self._clear()
        settings = PeftConfig.from_pretrained(str(path))
        unknown = sorted(key for key, value in shape.items() if value and not hasattr(settings, key))
        if unknown:  # peft would leave them out, and answer with another adapter
            raise BadInput(f"adapter {path}: this peft does not know its {unknown[0]}; pip install -U peft")
        if shape.get("bias", "none") != "none":
            own = self.network.named_parameters()
            self.biases = {name: weight.detach().clone() for name, weight in own if name.endswith("bias")}
        settings.base_model_name_or_path = None  # peft warns where the model has moved since
        self.wrapped = get_peft_model(self.network, settings).eval()
        self.shape = shape

    def _load(self, path: Path) -> None:
        """Copies the adapter's weights into the slot. Raises ValueError where the two do not cover each other."""
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        loaded = set_peft_model_state_dict(self.wrapped, load_file(path / "adapter_model.safetensors"))
        missing = [key for key in loaded.missing_keys if self.wrapped.base_model.prefix in key]
        if missing or loaded.unexpected_keys:
            raise ValueError(f"no weight for {missing[0]}" if missing else f"no layer for {loaded.unexpected_keys[0]}")

    def _clear(self) -> None:
        if self.wrapped is not None:
            own = {  # peft leaves the adapter's copies of whole layers (modules_to_save) in the model
                name: layer.original_module
                for name, layer in self.network.named_modules()
                if hasattr(layer, "original_module")
            }
            self.wrapped.unload()
            for name, layer in own.items():
                self.network.set_submodule(name, layer)
        for name, weight in self.biases.items():  # peft writes biases into the model and leaves them there
            self.network.get_parameter(name).requires_grad_(False).copy_(weight)
        self.wrapped, self.shape, self.biases = None, None, {}
