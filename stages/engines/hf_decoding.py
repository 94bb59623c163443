"""Completing many prompts at once, token by token, over one cache that all rows share.

transformers' generate() does it for every model. For those that keep plain keys and values this loop gives the same
tokens in less time: what neighbours' prompts have in common is read once, finished rows leave, and the cache has room.
"""

import inspect
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation import GenerationMixin

from stages.engines.hf_sampling import SeededSampling
from stages.models.checkpoints import window_of
from stages.trainers.batched.chunked_loss import chunked_linear

ROOM = 64  # tokens by which a cache grows
_SHARES = (0.0, 0.5, 0.95)  # of its prompt that a row may have in common with its group; the cheapest grouping is taken
Lay = Callable[[Sequence[int]], object]  # told the slot of each row before every pass whose rows are others
Tell = Callable[[int, int], object]  # told after every pass how many tokens were written, and how many rows have ended


@dataclass(frozen=True)
class Row:
    """A prompt to complete by at most `limit` tokens. Rows of one slot (an adapter) are neighbours."""

    prompt: Sequence[int]
    limit: int
    slot: int = 0


@dataclass(frozen=True)
class Group:
    """Neighbouring rows of one slot whose prompts begin with the same tokens."""

    slot: int
    size: int
    prefix: Sequence[int]


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values that are written into tensors with room to spare: transformers' own copy all at every token."""

    keys: Tensor
    values: Tensor
    room: tuple[Tensor, Tensor] | None = None  # (rows, heads, places, size) each; keys and values are views of them

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        start = self.get_seq_length()
        end = start + keys.shape[-2]
        if self.room is None or end > self.room[0].shape[-2]:
            self.room = self._widened(keys, start, end), self._widened(values, start, end)
            for room, old in zip(self.room, (self.keys, self.values), strict=True):
                if start:
                    room[:, :, :start] = old
        for room, new in zip(self.room, (keys, values), strict=True):
            room[:, :, start:end] = new
        self.keys, self.values = (room[:, :, :end] for room in self.room)
        return self.keys, self.values

    @staticmethod
    def _widened(new: Tensor, start: int, end: int) -> Tensor:
        return new.new_empty(*new.shape[:2], end + (ROOM if start else 0), new.shape[-1])

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        self.room = None


def decodable(network: Any) -> bool:
    """Whether the loop below serves this model: its cache is keys and values, and a step needs nothing of its own."""
    taken = inspect.signature(network.forward).parameters
    own_steps = type(network).prepare_inputs_for_generation is not GenerationMixin.prepare_inputs_for_generation
    if own_steps or not {"position_ids", "past_key_values", "attention_mask", "use_cache"} <= taken.keys():
        return False
    layers = DynamicCache(config=network.config).layers
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


def groups_of(rows: Sequence[Row], share: float) -> list[Group]:
    """Groups in which the common prefix is at least this share of each prompt (and leaves each a last token)."""
    found: list[Group] = []
    for row in rows:
        start, last = row.prompt[:-1], found[-1] if found else Group(-1, 0, ())
        common = _common(last.prefix, start)
        if last.slot == row.slot and len(common) >= share * max(len(row.prompt), len(last.prefix)):
            found[-1] = Group(row.slot, last.size + 1, common)
        else:
            found.append(Group(row.slot, 1, start))
    return found


def _common(first: Sequence[int], second: Sequence[int]) -> Sequence[int]:
    unequal = (place for place, (one, other) in enumerate(zip(first, second, strict=False)) if one != other)
    return first[: next(unequal, min(len(first), len(second)))]


def cheapest_groups(rows: Sequence[Row]) -> list[Group]:
    """The grouping with the fewest tokens to read, pads included; none where plain prompts are no more than that."""
    groupings = [groups_of(rows, share) for share in _SHARES]
    best = min(groupings, key=lambda groups: _tokens(rows, groups))
    return best if _tokens(rows, best) < len(rows) * max(len(row.prompt) for row in rows) else []


def _tokens(rows: Sequence[Row], groups: Sequence[Group]) -> int:
    longest = max(len(group.prefix) for group in groups)
    return len(groups) * longest + len(rows) * max(map(len, _suffixes(rows, groups)))


