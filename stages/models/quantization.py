"""A frozen model's weights in 4 or 8 bits: quantized by bitsandbytes, and dequantized where they are used.

Only what the library does alike everywhere is taken from it: quantizing, which is done on the CPU, and codes times
scales in float32, which every processor rounds to the same bits. Its own products are not: for int8 they round the
inputs, too, and on some CPUs they multiply in bfloat16. Here a layer multiplies with its dequantized weights, as a
plain one does.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import linear, pad

from stages.errors import BadConfig

BLOCK = 64  # numbers of a row that share a scale in nf4 (QLoRA, arXiv:2305.14314, section 4); in int8 a row does
MIN_SHARE = 0.5  # of the bytes: where fewer can be quantized, it would not be worth its loss
_QUANTIZED = 1 << 18  # numbers at a time; of larger parts the allocator would keep what lies between them
_DEQUANTIZED = {"cpu": 1 << 21, "cuda": 1 << 26}  # numbers at a time, in whole rows
ReadRows = Callable[[slice], Tensor]


class QuantizedLinear(nn.Linear):
    """A frozen linear layer of quantized weights. `weight` are the codes, of which peft asks where they lie."""

    def __init__(self, plain: nn.Linear, codes: nn.Parameter, scales: Tensor) -> None:
        nn.Module.__init__(self)  # not nn.Linear's, which would draw weights
        self.in_features, self.out_features, self.bias = plain.in_features, plain.out_features, plain.bias
        self.weight = codes
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)."""
        out: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return out

    def dequantize(self, rows: Any, dtype: torch.dtype) -> Tensor:
        """Return these rows of the weights (rows, in): a slice, or their numbers."""
        return dequantize(self.weight[rows], self.scales[rows], self.in_features, dtype)  # type: ignore[index]

    def split(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Yield all rows, some at a time, so that they never lie in memory together."""
        size = max(1, _DEQUANTIZED.get(self.weight.device.type, _DEQUANTIZED["cpu"]) // self.in_features)
        for start in range(0, self.out_features, size):
            part = slice(start, start + size)
            yield part, self.dequantize(part, dtype)


class _Product(torch.autograd.Function):
    """x · weightᵀ + bias. The backward pass dequantizes anew: nothing is kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        bias = layer.bias
        out = x.new_empty(*x.shape[:-1], layer.out_features)  # before the parts, so that their memory is used again
        for part, rows in layer.split(x.dtype):
            out[..., part] = linear(x, rows, None if bias is None else bias[part])
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        found = [grad[..., part] @ rows for part, rows in ctx.layer.split(grad.dtype)]
        return torch.stack(found).sum(0) if len(found) > 1 else found[0], None


class QuantizedEmbedding(nn.Module):
    """A frozen embedding of quantized rows. `plain` does with the rows of a text what it did with all of them."""

    def __init__(self, plain: nn.Embedding, codes: nn.Parameter, scales: Tensor) -> None:
        super().__init__()
        self.plain, self.width = plain, plain.embedding_dim
        plain.weight = nn.Parameter(plain.weight.new_empty(0, self.width), requires_grad=False)
        plain.padding_idx = None  # the row is as good as others where nothing is trained
        self.weight = codes
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) → (…, width)."""
        own = ids.flatten()
        rows = dequantize(self.weight[own], self.scales[own], self.width, self.plain.weight.dtype)  # type: ignore[index]
        places = torch.arange(len(own), device=own.device).view(ids.shape)
        found: Tensor = functional_call(self.plain, {"weight": rows}, (places,))
        return found


def dequantize(codes: Tensor, scales: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Return quantized rows (rows, …) as numbers (rows, width). float32 is what bitsandbytes makes everywhere."""
    if codes.dtype == torch.int8:
        rows = codes.to(torch.float32).mul_(scales[:, None])
    else:
        shape = len(codes), scales.shape[1] * BLOCK
        packed = codes.reshape(-1, 1), scales.reshape(-1)
        rows = torch.ops.bitsandbytes.dequantize_4bit(*packed, BLOCK, "nf4", shape, torch.float32)[:, :width]
    return rows.to(dtype)


def take_rows(layer: nn.Linear, rows: Any, dtype: torch.dtype) -> Tensor:
    """Return rows of a linear layer's weights, quantized or not: a slice, or their numbers."""
    return layer.dequantize(rows, dtype) if isinstance(layer, QuantizedLinear) else layer.weight[rows]


