"""Tiny random models of many architectures: two layers, 32 wide, with one tokenizer."""

from pathlib import Path
from typing import Any

from tests.conftest import make_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "bos_token_id": None,
}
HEADS = {"head_dim": 8}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}
LATENT = {
    **ROUTED,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": 4,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
}
STATES = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
LINEAR = {
    "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "head_dim": 8,
}
VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {  # model_type: settings that differ from the sizes above
    "apertus": {},
    "arcee": {},
    "bamba": {**STATES, "attn_layer_indices": [1]},
    "biogpt": {},
    "bloom": {},
    "codegen": {"rotary_dim": 4},
    "cohere": {},
    "cohere2": {"sliding_window": 96, "layer_types": ["sliding_attention", "full_attention"]},
    "ctrl": {"dff": 48},
    "dbrx": {
        **{"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512},
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "deepseek_v2": LATENT,
    "deepseek_v3": LATENT,
    "diffllama": {},
    "ernie4_5": HEADS,
    "exaone4": {"sliding_window": 96, "layer_types": ["sliding_attention", "full_attention"]},
    "falcon": {},
    "falcon_h1": {**STATES, "mamba_d_ssm": 64},
    "falcon_mamba": {"state_size": 8},
    "gemma": HEADS,
    "gemma2": {**HEADS, "sliding_window": 96, "query_pre_attn_scalar": 8},
    "gemma3": {"text_config": {**HEADS, "sliding_window": 96, **SIZES}, "vision_config": VISION},
    "gemma3_text": {**HEADS, "sliding_window": 96, "layer_types": ["sliding_attention", "full_attention"]},
    "gemma4_text": {**HEADS, "global_head_dim": 8, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300},
    "glm": HEADS,
    "glm4": HEADS,
    "glm4_moe": {**HEADS, **ROUTED, "first_k_dense_replace": 1},
    "gpt2": {},
    "gpt_bigcode": {},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "num_layers": 2, "window_size": 96},
    "gpt_neox": {},
    "gpt_oss": {**HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 96},
    "gptj": {"rotary_dim": 4},
    "granite": {},
    "granitemoe": {"num_local_experts": 4},
    "granitemoehybrid": {**STATES, "layer_types": ["linear_attention", "full_attention"], "num_local_experts": 4},
    "helium": HEADS,
    "hunyuan_v1_dense": HEADS,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 4, "mamba_d_state": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "llama": {},
    "llama4_text": {**HEADS, "num_local_experts": 4, "intermediate_size_mlp": 48, "attention_chunk_size": 96},
    "mamba": {"state_size": 8},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1, "state_size": 8},
    "ministral": HEADS,
    "mistral": {"sliding_window": 96},
    "mixtral": {"num_local_experts": 4},
    "mpt": {},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
    "olmo3": {"sliding_window": 96},
    "olmoe": EXPERTS,
    "openai-gpt": {},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "persimmon": {},
    "phi": {},
    "phi3": {},
    "phimoe": {"num_local_experts": 4},
    "qwen2": {},
    "qwen2_moe": {**EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3": HEADS,
    "qwen3_5_text": LINEAR,
    "qwen3_moe": {**EXPERTS, **HEADS},
    "qwen3_next": {**LINEAR, **EXPERTS, "shared_expert_intermediate_size": 16},
    "recurrent_gemma": {"head_dim": 8, "attention_window_size": 96, "block_types": ["recurrent", "attention"]},
    "rwkv": {"attention_hidden_size": 32},
    "seed_oss": HEADS,
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {},
    "xglm": {"ffn_dim": 48},
    "zamba2": {
        **STATES,
        "n_mamba_heads": 8,
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "adapter_rank": 4,
        "num_mem_blocks": 1,
    },
}


def make_architecture(kind: str, folder: Path, seed: int = 0) -> Path:
    """A random model directory of this model_type."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    set_seed(seed)
    given = ARCHITECTURES[kind]
    sizes = {key: SIZES[key] for key in ("eos_token_id", "pad_token_id", "bos_token_id")}
    config = AutoConfig.for_model(kind, **{**(sizes if "text_config" in given else SIZES), **given})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder
