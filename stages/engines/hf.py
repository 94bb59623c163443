"""The transformers engine: batched generation in process, the adapters of many requests in one batch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from stages.engines.hf_adapters import (
    AdapterBatch,
    AdapterSlot,
    LoraWeights,
    get_stackable_layers,
    make_batches,
    read_plain_lora,
)
from stages.engines.hf_decoding import Batching, PromptRow, complete, find_batching
from stages.engines.hf_likelihood import Measured, MeasuredRow, find_unmeasurable, make_measured_row, measure_rows
from stages.errors import BadConfig, BadInput, MissingInput, OutOfMemory
from stages.interfaces import Completion, Hear, NullProgress, Progress, Request, group_by_adapter
from stages.models.config import get_context_length
from stages.models.device import Device, release_unused_memory, suppress_out_of_memory
from stages.models.loading import load_model, load_tokenizer
from stages.models.stacked_lora import LoraStack, SlotRows
from stages.models.tuned_models import is_tuned_model, read_tuned_model
from stages.tokens.stop_strings import hold_back
from stages.tokens.tokenization import (
    StopCheck,
    context_overflow,
    decode_completion,
    encode_prompt,
    get_stop_ids,
    limit_completion,
)

_Assign = Callable[[Sequence[int]], object]  # told the adapter slot of each row before a batch is computed
_Row = PromptRow | MeasuredRow


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
        dtype = str(self.network.dtype).removeprefix("torch.")
        self.device = Device(str(self.network.device), dtype) if loaded else device
        self.ends = get_stop_ids(self.tokenizer, self.network)
        self.slot = AdapterSlot(self.network)
        self.context = get_context_length(self.network.config)
        self.batching: Batching | None = None  # tried when the first batch of several is made
        self.progress: Progress = NullProgress()
        self.hear: Hear | None = None

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Yield completions batch by batch: first those without an adapter, then many adapters at a time.

        What names a whole model instead of an adapter is asked of that, one model after the other. A prompt that
        leaves no room in the model's context fails alone, and so do the requests of an adapter that cannot be used.
        The likelihood of a continuation is told, too; no call mixes both.
        """
        self.progress = progress
        groups = group_by_adapter(requests)
        tuned = {path: groups.pop(path) for path in [*groups] if path and is_tuned_model(path)}
        for group in groups.values():
            failed = {each.id: each for each in map(self._find_overflow, group) if each}
            progress.begin_work(failed)
            yield from failed.values()
            progress.end_work(failed)
            group[:] = [request for request in group if request.id not in failed]
        if self.batching is None and min(self.batch_size, sum(map(len, groups.values()))) > 1:
            self._try_batching()
        yield from self._sample_one(None, groups.pop(None))
        unstacked: list[Path | None] = []
        for batch in make_batches(self._read_stackable(groups, unstacked), lambda: self.batch_size):
            yield from self._sample_stacked(batch)
        for adapter in unstacked:
            yield from self._sample_one(adapter, groups[adapter])
        for path, group in tuned.items():
            yield from self._sample_tuned(path, group)

    def _find_overflow(self, request: Request) -> Completion | None:
        find = context_overflow if request.continuation is None else find_unmeasurable
        return find(self.tokenizer, request, self.context, self.model)

    def _sample_tuned(self, path: Path, group: Sequence[Request]) -> Iterator[Completion]:
        """The requests of a model in an adapter's place, which lies beside ours in memory for so long."""
        try:
            read_tuned_model(path)
            engine = HFEngine(str(path), device=self.device, batch_size=self.batch_size)
            engine.hear = self.hear
        except OutOfMemory:
            told = f"does not fit into the memory beside {self.model}; take --dtype bfloat16"
            raise OutOfMemory(f"adapter {path}: a whole model, and {told}") from None
        except (BadConfig, BadInput, MissingInput) as error:
            yield from self._fail(group, error)
            return
        yield from engine.sample([replace(request, adapter=None) for request in group], self.progress)

    def _fail(self, group: Sequence[Request], error: Exception) -> Iterator[Completion]:
        self.progress.begin_work(request.id for request in group)
        yield from (Completion(request.id, "", "failed", None, error=str(error)) for request in group)
        self.progress.end_work(request.id for request in group)

    def _try_batching(self) -> None:
        self.batching = find_batching(self.network, self.ends, self.tokenizer.pad_token_id)
        if self.batching != "any":
            which = "prompts of one length together" if self.batching == "equal" else "one prompt at a time"
            self.progress.note(f"other prompts in a batch change what this model says: it completes {which}")

    def _read_stackable(
        self, groups: Mapping[Path | None, Sequence[Request]], unstacked: list[Path | None]
    ) -> Iterator[tuple[LoraWeights, Sequence[Request]]]:
        """Read one adapter after the other. Those that cannot share a batch are put on the list `unstacked`."""
        linear = get_stackable_layers(self.network)
        for adapter, group in groups.items():
            lora = None
            with suppress(BadInput, MissingInput, OSError):  # said when it is asked alone
                lora = read_plain_lora(adapter, linear) if adapter and self._fits(None) else None
            if lora is None:
                unstacked.append(adapter)
            else:
                yield lora, group

    def _sample_one(self, adapter: Path | None, group: Sequence[Request]) -> Iterator[Completion]:
        """The requests of one adapter, or of the model as it is."""
        try:
            network = self.slot.use(adapter)
        except (BadInput, MissingInput) as error:
            yield from self._fail(group, error)
            return
        try:
            waiting = iter(group)
            while batch := list(islice(waiting, self.batch_size)):  # which may shrink meanwhile
                yield from self._complete(network, batch, [0] * len(batch), lambda slots: None)
                self.progress.end_work(request.id for request in batch)
        finally:
            self.slot.use(None)

    def _sample_stacked(self, batch: AdapterBatch) -> Iterator[Completion]:
        """One batch of several adapters, stacked on the model; half of them at a time where the stack does not fit."""
        completions = None
        with suppress_out_of_memory():
            completions = self._complete_stacked(batch)
        if completions is None:
            half = len(batch) // 2
            if not half:
                path = batch[0][1][0].adapter
                raise OutOfMemory(f"adapter {path}: does not fit into the device's memory; take --dtype bfloat16")
            self._shrink(sum(len(own) for _, own in batch))
            yield from self._sample_stacked(batch[:half])
            yield from self._sample_stacked(batch[half:])
            return
        yield from completions
        self.progress.end_work(request.id for _, own in batch for request in own)

    def _complete_stacked(self, batch: AdapterBatch) -> list[Completion]:
        (first, _), count = batch[0], len(batch)
        requests = [request for _, own in batch for request in own]
        slots = [slot for slot, (_, own) in enumerate(batch) for _ in own]
        with LoraStack(self.network, first.layers, rank=first.rank, slots=count) as stack:
            for slot, (lora, _) in enumerate(batch):
                stack.load_slot(slot, lora.state, lora.scale)

            def assign(own: Sequence[int]) -> None:
                stack.layout = SlotRows.of(own, count, stack.device)

            stack.set_weights(count, SlotRows.of(slots, count, stack.device))
            return list(self._complete(self.network, requests, slots, assign))

    def _complete(
        self, network: Any, batch: Sequence[Request], slots: Sequence[int], assign: _Assign
    ) -> Iterator[Completion]:
        """The requests in one batch, or in parts where memory, the context or the model asks for it."""
        rows = [self._encode(request) for request in batch]
        waiting, begun = deque(self._group(rows)), set[int]()
        while waiting:
            part = waiting.popleft()
            texts = None
            if self._may_share([rows[place] for place in part]):
                self.progress.begin_work(batch[place].id for place in part if place not in begun)
                begun.update(part)
                assign([slots[place] for place in part])
                texts = self._compute(network, [rows[place] for place in part], [batch[place] for place in part])
            if texts is None:
                half = -(-len(part) // 2)
                waiting.extendleft((part[half:], part[:half]))
                continue
            for place, text in zip(part, texts, strict=True):
                yield self._tell(batch[place], rows[place], text)

    def _encode(self, request: Request) -> _Row:
        if request.continuation is not None:
            return make_measured_row(self.tokenizer, request)
        prompt = encode_prompt(self.tokenizer, request.prompt)
        room = limit_completion(request.sampling, len(prompt), self.context, self.model)
        stops, chat = request.sampling.stop, not isinstance(request.prompt, str)
        check = StopCheck(self.tokenizer, stops, prompt, chat) if stops else None
        return PromptRow(prompt, room, request.sampling, check)

    def _tell(self, request: Request, row: _Row, found: Sequence[int] | Measured | None) -> Completion:
        """The completion of what was computed: tokens, or a log-probability; None: of broken logits."""
        if found is None:
            return Completion(request.id, "", "failed", None, error=self._explain_not_finite(request.adapter))
        if isinstance(found, Measured):
            text = request.continuation or ""
            measured = Completion(
                request.id, text, "stop", None, log_probability=found.mean, prompt_tokens=len(row.prompt)
            )
            return replace(measured, token_log_probabilities=found.tokens)
        chat = not isinstance(request.prompt, str)
        stops = request.sampling.stop
        return decode_completion(self.tokenizer, self.ends, request.id, found, row.prompt, stops, chat=chat)

    def _group(self, rows: Sequence[_Row]) -> list[Sequence[int]]:
        """The places of all rows, or of those whose prompts are equally long, shortest first."""
        if self.batching != "equal":
            return [range(len(rows))]
        places: dict[int, list[int]] = {}
        for place in sorted(range(len(rows)), key=lambda place: len(rows[place].prompt)):
            places.setdefault(len(rows[place].prompt), []).append(place)
        return list(places.values())

    def _may_share(self, rows: Sequence[_Row]) -> bool:
        """True if these rows may be one batch."""
        if len(rows) == 1:
            return True
        fits = self._fits(max(len(row.prompt) for row in rows) + max(row.limit for row in rows))
        return fits and len(rows) <= self.batch_size and self.batching != "none"

    def _fits(self, length: int | None) -> bool:
        """True if a batch may grow so long. Rotary positions never end: rows past their own limit are just cut."""
        rotary = hasattr(self.network.config.get_text_config(), "rope_parameters")
        return rotary or self.context is None or (length is not None and length <= self.context)

    def _compute(
        self, network: Any, rows: Sequence[_Row], requests: Sequence[Request]
    ) -> Sequence[Sequence[int] | Measured | None] | None:
        """The tokens after each prompt, or how likely its continuation is; None for broken logits.

        None for all where memory ran out.
        """
        pad = self.tokenizer.pad_token_id
        with suppress_out_of_memory():
            if measured := [row for row in rows if isinstance(row, MeasuredRow)]:
                told = measure_rows(network, measured, pad)
                self.progress.add_written(sum(row.tokens for row in measured), len(measured))
                return told
            asked = [row for row in rows if isinstance(row, PromptRow)]
            see = (lambda texts: self._let_hear(requests, rows, texts)) if self.hear else None
            return complete(network, asked, ends=self.ends, pad=pad, report=self.progress.add_written, see=see)
        if len(rows) == 1:
            raise OutOfMemory(
                f"a prompt of {len(rows[0].prompt)} tokens and up to {rows[0].limit} after it do not fit into the "
                "device's memory; take a smaller --max-tokens, or --dtype bfloat16"
            )
        self._shrink(len(rows))
        return None

    def _let_hear(self, requests: Sequence[Request], rows: Sequence[_Row], texts: Sequence[Sequence[int]]) -> None:
        """Tell what each request has so far, without the half of a character, or of a stop string, at its end."""
        for request, row, text in zip(requests, rows, texts, strict=True):
            if self.hear:
                said = self._tell(request, row, text)
                shown = said.text.rstrip("\ufffd")
                self.hear(request.id, shown if said.finish == "stop" else hold_back(shown, request.sampling.stop))

    def _shrink(self, rows: int) -> None:
        """Take half of so many rows at a time from here on."""
        release_unused_memory()
        self.batch_size = -(-rows // 2)
        self.progress.note(f"memory ran out: from here on {self.batch_size} completions at a time (see --batch)")

    def _explain_not_finite(self, adapter: Path | None) -> str:
        what = f"with adapter {adapter}" if adapter else self.model
        way = "take another copy" if self.network.dtype == torch.float32 else "take another copy, or --dtype float32"
        return f"the logits of the model {what} are not finite, so that it says nothing: its weights are broken; {way}"
