"""Random models of the four architectures that GGUF is for, with what is hard about each, and adapters on them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    set_seed,
)

from tests.conftest import SIZES, make_tokenizer

KINDS = ("llama", "qwen2", "qwen3", "gemma3")
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_SIZES = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}


def make_architecture(folder: Path, kind: str, dtype: torch.dtype = torch.float32, **more: Any) -> Path:
    """A model directory: grouped heads, heads of another size than hidden / heads, biases, tied or not."""
    set_seed(3)
    sizes: dict[str, Any] = {**_SIZES, "pad_token_id": 0, "initializer_range": 0.2, **more}
    if kind == "llama":
        rope = sizes.pop("rope_parameters", LLAMA3)
        network: Any = LlamaForCausalLM(LlamaConfig(rope_parameters=rope, tie_word_embeddings=False, **sizes))
    elif kind == "qwen2":
        network = Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **sizes))
    elif kind == "qwen3":
        network = Qwen3ForCausalLM(Qwen3Config(head_dim=16, tie_word_embeddings=False, **sizes))
    else:
        own = {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 7}
        network = Gemma3ForCausalLM(Gemma3TextConfig(**{**sizes, **own}))
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() == 1:  # norms and biases, which begin as ones and zeros
                weight.add_(0.3 * torch.randn_like(weight))
    network.to(dtype).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def make_lora(base: Path, folder: Path, **settings: Any) -> Path:
    """A PEFT directory with random weights on both sides, on all layers of the blocks."""
    set_seed(5)
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    chosen = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", **settings}
    get_peft_model(network, LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **chosen)).save_pretrained(
        folder
    )
    return folder


PROMPT = torch.tensor([[5, 77, 123, 9, 200, 41, 41, 66, 250, 12, 8, 190, 33, 2, 71]])


def compute_logits(network: Any) -> torch.Tensor:
    """The logits (tokens, vocabulary) after each token of a text, in float32."""
    with torch.inference_mode():
        logits: torch.Tensor = network(input_ids=PROMPT).logits[0].float()
    return logits


def load(folder: Path, adapter: Path | None = None) -> Any:
    """transformers' model, with peft's adapter on it."""
    from peft import PeftModel

    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return PeftModel.from_pretrained(network, str(adapter)).eval() if adapter else network
