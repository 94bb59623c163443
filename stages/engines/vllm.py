"""The vLLM engine: continuous batching in this process, adapters of many requests at once.

Each of the samples of one prompt is a request with a seed of its own; they share the prompt through the prefix cache.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from stages.engines.vllm_start import (
    USE_HF,
    Sizes,
    check_fit,
    check_vllm,
    get_reason,
    get_weight_shapes,
    load_null_adapter,
    set_environment,
    silence,
    start_vllm,
    translate_errors,
)
from stages.errors import BadInput, OutOfMemory, SealError
from stages.interfaces import Completion, NullProgress, Probe, Progress, Request, group_by_adapter
from stages.models.config import get_context_length
from stages.models.device import Device, is_out_of_memory
from stages.models.loading import load_network, load_tokenizer
from stages.settings import Sampling
from stages.tokens.tokenization import (
    StopCheck,
    context_overflow,
    decode_completion,
    encode_prompt,
    get_stop_ids,
    limit_completion,
)

_LEAST_TOP_P = 1e-6  # keeps the likeliest token alone, as 0 does elsewhere; vLLM refuses 0


class VLLMEngine:
    """Samples with vLLM, whose state is the process's: one engine at a time. `batch_size`: most completions in work.

    `max_rank` is the largest rank among the adapters (None: there will be none), `slots` how many of them may be in
    one batch (their memory is reserved, and each costs a little in every step), `memory_fraction` the share of the
    device's memory that vLLM takes for itself; requests may have a schema where it is `structured`. Draws are vLLM's
    own: the same for the same seed, but not those of other engines.
    """

    def __init__(
        self,
        model: str,
        *,
        device: Device = Device(),
        batch_size: int = 256,
        max_rank: int | None = None,
        slots: int = 8,
        memory_fraction: float | None = None,
        structured: bool = False,
    ) -> None:
        check_vllm()
        set_environment()
        self.model = model
        self.sizes = Sizes(batch_size, max_rank, slots, memory_fraction, structured)
        self.tokenizer = load_tokenizer(model)
        skeleton, _ = load_network(model, device_map="meta")  # vLLM would not notice a missing half of fused layers
        self.ends = get_stop_ids(self.tokenizer, skeleton)
        self.weights = get_weight_shapes(skeleton)
        self.llm = start_vllm(model, device, self.sizes)
        most: int = self.llm.model_config.max_model_len
        self.context = min(most, get_context_length(skeleton.config) or most)
        self.numbers = count(1)  # of requests and adapters: none is used twice
        needs_blank = max_rank is not None and device.resolve()[0].type == "cpu"
        self.blank = load_null_adapter(self.llm, next(self.numbers), skeleton) if needs_blank else None
        self._warm_up()

    def sample(self, requests: Iterable[Request], progress: Progress = NullProgress()) -> Iterator[Completion]:
        """Yield completions as they finish: first those without an adapter, then by adapter, `slots` at a time."""
        known = list(requests)
        overflows = (context_overflow(self.tokenizer, request, self.context, self.model) for request in known)
        failed = {each.id: each for each in overflows if each}
        progress.begin_work(failed)
        yield from failed.values()
        progress.end_work(failed)
        groups = group_by_adapter(request for request in known if request.id not in failed)
        waiting = deque(request for group in groups.values() for request in group)
        flying: dict[str, Request] = {}
        loras: dict[Path, Any] = {}  # an adapter is read anew by each call
        try:
            while waiting or flying:
                self._top_up(waiting, flying, loras, progress)
                for key, row, finish in self._step(flying):
                    request = flying.pop(key)
                    progress.add_written(len(row))
                    yield self._completion(request, row, finish)
                    progress.end_work([request.id])
        finally:
            with suppress(Exception):  # a step that failed may have left vLLM unable to
                self.llm.abort_request(list(flying))

    def measure(self, probes: Sequence[Probe], adapter: Path | None) -> list[tuple[float, ...]]:
        """Return the log-probabilities of the probes' measured tokens: each is forced, behind those before it.

        vLLM 0.32 tells those of prompts, too, but not with an adapter: on a CPU it breaks.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        lora = self._load(adapter) if adapter else self.blank
        found, keys = dict[str, float](), list[list[str]]()
        for probe in probes:
            keys.append([str(next(self.numbers)) for _ in probe.ids[probe.first :]])
            for key, place in zip(keys[-1], range(probe.first, len(probe.ids)), strict=True):
                params = SamplingParams(
                    temperature=0.0,
                    max_tokens=1,
                    logprobs=0,  # of the token that is taken, as it was before others were ruled out
                    allowed_token_ids=[probe.ids[place]],
                    detokenize=False,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                )
                self.llm.add_request(key, {"prompt_token_ids": list(probe.ids[:place])}, params, lora_request=lora)
        with translate_errors(self.model, self.sizes):
            while self.llm.has_unfinished_requests():
                for each in self.llm.step():
                    (told,) = each.outputs[0].logprobs
                    found[each.request_id] = told[each.outputs[0].token_ids[0]].logprob
        return [tuple(found[key] for key in row) for row in keys]

    def _top_up(
        self, waiting: deque[Request], flying: dict[str, Request], loras: dict[Path, Any], progress: Progress
    ) -> None:
        """Hand requests over until vLLM has a full batch, of as many adapters as it has slots for."""
        in_work = {request.adapter for request in flying.values() if request.adapter}
        while waiting and len(flying) < self.sizes.batch_size:
            adapter = waiting[0].adapter
            if adapter and adapter not in in_work:
                if len(in_work) == self.sizes.slots:
                    return
                if adapter not in loras:
                    loras[adapter] = self._load(adapter)
                in_work.add(adapter)
            request = waiting.popleft()
            progress.begin_work([request.id])
            flying[self._ask(request, loras[adapter] if adapter else self.blank)] = request

    def _ask(self, request: Request, lora: Any) -> str:
        """Hand one request over. Returns the key of its answer."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        prompt, sampling, key = encode_prompt(self.tokenizer, request.prompt), request.sampling, str(next(self.numbers))
        params = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p or _LEAST_TOP_P,
            seed=sampling.seed,
            max_tokens=limit_completion(sampling, len(prompt), self.context, self.model),
            stop_token_ids=sorted(self.ends),
            ignore_eos=True,  # it knows no other end than these
            detokenize=False,
            output_kind=RequestOutputKind.CUMULATIVE if sampling.stop else RequestOutputKind.FINAL_ONLY,
            structured_outputs=StructuredOutputsParams(json=dict(request.schema)) if request.schema else None,
        )
        self.llm.add_request(key, {"prompt_token_ids": prompt}, params, lora_request=lora)
        return key

    def _step(self, flying: Mapping[str, Request]) -> list[tuple[str, list[int], str]]:
        """One token for every request in work. (key, tokens, why it ended) of those that this finished.

        Where a stop string ends a text we find out, by the tokens: vLLM gets no texts, and has no tokenizer.
        """
        with translate_errors(self.model, self.sizes):
            told = [(each.request_id, each.outputs[0], each.finished) for each in self.llm.step()]
        found = [(key, list(said.token_ids), said.finish_reason) for key, said, finished in told if finished]
        for key, said, finished in told:
            if not finished and key in flying and self._has_ended(flying[key], said.token_ids):
                self.llm.abort_request([key])
                found.append((key, list(said.token_ids), "stop"))
        return [each for each in found if each[0] in flying]  # what was broken off may be told once more

    def _has_ended(self, request: Request, row: Sequence[int]) -> bool:
        """Return True if the text has reached one of its stop strings."""
        check = StopCheck(self.tokenizer, request.sampling.stop)
        if not check.stops or not check.may_end(row[-check.tail_tokens :]):
            return False
        return self._completion(request, list(row), "length").finish == "stop"

    def _completion(self, request: Request, row: list[int], finish: str) -> Completion:
        if finish in ("stop", "length"):
            prompt, chat = encode_prompt(self.tokenizer, request.prompt), not isinstance(request.prompt, str)
            stops = request.sampling.stop
            return decode_completion(self.tokenizer, self.ends, request.id, row, prompt, stops, chat=chat)
        return Completion(request.id, "", "failed", None, f"vLLM ended it with {finish}")

    def _load(self, adapter: Path) -> Any:
        """Read an adapter into vLLM. Raises BadInput or MissingInput naming the directory."""
        from vllm.lora.peft_helper import PEFTHelper
        from vllm.lora.request import LoRARequest

        settings = check_fit(adapter, self.weights, self.model, self.sizes.max_rank).config
        patterns = settings.get("rank_pattern") or settings.get("alpha_pattern")
        if patterns and "rank_pattern" not in PEFTHelper.__dataclass_fields__:
            raise BadInput(f"adapter {adapter}: layers of different ranks, which this vLLM mistakes; take a newer one")
        number = next(self.numbers)
        lora = LoRARequest(str(number), number, str(adapter.absolute()))
        try:
            self.llm.add_lora(lora)
        except Exception as error:
            raise explain_refusal(adapter, error) from error
        return lora

    def close(self) -> None:
        """End vLLM's process, so that another engine may start in this one."""
        self.llm.engine_core.shutdown()

    def _warm_up(self) -> None:
        """Make one token, so that what vLLM cannot run here is said now, not in the middle of the work."""
        with silence():
            self._ask(Request("", "a", Sampling(0.0, 1.0, 1)), self.blank)
            while self.llm.has_unfinished_requests():
                self._step({})


def explain_refusal(adapter: Path, error: Exception) -> SealError:
    """Return what vLLM said when it failed to read this adapter."""
    if is_out_of_memory(error):
        return OutOfMemory(
            f"adapter {adapter}: no memory left for it ({get_reason(error)}); take a smaller --max-loras"
        )
    return BadInput(f"adapter {adapter}: vLLM cannot use it: {get_reason(error)}; {USE_HF}")
