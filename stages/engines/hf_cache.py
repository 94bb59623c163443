"""The results of transformers' cache and attention with fewer copies, for models that keep keys and values.

For every token transformers copies the whole cache, and on a CPU it repeats keys and values that several query heads
share. Neither is needed: a cache can have room to spare, and heads that share keys are rows of one product with them.
A layer whose sliding window is full is copied for each token as before.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_ROOM = 64  # tokens to spare: a longer text is copied once in so many
_SDPA = "sdpa"  # transformers' name of torch's scaled_dot_product_attention, its default


@contextmanager
def spare_copies(base: Any) -> Iterator[None]:
    """Let the model's caches grow in place within the block and, on a CPU, query heads share keys without copies."""
    hook = base.register_forward_pre_hook(_give_room, with_kwargs=True)
    own = ALL_ATTENTION_FUNCTIONS[_SDPA]
    is_replaced = getattr(own, "func", None) is attend_in_groups  # by a block that this one overlaps
    replaces = base.device.type == "cpu" and not is_replaced
    if replaces:
        AttentionInterface.register(_SDPA, partial(attend_in_groups, own))
    try:
        yield
    finally:
        hook.remove()
        if replaces:
            AttentionInterface.register(_SDPA, own)


def attend_in_groups(
    own: Callable[..., Any],
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **more: Any,
) -> Any:
    """Attend from one new token of each row as `own` does, transformers' sdpa, which gets all other cases.

    query (rows, heads, 1, size), key and value (rows, key heads, tokens, size) → (rows, 1, heads, size).
    """
    rows, heads, new, size = query.shape
    shared, one_mask = heads // key.shape[1], attention_mask is None or attention_mask.shape[1] == 1
    if new > 1 or shared == 1 or not one_mask or more.get("position_bias") is not None or more.get("cache") is not None:
        return own(module, query, key, value, attention_mask, scaling=scaling, **more)
    mask = None if attention_mask is None else attention_mask.expand(-1, -1, shared, -1)
    queries = query.reshape(rows, key.shape[1], shared, size)
    out = scaled_dot_product_attention(queries, key, value, mask, scale=scaling)
    return out.reshape(rows, 1, heads, value.shape[-1]), None


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values as slices of tensors that are longer, and are copied only where these are full."""

    keys: Tensor
    values: Tensor
    rooms: tuple[Tensor, ...] = ()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """Return all keys and all values, the new ones at the end: (rows, key heads, tokens, size) each."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old, new = (self.keys, self.values), (key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self._has_room(end):
            size = end + _ROOM
            self.rooms = tuple(each.new_empty((*each.shape[:2], size, each.shape[-1])) for each in new)
            if start:
                for room, each in zip(self.rooms, old, strict=True):
                    room[:, :, :start] = each
        for room, each in zip(self.rooms, new, strict=True):
            room[:, :, start:end] = each
        self.keys, self.values = (room[:, :, :end] for room in self.rooms)
        return self.keys, self.values

    def _has_room(self, end: int) -> bool:
        """Whether keys and values are slices of longer tensors: transformers may have put others in their place."""
        if not self.rooms or self.rooms[0].shape[-2] < end:
            return False
        pairs = zip(self.rooms, (self.keys, self.values), strict=True)
        return all(room.data_ptr() == own.data_ptr() and room.shape[:2] == own.shape[:2] for room, own in pairs)


class _RoomyWindowLayer(_RoomyLayer, DynamicSlidingWindowLayer):  # type: ignore[misc]
    """The same up to the window's length, from which on the cache no longer grows."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """Return the window's keys and values, and the new ones at the end."""
        new = key_states.shape[-2]
        if self.record_past or self.cumulative_length + new >= self.sliding_window:
            self.rooms = ()
            keys, values = DynamicSlidingWindowLayer.update(self, key_states, value_states, *args, **more)
            return keys, values
        found = super().update(key_states, value_states)
        self.cumulative_length += new
        return found


def _give_room(base: Any, args: Any, given: dict[str, Any]) -> None:
    """Before the first pass: replace layers that copy all they have for each token by layers that do not."""
    cache: Any = given.get("past_key_values")
    if type(cache) is not DynamicCache:
        return
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = _RoomyLayer
    for place, layer in enumerate(cache.layers):
        if type(layer) is DynamicLayer and not layer.is_initialized:
            cache.layers[place] = _RoomyLayer()
        elif type(layer) is DynamicSlidingWindowLayer and not (layer.is_initialized or layer.record_past):
            cache.layers[place] = _RoomyWindowLayer(layer.sliding_window)
