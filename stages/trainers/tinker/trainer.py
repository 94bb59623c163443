"""The tinker trainer: LoRAs trained by a service, step by step as `peft` trains them here, and fetched as directories.

Ours are the rows, their order, the loss of each token and the rate of each step; the service has the model, the first
weights (from our seed, by its own generator) and AdamW. A training that the service loses begins anew.
"""

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stages.errors import BadConfig, BadInput, Unavailable
from stages.files import check_space, partial_directory
from stages.interfaces import FitJob, FitResult, NullProgress, Progress, make_failed_result
from stages.models.adapter_checks import UNKNOWN_WEIGHTS
from stages.models.config import load_config
from stages.models.loading import load_tokenizer
from stages.models.lora_targets import ALL_LINEAR
from stages.services.background import run_in_background
from stages.services.tinker import GivenUp, Lost, Refused, RemoteModel, TinkerService, make_datum
from stages.settings import FitConfig
from stages.tokens.tokenization import Tokens
from stages.trainers.adapter_files import SETTINGS_BYTES, AdapterBase, write_adapter
from stages.trainers.jobs import ActiveJob, encode_jobs
from stages.trainers.tinker.archive import SLACK_BYTES, Shapes, count_bytes, read_archive

_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}  # HF Trainer's, as the local trainers; the protocol's are others
_ATTEMPTS = 3  # at a training that the service loses
_ENOUGH = 3  # trainings that fail there while none succeeds
_SEEDS = 2**31  # a service's generator may take no more
_Put = Callable[[Callable[[], None] | FitResult], None]


