"""Fit work into the device's free memory: how many adapters at once, and how many tokens a pass."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.errors import OutOfMemory
from stages.interfaces import Progress
from stages.models.device import get_free_bytes, release_unused_memory, suppress_out_of_memory
from stages.models.devices.hardware import PASS_TOKENS
from stages.trainers.batched.packing import PackedSequence

MAX_ADAPTERS = 64  # more gain nothing, as more than PASS_TOKENS do
MEMORY_SHARE = 0.8  # of the free memory that a pass may plan with; the rest is for what is not counted


@dataclass
class PassBudget:
    """Most tokens of one forward and backward pass, each sequence's rounded up to a `multiple`.

    It shrinks when the device's memory runs out.
    """

    tokens: int
    multiple: int = 1
    way_out: str = "take fewer --slots, --dtype bfloat16, or --pad-mode sampled:32 instead of full"

    def get_cost(self, row: PackedSequence) -> int:
        return -(-row.size // self.multiple) * self.multiple

    def split(self, rows: Sequence[PackedSequence]) -> Iterator[list[PackedSequence]]:
        """Split sequences into passes of at most so many tokens, in order; a longer sequence is a pass of its own."""
        found: list[PackedSequence] = []
        used = 0
        for row in rows:
            if found and used + self.get_cost(row) > self.tokens:
                yield found
                found, used = [], 0
            found.append(row)
            used += self.get_cost(row)
        if found:
            yield found

    def shrink(self, failed: Sequence[PackedSequence]) -> None:
        """Halve the budget after a pass that did not fit. Raises OutOfMemory if that was a single sequence."""
        if len(failed) == 1:
            size = failed[0].size
            raise OutOfMemory(f"a sequence of {size} tokens does not fit into the device's memory; {self.way_out}")
        self.tokens = max(1, sum(self.get_cost(row) for row in failed) // 2)

    def run(
        self,
        rows: Sequence[PackedSequence],
        compute: Callable[[Sequence[PackedSequence]], None],
        clear: Callable[[], None],
        progress: Progress,
    ) -> None:
        """Compute all rows, pass by pass. Where memory runs out, `clear` what has added up, and begin anew.

        The progress hears of each token once. Raises as `shrink` does.
        """
        done = reported = 0
        waiting = list(self.split(rows))
        while waiting:
            with suppress_out_of_memory():
                compute(waiting[0])
                done += sum(row.length for row in waiting.pop(0))
                if done > reported:
                    progress.add_trained(done - reported)
                    reported = done
                continue
            clear()
            release_unused_memory()
            self.shrink(waiting[0])
            progress.note(f"memory ran out: from here on about {self.tokens} tokens in one pass")
            done, waiting = 0, list(self.split(rows))


def count_fitting_adapters(network: Any, names: Sequence[str], rank: int) -> int:
    """Return how many adapters fit at once: fp32 masters, gradients, two moments and a working copy each.

    They may take half of the free memory.
    """
    layers = [network.get_submodule(name) for name in names]
    width: int = rank * sum(layer.in_features + layer.out_features for layer in layers)
    room = get_free_bytes(network.device) // 2 // (5 * width * 4)
    return max(1, min(room, MAX_ADAPTERS))


def count_fitting_tokens(
    saved: Callable[[int], int], reserved: int, device: torch.device, *, longest: int | None = None
) -> int:
    """Return the tokens of a pass that fit; `saved(length)`: bytes kept for the backward pass of one sequence.

    The slope between two lengths counts: weights that are kept whatever the length are part of `reserved`. The model
    takes sequences of up to `longest` tokens. Where not even those fit, it is 1.
    """
    long = min(48, longest or 48)
    short = long // 3
    with suppress_out_of_memory():
        each = max(1, (saved(long) - saved(short)) // (long - short))
        room = int(MEMORY_SHARE * (get_free_bytes(device) - reserved))
        return max(1, min(room // each, PASS_TOKENS.get(device.type, 512)))
    return 1


def measure_saved_bytes(forward: Callable[[], Any]) -> int:
    """Measure the bytes that autograd keeps for the backward pass of `forward`, each storage counted once."""
    storages: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        kept = forward()  # held until all is counted: a freed storage's address may be given out again
    del kept
    return sum(storages.values())
