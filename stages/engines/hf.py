"""The transformers engine: batched generation in process, with or without a PEFT adapter.

Simplified on purpose: one adapter answers at a time. Requests of the same adapter share a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList

from stages.engines.base import Completion, Request
from stages.engines.models import Device, adapter_config, load_model, load_tokenizer
from stages.engines.sampling import SeededSampling
from stages.engines.text import end_tokens, prompt_ids
from stages.failures import BadInput


class HFEngine:
    """Samples from a transformers model. `batch_size` is the most completions in one forward pass."""

    def __init__(self, model: str, *, device: Device = Device(), batch_size: int = 64) -> None:
        self.model = model
        self.batch_size = batch_size
        self.tokenizer = load_tokenizer(model)
        self.network = load_model(model, device)
        self.ends = end_tokens(self.tokenizer, self.network)
        self.network.generation_config = GenerationConfig()  # the request says how to sample, not the checkpoint
        self.slot = AdapterSlot(self.network)

    def sample(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions batch by batch; the requests of each adapter are answered together."""
        groups: dict[Path | None, list[Request]] = {}
        for request in requests:
            groups.setdefault(request.adapter, []).append(request)
        for adapter, group in groups.items():
            network = self.slot.use(adapter)
            for start in range(0, len(group), self.batch_size):
                yield from self._complete(network, group[start : start + self.batch_size])

    @torch.inference_mode()
    def _complete(self, network: Any, batch: Sequence[Request]) -> Iterator[Completion]:
        prompts = [prompt_ids(self.tokenizer, request.prompt) for request in batch]
        ids, mask = self._left_pad(prompts)  # (batch, longest prompt)
        samplers = SeededSampling([request.sampling for request in batch], ids.device)
        grown = network.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=self._settings(batch, ids.shape[1]),
            logits_processor=LogitsProcessorList([samplers]),
        )
        for request, row in zip(batch, grown[:, ids.shape[1] :].tolist(), strict=True):
            yield self._completion(request, row)

    def _left_pad(self, prompts: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        longest = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        return ids.to(self.network.device), mask.to(self.network.device)

    def _settings(self, batch: Sequence[Request], prompt_length: int) -> GenerationConfig:
        """Greedy over the processed scores, up to what was asked or what the model's context still holds."""
        context = getattr(self.network.config, "max_position_embeddings", None)
        asked = max(request.sampling.max_tokens for request in batch)
        room = asked if context is None else min(asked, context - prompt_length)
        if room < 1:
            raise BadInput(f"a prompt of {prompt_length} tokens leaves no room in {self.model}'s context of {context}")
        return GenerationConfig(
            max_new_tokens=room,
            do_sample=False,
            eos_token_id=sorted(self.ends),
            pad_token_id=self.tokenizer.pad_token_id,
        )

    def _completion(self, request: Request, row: Sequence[int]) -> Completion:
        """The row up to its end token, or cut at the request's own max_tokens."""
        stop = next((place for place, token in enumerate(row) if token in self.ends), len(row))
        kept = row[: min(stop, request.sampling.max_tokens)]
        text = self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        done = stop < len(row) and stop <= request.sampling.max_tokens
        return Completion(request.id, text, "stop" if done else "length", len(kept))


class AdapterSlot:
    """One PEFT slot on a model. Adapters of one shape take turns by weight copy; another shape rebuilds the slot."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.shape: dict[str, Any] | None = None
        self.wrapped: Any = None

    def use(self, path: Path | None) -> Any:
        """The model with this adapter, or the bare model for None. Raises MissingInput or BadInput for a bad one."""
        if path is None:
            self._clear()
            return self.network
        from peft import PeftModel, set_peft_model_state_dict
        from safetensors.torch import load_file

        shape = adapter_config(path)
        try:
            if shape != self.shape:
                self._clear()
                self.wrapped = PeftModel.from_pretrained(self.network, str(path)).eval()
                self.shape = shape
            else:
                set_peft_model_state_dict(self.wrapped, load_file(path / "adapter_model.safetensors"))
        except (RuntimeError, ValueError, OSError) as error:
            first = str(error).strip().split("\n", 1)[0]
            raise BadInput(f"adapter {path}: does not fit this model: {first}") from None
        return self.wrapped

    def _clear(self) -> None:
        if self.wrapped is not None:
            self.wrapped.unload()
        self.wrapped = self.shape = None
