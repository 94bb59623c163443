"""What is promised of adapters that were trained in other company, and how it is compared.

The machine is asked (stages/checks/invariance.py): where no operation depends on a row's neighbours, all bytes are the
same. Elsewhere weights and losses differ in their last digits, and nothing else differs.
"""

import json
from collections.abc import Mapping
from functools import cache
from math import isclose
from typing import Any

SIZES = {"hidden": 32, "inner": 48, "heads": 2, "key_heads": 1, "head_size": 16}  # of tests/conftest.py's models
RANKS = (2, 3, 5)  # of the tests' adapters
USUAL, LARGEST = 1e-6, 1e-3  # differences of weights, on average and at most: Adam makes a step of a rounding error


@cache
def promised() -> bool:
    """Whether adapters have the same bits in any company here: in float32, of the tests' models."""
    from stages.checks.invariance import ModelSizes, find_variant_operations

    return not any(find_variant_operations(ModelSizes(**SIZES, rank=rank)) for rank in RANKS)


def assert_same(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> None:
    """Files of adapters and of lines, by name."""
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert are_same(name, found[name], content), name


def are_same(name: str, found: bytes, expected: bytes) -> bool:
    """Byte for byte, or to the last digits where no more is promised."""
    return found == expected or (not promised() and are_close(name, found, expected))


def are_close(name: str, found: bytes, expected: bytes) -> bool:
    """The weaker promise: weights and floats that differ in their last digits, all else alike."""
    if name.endswith(".safetensors"):
        return close_weights(found, expected)
    try:
        pairs = zip(*(map(json.loads, text.splitlines()) for text in (found, expected)), strict=True)
        return all(alike(*pair) for pair in pairs)
    except ValueError:  # one is no JSON, or has more lines
        return False


def close_weights(found: bytes, expected: bytes) -> bool:
    import torch
    from safetensors.torch import load

    first, second = load(found), load(expected)
    if first.keys() != second.keys() or any(first[key].shape != second[key].shape for key in second):
        return False
    gaps = torch.cat([(first[key] - second[key]).abs().flatten() for key in second])
    return float(gaps.mean()) <= USUAL and float(gaps.max()) <= LARGEST


def alike(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return isclose(found, expected, rel_tol=1e-4, abs_tol=1e-6)
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(alike(found[key], expected[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    return bool(found == expected)
