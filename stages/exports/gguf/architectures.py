"""The architectures that are written as GGUF and read from it: names of tensors, and what llama.cpp has otherwise.

llama.cpp rotates pairs of neighbours in Llama's queries and keys, where transformers rotates halves: the rows of their
weights change places. Gemma's norms multiply by 1 + weight; llama.cpp stores the sum.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from stages.errors import BadConfig
from stages.models.config import get_text_config
from stages.models.directories import quote_name
from stages.models.libraries import is_installed

_EXTRA = "pip install 'seal-toolkit[gguf]'"
_SKIPPED = ("vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.")
_PICTURES = "language_model."  # before the text part's names in a model that also sees


@dataclass(frozen=True)
class Architecture:
    """One architecture. `name` is llama.cpp's, `kinds` are transformers' model types, the first of text alone."""

    name: str
    kinds: tuple[str, ...]
    title: str
    model_class: str
    activation: str = "silu"
    permutes: bool = False  # rows of queries and keys
    shifts_norms: bool = False  # by one

    def turn(self, name: str, weight: Tensor, config: Any) -> Tensor:
        """Return a weight, or the `up` of a LoRA on it, as llama.cpp has it. `name` is transformers'."""
        if self.shifts_norms and name.endswith("norm.weight"):
            return weight + 1
        heads = self._count_heads(name, config)
        return weight if heads is None else _swap_rows(weight, heads, 2)

    def turn_back(self, name: str, weight: Tensor, config: Any) -> Tensor:
        """Return a weight of a GGUF file as transformers has it. `name` is transformers'."""
        if self.shifts_norms and name.endswith("norm.weight"):
            return weight - 1
        heads = self._count_heads(name, config)
        return weight if heads is None else _swap_rows(weight, heads, weight.shape[0] // heads // 2)

    def _count_heads(self, name: str, config: Any) -> int | None:
        """Return the number of heads of queries or keys whose rows change places; None for all other weights."""
        layer = name.rpartition(".")[0].rpartition(".")[2] if self.permutes else ""
        kinds = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
        heads: int | None = getattr(config, kinds[layer]) if layer in kinds else None
        return heads


def _swap_rows(weight: Tensor, heads: int, inner: int) -> Tensor:
    """Turn the rows of each head from (inner, others) to (others, inner)."""
    rows = weight.shape[0] // heads
    return weight.reshape(heads, inner, rows // inner, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


ARCHITECTURES = (
    Architecture("llama", ("llama",), "Llama", "LlamaForCausalLM", permutes=True),
    Architecture("qwen2", ("qwen2",), "Qwen2", "Qwen2ForCausalLM"),
    Architecture("qwen3", ("qwen3",), "Qwen3", "Qwen3ForCausalLM"),
    Architecture(
        *("gemma3", ("gemma3_text", "gemma3"), "Gemma 3", "Gemma3ForCausalLM", "gelu_pytorch_tanh"), shifts_norms=True
    ),
)
TITLES = "Llama, Qwen2, Qwen3 and Gemma 3"


def find_architecture(config: Mapping[str, Any], name: str) -> Architecture:
    """Return the architecture of a model by its config.json. Raise BadConfig, with its name, for any other."""
    kinds = {str(part.get("model_type")) for part in (config, get_text_config(config))}
    for each in ARCHITECTURES:
        if kinds <= set(each.kinds):
            return each
    kind = quote_name(str(config.get("model_type")))
    raise BadConfig(f"--model {name}: architecture {kind} is not written as GGUF ({TITLES} are); give --to merged")


def require_gguf() -> Any:
    """Return the gguf package. Raise BadConfig, with the way to it, where it is not installed."""
    if not is_installed("gguf"):
        raise BadConfig(f"GGUF needs the gguf package, which is not installed: {_EXTRA}")
    import gguf

    return gguf


def get_text_name(name: str) -> str | None:
    """Return a tensor's or layer's name as in a model of text alone; None for a part that sees."""
    return None if name.startswith(_SKIPPED) else name.replace(_PICTURES, "", 1)


def make_gguf_names(architecture: Architecture, layers: int) -> Callable[[str], str | None]:
    """Return a function from transformers' name of a tensor to llama.cpp's; None for one that it does not have."""
    gguf = require_gguf()
    kind = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = gguf.get_tensor_name_map(kind, layers)

    def find(name: str) -> str | None:
        found: str | None = names.get_name(name, try_suffixes=(".weight", ".bias"))
        return found

    return find
