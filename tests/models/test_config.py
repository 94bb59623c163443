"""What a model's settings say of its text: under other keys in every family, deeper where it also sees."""

from pathlib import Path
from typing import Any

import pytest
from transformers import (
    BloomConfig,
    FalconConfig,
    Gemma3Config,
    GPT2Config,
    Llama4Config,
    LlamaConfig,
    MambaConfig,
    Mistral3Config,
    MptConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
)

from stages.models.config import get_context_length, get_sliding_window, get_text_config
from stages.tokens.token_counts import TokenCounter
from stages.tokens.tokenization import get_max_length
from tests.models.broken import SETTINGS, edit

YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6, "original_max_position_embeddings": 100}
LOADED: list[tuple[PreTrainedConfig, int | None, int | None]] = [
    # settings, context, window
    (LlamaConfig(max_position_embeddings=700), 700, None),
    (GPT2Config(n_positions=600), 600, None),
    (MptConfig(max_seq_len=500), 500, None),  # ALiBi, but transformers lays out its distances up to there
    (FalconConfig(max_position_embeddings=400), 400, None),
    (FalconConfig(max_position_embeddings=400, alibi=True), None, None),
    (BloomConfig(), None, None),
    (MambaConfig(), None, None),
    (Gemma3Config(text_config={"max_position_embeddings": 300, "sliding_window": 32}), 300, 32),
    (Llama4Config(text_config={"max_position_embeddings": 200, "attention_chunk_size": 64}), 200, 64),
    (Qwen2_5_VLConfig(text_config={"max_position_embeddings": 128}), 128, None),
    (Mistral3Config(text_config={"model_type": "mistral", "max_position_embeddings": 900}), 900, 4096),
    (Qwen2Config(max_position_embeddings=99, sliding_window=9, use_sliding_window=False), 99, None),
    (Qwen2Config(max_position_embeddings=100, rope_parameters=YARN), 400, None),
    (Qwen2Config(max_position_embeddings=400, rope_parameters=YARN), 400, None),
    (LlamaConfig(max_position_embeddings=50, rope_scaling={"rope_type": "linear", "factor": 2.5}), 125, None),
]


@pytest.mark.parametrize(("config", "context", "window"), LOADED, ids=[config.model_type for config, _, _ in LOADED])
def test_context_and_window_are_read_where_each_family_has_them(
    config: PreTrainedConfig, context: int | None, window: int | None
) -> None:
    assert get_context_length(config) == context
    assert get_sliding_window(config) == window
    assert get_max_length(config) == min(filter(None, (context, window)), default=None)


WRITTEN: list[tuple[dict[str, Any], int | None]] = [
    ({"max_position_embeddings": 7}, 7),
    ({"n_ctx": 6, "n_positions": 5}, 5),
    ({"model_type": "mpt", "max_seq_len": 4}, 4),
    ({"max_sequence_length": 3}, 3),
    ({"seq_length": 2}, 2),
    ({"model_type": "bloom", "seq_length": 2048}, None),
    ({"model_type": "rwkv", "context_length": 1024}, None),
    ({"text_config": {"max_position_embeddings": 8}, "max_position_embeddings": 9}, 8),
    ({"llm_config": {"max_position_embeddings": 8}}, 8),
    ({"text_config": {"model_type": "gemma3_text", "max_position_embeddings": 8, "rope_scaling": {"factor": 8}}}, 8),
    ({"max_position_embeddings": 8, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 16),
    ({"max_position_embeddings": 8, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 8),
    *(
        ({"max_position_embeddings": 8, "rope_scaling": {"type": "linear", "factor": factor}}, 8)
        for factor in ("wide", float("inf"), float("nan"))
    ),
    ({"max_position_embeddings": 8, "rope_parameters": {"full_attention": {"factor": 2.0}}}, 8),
    ({"max_position_embeddings": True}, None),
    ({"max_position_embeddings": -1, "n_ctx": 4}, 4),
    ({"max_position_embeddings": "8"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("written", "context"), WRITTEN)
def test_the_context_of_written_settings_is_read_under_any_key(written: dict[str, Any], context: int | None) -> None:
    assert get_context_length(written) == context


def test_settings_without_a_part_for_text_are_the_texts_own() -> None:
    assert get_text_config({"vocab_size": 3}) == {"vocab_size": 3}
    assert get_text_config({"text_config": 3, "vocab_size": 4})["vocab_size"] == 4


@pytest.mark.parametrize(
    ("settings", "context"),
    [
        ({"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "hidden_size": 32}}, 131_072),
        ({"model_type": "mpt"}, 2048),
        ({"model_type": "bloom", "seq_length": 2048}, None),
    ],
)
def test_what_only_the_class_knows_is_asked_of_it(
    tmp_path: Path, settings: dict[str, Any], context: int | None
) -> None:
    edit(tmp_path / SETTINGS, **settings)
    assert TokenCounter(str(tmp_path)).context == context