def quantize(weight: Tensor, kind: str, read: ReadRows | None = None) -> tuple[Tensor, Tensor]:
    """Quantize a matrix (rows, width): codes (rows, …) and scales, of the rows or of their blocks. kind: int8 or nf4.

    `read` gives rows of it in a way that holds less memory than the matrix.
    """
    count, width = weight.shape
    size, blocks = max(1, _QUANTIZED // width), -(-width // BLOCK)
    if kind == "int8":
        codes, scales = torch.empty(count, width, dtype=torch.int8), torch.empty(count)
    else:
        codes, scales = torch.empty(count, blocks * BLOCK // 2, dtype=torch.uint8), torch.empty(count, blocks)
    for start in range(0, count, size):
        part = slice(start, start + size)
        rows = read(part) if read else weight.detach()[part]
        codes[part], scales[part] = _quantize_rows(rows.float(), kind)
    return codes, scales


def _quantize_rows(rows: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    from bitsandbytes import functional

    if kind == "int8":
        codes, largest, _ = functional.int8_vectorwise_quant(rows)
        codes[largest == 0] = 0  # 0 times infinity, as the library has it, is no number
        return codes, largest / 127
    rows = pad(rows, (0, -rows.shape[1] % BLOCK)).contiguous()  # blocks end where rows do
    packed, scales = torch.ops.bitsandbytes.quantize_4bit(rows, BLOCK, "nf4", torch.uint8)
    return packed.view(len(rows), -1), scales.view(len(rows), -1)


def find_rows(files: Mapping[str, Path], name: str, weight: Tensor) -> ReadRows | None:
    """Return what reads rows of a loaded weight from the file that has it under that name; None where none does.

    A file is opened for each part: what it has mapped is given back when it is closed. One whose rows are not those of
    the loaded weight, as where it was turned or its heads were permuted while it was loaded, has them not.
    """
    file = files.get(name)
    if file is None:
        return None
    with safe_open(file, "pt") as opened:
        stored, count = opened.get_slice(name), len(weight)
        if tuple(stored.get_shape()) != tuple(weight.shape):
            return None
        for start in (0, count // 2, max(0, count - 2)):  # two rows each: a permutation of heads keeps single ones
            loaded = weight.detach()[start : start + 2]
            if not torch.equal(stored[start : start + 2].to(loaded.dtype), loaded):
                return None

    def read(part: slice) -> Tensor:
        with safe_open(file, "pt") as opened:
            rows: Tensor = opened.get_slice(name)[part]
        return rows

    return read


def quantize_network(network: Any, kind: str, find: Callable[[str, Tensor], ReadRows | None]) -> None:
    """Quantize a model's weights in place, on the CPU: its linear layers as `kind`, embedding and output layer as int8.

    `find` may know a better way to read the rows of a weight of this name.

    These two, which are most of a small model, lose next to nothing in int8; one matrix that is both stays one. Raise
    BadConfig where less than half of the bytes would be quantized: of experts in one tensor, or layers of another kind.
    """
    ends = [part for part in (network.get_input_embeddings(), network.get_output_embeddings()) if part is not None]
    paths: dict[int, list[str]] = {}  # of the layers of each matrix, which may be several
    sizes = {id(each): each.nbytes for each in network.parameters()}
    for path, part in network.named_modules():
        if type(part) is nn.Linear or (isinstance(part, nn.Embedding) and part in ends):
            paths.setdefault(id(part.weight), []).append(path)
    share = sum(sizes[key] for key in paths) / sum(sizes.values())
    if share < MIN_SHARE:
        told = f"only {share:.0%} of the weights of this {network.config.model_type} lie in layers that it fits"
        raise BadConfig(f"--quantize {kind}: {told}; leave it out")
    for own in paths.values():
        parts = [network.get_submodule(path) for path in own]
        weight = parts[0].weight
        read = next(filter(None, (find(f"{path}.weight", weight) for path in own)), None)
        codes, scales = quantize(weight, "int8" if any(part in ends for part in parts) else kind, read)
        shared = nn.Parameter(codes, requires_grad=False)
        for path, part in zip(own, parts, strict=True):
            kept = QuantizedLinear if isinstance(part, nn.Linear) else QuantizedEmbedding
            network.set_submodule(path, kept(part, shared, scales))