class TinkerTrainer:
    """Trains at most `slots` adapters at a time on the service's `base_model`; `model` is read for its tokens."""

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        base_model: str | None = None,
        slots: int = 16,
        key: str | None = None,
        timeout_s: float = 600.0,
        retry_for_s: float = 300.0,
    ) -> None:
        self.model, self.base_model, self.slots = model, base_model or model, slots
        self.tokenizer = load_tokenizer(model)
        self.network = make_blank_model(model)
        self.base = replace(AdapterBase.of(model), weights=UNKNOWN_WEIGHTS)  # the service's may be others
        self._connect = partial(
            TinkerService, base_url, key=key, concurrency=slots + 1, timeout_s=timeout_s, retry_for_s=retry_for_s
        )
        self._progress: Progress = NullProgress()
        self._succeeded, self._failures, self._refused = 0, list[Exception](), list[FitResult]()

    def fit(self, jobs: Iterable[FitJob], progress: Progress = NullProgress()) -> Iterator[FitResult]:
        """Yield one result per job as it finishes, after its directory is complete. Reads all jobs first.

        Raise Unavailable in the end for jobs that the service failed at; the results of the others come before.
        """
        fine = yield from encode_jobs(self.tokenizer, self.network, jobs)
        progress.expect(sum(each.tokens for each in fine))
        for each in fine[:1]:  # its size stands for all
            needed = len(fine) * (count_bytes(find_shapes(self.network, each.job.config)) + SETTINGS_BYTES)
            check_space(each.job.out.parent, needed, f"{len(fine)} adapters")
        self._progress, self._succeeded, self._failures, self._refused = progress, 0, [], []
        for found in run_in_background(partial(self._run, fine)) if fine else ():
            if isinstance(found, FitResult):
                yield found
            else:
                found()

    async def _run(self, jobs: Sequence[ActiveJob], put: _Put) -> None:
        service = self._connect(note=lambda text: put(partial(self._progress.note, text)))
        self._memory = asyncio.Lock()  # holds one adapter at a time
        free = asyncio.Semaphore(self.slots)
        alive = asyncio.create_task(service.keep_alive())
        try:
            await service.check_model(self.base_model)
            async with asyncio.TaskGroup() as tasks:
                for job in jobs:
                    tasks.create_task(self._train(service, free, job, put))
        finally:
            alive.cancel()
            await service.close()
        self._release(put)
        if self._failures:
            raise self._make_unavailable(service)

    def _make_unavailable(self, service: TinkerService) -> Unavailable:
        told = f"{service.base}: {len(self._failures)} trainings failed there ({self._failures[0]})"
        return Unavailable(f"{told}; the same command tries them again")

    async def _train(self, service: TinkerService, free: asyncio.Semaphore, active: ActiveJob, put: _Put) -> None:
        """Train one job; what became of it is given on, or kept for the end."""
        async with free:
            put(partial(self._progress.begin_work, [active.job.id]))
            try:
                put(await self._try(service, active, put))
            except Refused as refused:
                self._refuse(service, active.job, str(refused), put)
            except (Lost, GivenUp) as error:
                self._failures.append(error)
                if len(self._failures) >= _ENOUGH and not self._succeeded:
                    raise self._make_unavailable(service) from None
            else:
                self._succeeded += 1
                self._release(put)

    async def _try(self, service: TinkerService, active: ActiveJob, put: _Put) -> FitResult:
        """Train one job, again from its start where the service loses it. Raise what the last attempt raises."""
        counted = 0

        def count(tokens: int) -> None:  # what is done a second time is not more work done
            nonlocal counted
            if tokens > counted:
                put(partial(self._progress.add_trained, tokens - counted))
                counted = tokens

        for _ in range(_ATTEMPTS - 1):
            try:
                return await self._fit(service, active, count)
            except Lost as lost:
                put(partial(self._progress.note, f"{service.base}: lost a training ({lost}); it begins anew"))
        return await self._fit(service, active, count)

    def _refuse(self, service: TinkerService, job: FitJob, told: str, put: _Put) -> None:
        """Give the result of a job that the service will not train, as soon as another one ends in another way.

        Raise BadConfig where it refuses the first ones in the same words.
        """
        self._refused.append(make_failed_result(job, f"the service refuses this training: {told}"))
        alike = {result.error for result in self._refused} == {self._refused[0].error}
        if not self._succeeded and alike and len(self._refused) >= _ENOUGH:
            raise BadConfig(f"{service.base}: refuses every training in the same words ({told}); change what they name")
        if self._succeeded or not alike:
            self._release(put)

    def _release(self, put: _Put) -> None:
        for result in self._refused:
            put(result)
        self._refused.clear()

    async def _fit(self, service: TinkerService, active: ActiveJob, count: Callable[[int], None]) -> FitResult:
        """Train a job from its start."""
        job, config, tokens = active.job, active.job.config, 0
        active.losses.clear()
        shapes = find_shapes(self.network, config)
        asked = choose_parts(split_layers(self.network), config.targets)
        lora: dict[str, Any] = {"rank": config.rank, "seed": job.seed % _SEEDS, "train_unembed": False}
        lora |= {f"train_{part}": part in asked for part in ("attn", "mlp")}
        model = await service.create_model(self.base_model, lora)
        try:
            adam = {**_ADAM, "weight_decay": config.weight_decay, "grad_clip_norm": config.max_grad_norm}
            while not active.is_done:
                batch, share = active.get_next_batch()
                _check_skyrl(service, config)
                loss = await _take_step(model, batch, share, {**adam, "learning_rate": active.get_next_rate()})
                _check_skyrl(service, config)
                active.losses.append(torch.tensor(loss, dtype=torch.float64))
                tokens += sum(len(each.ids) for each in batch)
                count(tokens)
                if not math.isfinite(loss):  # and so are all that follow
                    active.losses += active.losses[-1:] * (len(active.steps) - len(active.losses))
                    return active.finish((), lambda: job.out)
            return await self._fetch(service, model, active, shapes)
        finally:
            await service.leave(model.name)

    async def _fetch(self, service: TinkerService, model: RemoteModel, active: ActiveJob, shapes: Shapes) -> FitResult:
        """Fetch the weights of a model there and write them as an adapter."""
        with partial_directory(active.job.out) as folder:
            await model.save(active.job.id, folder / "archive", count_bytes(shapes) + SLACK_BYTES)
            async with self._memory:
                work = asyncio.ensure_future(asyncio.to_thread(self._finish, service.base, active, folder, shapes))
                try:
                    return await asyncio.shield(work)
                finally:
                    await asyncio.wait([work])  # also where it is cancelled: it writes into the folder

    def _finish(self, base: str, active: ActiveJob, folder: Path, shapes: Shapes) -> FitResult:
        """Look at fetched weights as at any stranger's, and write them as ours."""
        job, inside = active.job, folder / "unpacked"
        inside.mkdir()
        try:
            state = read_archive(folder / "archive", inside, shapes, job.config.alpha, base)
        except BadInput as error:
            raise Lost(str(error)) from None
        return active.finish(
            state.values(), partial(write_adapter, job.out, state, job.config, list(shapes), self.base)
        )