def _suffixes(rows: Sequence[Row], groups: Sequence[Group]) -> list[Sequence[int]]:
    """What each row's prompt has beyond its group's prefix."""
    starts = [len(group.prefix) for group in groups for _ in range(group.size)] or [0] * len(rows)
    return [row.prompt[start:] for row, start in zip(rows, starts, strict=True)]


def left_padded(texts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(ids, mask), each (texts, longest)."""
    longest = max(map(len, texts))
    ids = [[pad] * (longest - len(text)) + list(text) for text in texts]
    mask = [[0] * (longest - len(text)) + [1] * len(text) for text in texts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


class Decoder:
    """The model and the state of one batch: cache, mask (rows, places) and each row's next position."""

    def __init__(self, network: Any, pad: int, lay: Lay, *, most: int | None = None, share: bool = True) -> None:
        """`most`: places that the cache will have at most. Where they lie in a layer's window, it needs none.

        `share`: what prompts have in common may be read once, which puts pads behind it.
        """
        self.network, self.pad, self.lay = network, pad, lay
        self.cache = DynamicCache(config=network.config)
        window = getattr(network.config.get_text_config(), "sliding_window", None)
        wide = window is not None and most is not None and most <= window
        plain = [wide or type(layer) is DynamicLayer for layer in self.cache.layers]
        narrow = window_of(network.config)  # some models keep whole keys and values, and see a part of them
        self.simple = share and all(plain) and (narrow is None or (most is not None and most <= narrow))
        pairs = zip(self.cache.layers, plain, strict=True)
        self.cache.layers = [RoomyLayer() if each else layer for layer, each in pairs]
        taken = inspect.signature(network.forward).parameters
        self.settings = {"logits_to_keep": 1} if "logits_to_keep" in taken else {}
        self.mask: Tensor = torch.empty(0, dtype=torch.long, device=network.device)

    def read(self, rows: Sequence[Row]) -> Tensor:
        """Reads the prompts; the logits after each (rows, vocabulary). A prefix that rows share is read once.

        Between a prefix and the rest of a prompt there may be pads: a window of neighbours would count them, so models
        with one read each prompt whole.
        """
        groups = cheapest_groups(rows) if self.simple else []
        if groups:
            self.lay([group.slot for group in groups])
            self._read([group.prefix for group in groups])
            self.select([number for number, group in enumerate(groups) for _ in range(group.size)])
        self.lay([row.slot for row in rows])
        return self._read(_suffixes(rows, groups))

    def _read(self, texts: Sequence[Sequence[int]]) -> Tensor:
        return self.step(*left_padded(texts, self.pad, self.network.device))

    def step(self, ids: Tensor, mask: Tensor) -> Tensor:
        """One pass over the next tokens of each row (rows, length): the logits after the last (rows, vocabulary)."""
        self.mask = torch.cat([self.mask.view(len(ids), -1), mask], dim=1)
        positions = (self.mask.cumsum(1) - 1).clamp_(min=0)[:, -ids.shape[1] :]
        state = {"past_key_values": self.cache, "use_cache": True, "return_dict": True, **self.settings}
        grown = self.network(input_ids=ids, attention_mask=self.mask, position_ids=positions, **state)
        logits: Tensor = grown.logits[:, -1]
        return logits

    def select(self, rows: Sequence[int]) -> None:
        """From now on these rows of the batch, one of them perhaps several times."""
        index = torch.tensor(rows, device=self.network.device)
        self.cache.batch_select_indices(index)
        self.mask = self.mask[index]


@contextmanager
def chunked_output(network: Any) -> Iterator[None]:
    """Within, a CPU takes the output layer in chunks of words: for few rows MKL has them half as fast again."""
    head = network.get_output_embeddings()
    if type(head) is not nn.Linear or head.weight.device.type != "cpu" or head.weight.dtype != torch.float32:
        yield
        return
    vars(head)["forward"] = partial(chunked_linear, head)
    try:
        yield
    finally:
        del vars(head)["forward"]


@torch.inference_mode()
def complete(
    network: Any,
    rows: Sequence[Row],
    sampler: SeededSampling,
    *,
    ends: Collection[int],
    pad: int,
    lay: Lay,
    tell: Tell = lambda tokens, ended: None,
    share: bool = True,
) -> list[list[int]]:
    """The tokens that follow each prompt, up to its end token (which is among them) or its limit.

    Without `share` each prompt is read whole, and those of one length without pads.
    """
    most = 2 * max(len(row.prompt) for row in rows) + max(row.limit for row in rows)  # prefixes, suffixes, and texts
    decoder = Decoder(network, pad, lay, most=most, share=share)
    with chunked_output(network):
        return _grow(decoder, rows, sampler, ends, tell)


def _grow(
    decoder: Decoder, rows: Sequence[Row], sampler: SeededSampling, ends: Collection[int], tell: Tell
) -> list[list[int]]:
    logits, live = decoder.read(rows), list(range(len(rows)))  # the row at each place of the batch
    texts: list[list[int]] = [[] for _ in rows]
    writing = len(rows)
    while True:
        tokens = sampler(None, logits.float()).argmax(-1)
        for row, token in zip(live, tokens.tolist(), strict=True):
            if not _finished(texts[row], rows[row], ends):
                texts[row].append(token)
        going = [place for place, row in enumerate(live) if not _finished(texts[row], rows[row], ends)]
        tell(writing, writing - len(going))
        writing = len(going)
        if not going:
            return texts
        if len(going) <= 0.75 * len(live):  # a copy of the cache costs about a step
            live, sampler, tokens = [live[place] for place in going], sampler.keep(going), tokens[going]
            decoder.select(going)
            decoder.lay([rows[row].slot for row in live])
        logits = decoder.step(tokens[:, None], torch.ones_like(tokens)[:, None])


def _finished(text: Sequence[int], row: Row, ends: Collection[int]) -> bool:
    return bool(text) and (len(text) >= row.limit or text[-1] in ends)


# ---- whether a model answers alike with others beside it

_START = (2, 3, 4, 5, 6, 7, 8, 9)
_PADDED = ((*_START, 3), (6, 7, 8), (*_START, 4, 5))  # pads behind a shared beginning, and before a prompt
_EQUAL = ((2, 3, 4), (6, 7, 8))
Company = Literal["any", "equal", "none"]  # which prompts may share a batch: any, those of one length, or none


@dataclass
class Recorder:
    """A sampler that notes the logits of every step and always takes the same token."""

    token: int
    seen: list[Tensor] = field(default_factory=list)  # (rows, vocabulary) each

    def __call__(self, _: Any, logits: Tensor) -> Tensor:
        self.seen.append(logits.detach().double().cpu())
        forced = torch.zeros_like(logits)
        forced[:, self.token] = 1
        return forced

    def keep(self, rows: Sequence[int]) -> "Recorder":
        return self


def company(run: Callable[[Sequence[Row], Any], object], network: Any, ends: Collection[int]) -> Company:
    """Which prompts have the logits together that each has alone, at two tokens each.

    `run` completes rows with a sampler. A model without attention may take pads for text; RWKV, in transformers, mixes
    the rows of any batch.
    """
    token = next(each for each in range(3 + len(ends)) if each not in ends)
    tolerance = 1e-3 if network.dtype in (torch.float32, torch.float64) else 0.05

    def logits(prompts: Sequence[Sequence[int]]) -> Tensor:
        """(steps, rows, vocabulary)"""
        recorder = Recorder(token)
        run([Row(prompt, 2) for prompt in prompts], recorder)
        return torch.stack(recorder.seen)

    def alike(prompts: Sequence[Sequence[int]]) -> bool:
        together = logits(prompts)
        alone = torch.cat([logits([prompt]) for prompt in prompts[:2]], dim=1)
        gap, spread = together[:, :2] - alone, alone - alone.mean(-1, keepdim=True)
        return bool((gap.norm(dim=-1) <= tolerance * spread.norm(dim=-1)).all())

    return "any" if alike(_PADDED) else "equal" if alike(_EQUAL) else "none"
