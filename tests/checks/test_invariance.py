"""The probe that asks whether a row's bits depend on its neighbours: it can say no, and it names what does."""

from collections.abc import Iterator

import pytest
import torch
from safetensors.torch import save

from stages.checks.invariance import (
    FEW,
    ModelSizes,
    Operation,
    Trial,
    activate,
    fill_rows,
    find_variant_operations,
    is_invariant,
    make_trials,
)
from tests import bits
from tests.bits import SIZES, are_same

ROWS = torch.randn(FEW, 5, 8, generator=torch.Generator().manual_seed(0))


def by_count(some: slice) -> list[torch.Tensor]:
    """A product whose rows are taken another way where there are few of them, as some libraries' are."""
    wide = ROWS[some].double() if some.stop - some.start < 3 else ROWS[some]
    return [(wide.flatten(0, 1) @ torch.ones(8, 4, dtype=wide.dtype)).float().view(-1, 5, 4)]


def by_place(some: slice) -> list[torch.Tensor]:
    """The last row of all is summed in another order."""
    found = ROWS[some].clone()
    found[-1, -1] = found[-1, -1] * 3 / 3
    return [found]


def by_neighbour(some: slice) -> list[torch.Tensor]:
    return [ROWS[some] + 1e-7 * ROWS[some].mean()]


@pytest.mark.parametrize("operation", [by_count, by_place, by_neighbour])
def test_an_operation_whose_rows_depend_on_their_number_place_or_neighbours_is_found(operation: Operation) -> None:
    assert not is_invariant(operation, FEW)


def test_only_what_depends_is_named_and_only_once() -> None:
    def make(sizes: ModelSizes, dtype: torch.dtype) -> Iterator[Trial]:
        yield "sums", FEW, lambda some: [ROWS[some].cumsum(-1)]
        yield "products", FEW, by_count
        yield "products", FEW, by_neighbour
        yield "doubles", FEW, lambda some: [2 * ROWS[some]]

    assert find_variant_operations(make=make) == ["products"]


def test_every_part_of_a_step_is_tried_forward_and_backward() -> None:
    results = {
        name: len(operation(slice(0, 2))) for name, _, operation in make_trials(ModelSizes(**SIZES), torch.float32)
    }
    assert results == {"products": 2, "low-rank products": 6, "attention": 4, "activations": 2}


def test_rows_are_filled_up_as_those_of_a_pass_are() -> None:
    assert fill_rows(ROWS[:3]).shape == (16, 8)
    assert not fill_rows(ROWS[:3])[15:].any()
    whole = activate(ROWS)(slice(0, FEW))
    assert all(each.shape == ROWS.shape for each in whole)
    assert torch.equal(whole[0], torch.nn.functional.silu(fill_rows(ROWS))[: FEW * 5].view_as(ROWS))


def test_the_sizes_are_those_that_the_models_settings_say() -> None:
    small = {"hidden_size": 640, "intermediate_size": 2048, "num_attention_heads": 4, "num_key_value_heads": 1}
    assert ModelSizes.of({**small, "head_dim": 256}) == ModelSizes(640, 2048, 4, 1, 256)
    assert ModelSizes.of(small).head_size == 160
    assert ModelSizes.of({"num_attention_heads": 8, "hidden_size": "many"}) == ModelSizes(128, 512, 8, 8, 16)


# ---- what the tests make of it


@pytest.fixture
def less_is_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "promised", lambda: False)


LINE = b'{"id": "a", "loss": 0.25, "tokens": 7, "texts": ["b"]}\n'


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        (b"0.25", b"0.2500001", True),
        (b"0.25", b"0.26", False),
        (b"7", b"8", False),
        (b'"b"', b'"c"', False),
        (b'"b"', b'"b", "b"', False),
        (b"loss", b"cost", False),
        (b"\n", b"\n{}\n", False),
        (b"}", b"", False),
    ],
)
@pytest.mark.usefixtures("less_is_promised")
def test_where_less_is_promised_lines_may_have_other_last_digits_and_nothing_else(
    old: bytes, new: bytes, same: bool
) -> None:
    assert are_same("a.jsonl", LINE.replace(old, new), LINE) == same


@pytest.mark.parametrize(("gap", "same"), [(0.0, True), (1e-7, True), (1e-5, False), (2e-3, False)])
@pytest.mark.usefixtures("less_is_promised")
def test_where_less_is_promised_weights_may_have_other_last_digits(gap: float, same: bool) -> None:
    first, second = (save({"a": torch.ones(40) + each, "b": torch.zeros(2)}) for each in (0.0, gap))
    assert are_same("x/adapter_model.safetensors", first, second) == same
    assert not are_same("x/adapter_model.safetensors", save({"a": torch.ones(40)}), second)


def test_where_it_is_promised_every_byte_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "promised", lambda: True)
    assert are_same("a.jsonl", LINE, LINE)
    assert not are_same("a.jsonl", LINE.replace(b"0.25", b"0.2500001"), LINE)
