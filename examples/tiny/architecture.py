"""The tiny model: Qwen3's architecture, 0.87 M parameters, 3 layers, tied embeddings.

Not Qwen2: AutoTokenizer rebuilds that family's own pre-tokenizer. head_dim 32 suits vLLM on a CPU.
"""

from typing import Any

from transformers import GenerationConfig, PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

SHAPE: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "intermediate_size": 384,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "initializer_range": 0.04,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}


def make_model(vocabulary_tokens: int, **changes: Any) -> PreTrainedModel:
    """A freshly initialised fp32 model in training mode, of this shape but for the changes."""
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=vocabulary_tokens, dtype="float32", **{**SHAPE, **changes}))
    model.generation_config = GenerationConfig(eos_token_id=0, pad_token_id=0)
    return model.train()