def _check_skyrl(service: TinkerService, config: FitConfig) -> None:
    """Raise BadConfig for what SkyRL's server takes and passes over without a word (its code of August 2026)."""
    base = service.base
    if not service.is_skyrl:
        return
    if config.max_grad_norm:
        raise BadConfig(f"--max-grad-norm {config.max_grad_norm:g}: SkyRL's server at {base} does not clip; give 0")
    if config.batch_size * config.accumulation > 1:
        told = f"SkyRL's server at {base} takes the mean by sequences, not by tokens"
        raise BadConfig(f"--batch-size {config.batch_size * config.accumulation}: {told}; give 1, and --accumulation 1")


async def _take_step(model: RemoteModel, batch: Sequence[Tokens], share: float, adam: dict[str, float]) -> float:
    """Learn from a batch, each target with this share in the loss. Returns the loss."""
    data, weights = [], []
    for row in batch:
        ids, labels = row.ids[:-1] or row.ids, row.labels[1:] or [-100]  # a single token predicts nothing
        weights.append([share if label >= 0 else 0.0 for label in labels])
        data.append(make_datum(ids, [max(label, 0) for label in labels], weights[-1]))
    found = await model.step(data, adam)
    pairs = (pair for row in zip(weights, found, strict=True) for pair in zip(*row, strict=True))
    return -sum(weight * log_probability for weight, log_probability in pairs if weight)


def find_shapes(network: Any, config: FitConfig) -> Shapes:
    """Return the layers that a service adapts for these targets. Raise BadConfig for others than it can."""
    parts, layers = split_layers(network), dict[str, torch.nn.Linear]()
    for part in choose_parts(parts, config.targets):
        layers |= parts[part]
    rank = config.rank
    return {name: ((rank, layer.in_features), (layer.out_features, rank)) for name, layer in layers.items()}


def split_layers(network: Any) -> dict[str, dict[str, torch.nn.Linear]]:
    """Return the linear layers of attention (attn) and of the blocks' other half (mlp), as the protocol calls them."""
    parts: dict[str, dict[str, torch.nn.Linear]] = {"attn": {}, "mlp": {}}
    for name, layer in network.named_modules():
        if isinstance(layer, torch.nn.Linear) and layer is not network.get_output_embeddings():
            part = next((part for part in parts if any(part in each for each in name.split("."))), None)
            if part is None:
                raise BadConfig(f"layer {name}: of neither attention nor MLP, as --trainer tinker needs")
            parts[part][name] = layer
    return parts


def choose_parts(parts: dict[str, dict[str, torch.nn.Linear]], targets: Sequence[str]) -> list[str]:
    """Return which of attn and mlp these targets are. Raise BadConfig for others: the protocol names no layers."""
    names = {part: {name.rpartition(".")[2] for name in layers} for part, layers in parts.items()}
    if list(targets) == [ALL_LINEAR]:
        return list(parts)
    chosen = [part for part, own in names.items() if own and own <= set(targets)]
    if not chosen or set(targets) != set[str]().union(*(names[part] for part in chosen)):
        known = " or all of ".join(
            " ".join(f"--target {name}" for name in sorted(own)) for own in names.values() if own
        )
        given = f"--target {', '.join(targets)}" if targets else "no --target"
        raise BadConfig(
            f"{given}: --trainer tinker adapts attention, MLP or both; give --target {ALL_LINEAR}, all of {known}"
        )
    return chosen


def make_blank_model(name: str) -> Any:
    """Make the model without its weights, for the names and sizes of its layers."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(load_config(name))
