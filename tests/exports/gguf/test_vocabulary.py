"""A tokenizer in llama.cpp's words: its kind, its tokens' types, and whether it starts with a start token."""

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stages.errors import BadConfig
from stages.exports.gguf.vocabulary import CONTROL, NORMAL, UNUSED, USER_DEFINED, Vocabulary, read_vocabulary
from tests.exports.tiny import LLAMA3_SPLIT, QWEN2_SPLIT, make_byte_level, make_sentencepiece


def read(tokenizer: Any, folder: Path, rows: int | None = None) -> Vocabulary:
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama", "vocab_size": 400}')
    return read_vocabulary(folder, rows or len(tokenizer))


@pytest.mark.parametrize(
    ("split", "start", "pre"),
    [(None, None, "gpt-2"), (QWEN2_SPLIT, None, "qwen2"), (LLAMA3_SPLIT, "<|begin|>", "llama-bpe")],
)
def test_bytes_are_told_by_how_words_are_cut_and_how_a_text_starts(
    split: str | None, start: str | None, pre: str, tmp_path: Path
) -> None:
    tokenizer = make_byte_level(split, start)
    found = read(tokenizer, tmp_path)
    assert (found.kind, found.pre, found.add_bos, found.add_eos) == ("gpt2", pre, start is not None, False)
    assert found.special.get("bos") == (2 if start else None) and found.special["eos"] == 0
    assert [*found.tokens] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert found.types[:4] == [CONTROL] * 4 and found.types[-1] == USER_DEFINED and found.types[100] == NORMAL
    assert found.scores is None and found.merges[0].count(" ") == 1


@pytest.mark.parametrize(("kind", "space"), [("llama", True), ("gemma", False)])
def test_sentencepiece_has_scores_in_the_order_of_its_merges(kind: str, space: bool, tmp_path: Path) -> None:
    found = read(make_sentencepiece(kind), tmp_path)
    assert (found.kind, found.add_bos, found.add_space_prefix) == ("llama", True, space)
    assert found.scores is not None
    score = dict(zip(found.tokens, found.scores, strict=True))
    assert 0 > score["the"] > score["he"] > score["on"] and score["q"] == 0
    named = dict(zip(found.tokens, found.types, strict=True))
    assert (named["<0x41>"], named["<unk>"], named["<bos>" if kind == "gemma" else "<s>"], named["the"]) == (6, 2, 3, 1)


def test_rows_without_a_token_are_unused(tmp_path: Path) -> None:
    tokenizer = make_byte_level()
    found = read(tokenizer, tmp_path, len(tokenizer) + 2)
    assert found.tokens[-2:] == [f"[PAD{len(tokenizer)}]", f"[PAD{len(tokenizer) + 1}]"]
    assert found.types[-3:] == [USER_DEFINED, UNUSED, UNUSED]


def test_a_second_end_token_is_that_of_a_turn(tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 3]}')
    assert read(make_byte_level(), tmp_path).special["eot"] == 3


def test_other_ways_to_cut_words_and_other_tokenizers_are_named(tmp_path: Path) -> None:
    tokenizer = make_byte_level("[0-9]+")
    with pytest.raises(BadConfig, match=r"cuts words \(Split and ByteLevel\) in a way that is none of GPT-2's"):
        read(tokenizer, tmp_path / "split")
    words = Tokenizer(models.WordLevel({"<e>": 0, "a": 1}, unk_token="<e>"))  # noqa: S106
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(BadConfig, match="its tokenizer is 'WordLevel', and GGUF is written of BPE alone"):
        read(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<e>"), tmp_path / "words")  # noqa: S106
