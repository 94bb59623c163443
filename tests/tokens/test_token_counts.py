"""Lengths of examples: never too short, exact where it matters, and nothing heavy loaded where it does not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.domains.arc.prompts import make_example
from stages.domains.arc.training_set import Pair, Puzzle
from stages.errors import BadInput, MissingInput, Unavailable
from stages.interfaces import MAX_ROW_TOKENS, Example
from stages.models.loading import load_tokenizer
from stages.tokens import token_counts as module
from stages.tokens.token_counts import COMMON_CONTEXT, TokenCounter
from stages.tokens.tokenization import MARKUP_TOKENS, encode_example, token_upper_bound
from tests.conftest import ROOT
from tests.tokens.chat_families import FAMILIES, Family, llama_like

TINY = str(ROOT / "examples" / "tiny" / "model")  # its context is 1024
HUB = "nobody/nothing"


def square(side: int) -> Example:
    grid = tuple(tuple((row * column) % 10 for column in range(side)) for row in range(side))
    return make_example(Puzzle((Pair(grid, grid),), Pair(grid, grid)), whole=False)


def model(folder: Path, config: dict[str, Any]) -> str:
    """A directory with a chat tokenizer and these settings, and no weights."""
    llama_like().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def counted(folder: str, made: Example) -> int:
    return len(encode_example(load_tokenizer(folder), made, end=True).ids)


def heavy(code: str) -> str:
    """Which of the heavy packages some code has loaded by its end, in a process of its own."""
    code += "\nimport sys; print(*(name for name in ('torch', 'transformers', 'tokenizers') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


# ---- the limit


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"max_position_embeddings": 700}, 700),
        ({"max_position_embeddings": 131072}, MAX_ROW_TOKENS - 1),
        ({"max_position_embeddings": 8192}, MAX_ROW_TOKENS - 1),
        ({"model_type": "gemma3", "text_config": {"max_position_embeddings": 600}}, 600),
        ({"max_position_embeddings": 9, "text_config": {"max_position_embeddings": 600}}, 600),
        ({"model_type": "llava", "text_config": {"model_type": "llama"}}, 2048),  # transformers' default
        ({"model_type": "gpt2", "n_positions": 300}, 300),
        ({"model_type": "llama"}, 2048),  # transformers' default
        ({"model_type": "gemma3", "text_config": {"hidden_size": 64}}, MAX_ROW_TOKENS - 1),
        ({"model_type": "mamba"}, MAX_ROW_TOKENS - 1),  # has no context
    ],
)
def test_a_row_has_fewer_than_8192_tokens_and_no_more_than_the_context(
    tmp_path: Path, config: dict[str, Any], limit: int
) -> None:
    assert TokenCounter(model(tmp_path, config)).limit == limit


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "a JSON list, not an object"),
        ("{", "not JSON"),
        ("[" * 10**5, "nested too deeply"),
        ("{}", "--model .*: its settings cannot be read: "),
        ('{"max_position_embeddings": "9"}', "--model .*: its settings cannot be read: "),
        ('{"model_type": "llama", "max_position_embeddings": null}', "--model .*: its settings cannot be read: "),
        ('{"model_type": "gemma3", "text_config": 3}', "--model .*: its settings cannot be read: "),
    ],
)
def test_settings_that_cannot_be_read_are_bad_input(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(BadInput, match=words):
        TokenCounter(str(tmp_path)).fits(Example("", "a"))


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="no such directory"):
        TokenCounter(str(tmp_path / "absent"))
    with pytest.raises(BadInput, match=r"it has no config\.json"):
        TokenCounter(str(tmp_path))


# ---- what fits


@pytest.mark.parametrize("over", [0, 1])
def test_a_row_fits_up_to_the_last_token_of_the_context(tmp_path: Path, over: int) -> None:
    made = square(4)
    exact = counted(model(tmp_path, {"max_position_embeddings": 9}), made)
    lengths = TokenCounter(model(tmp_path, {"max_position_embeddings": exact - over}))
    assert lengths.tokens(made) == exact
    assert lengths.fits(made) is not bool(over)


@pytest.mark.parametrize("over", [0, 1])
def test_a_row_of_8191_tokens_fits_and_one_of_8192_does_not(tmp_path: Path, over: int) -> None:
    folder = model(tmp_path, {"max_position_embeddings": 131072})
    room = MAX_ROW_TOKENS - 1 - counted(folder, Example("~", "")) + over
    made = Example("~" * (room + 1), "")
    assert counted(folder, made) == MAX_ROW_TOKENS - 1 + over
    assert TokenCounter(folder).fits(made) is not bool(over)


def test_a_text_that_is_not_ascii_is_counted() -> None:
    made = Example("", "Ødegård")
    assert token_upper_bound(made) is None
    assert TokenCounter(TINY).tokens(made) == counted(TINY, made)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=25, deadline=None)
@given(side=st.integers(1, 12), said=st.text(st.characters(codec="ascii"), max_size=30))
def test_the_bound_is_never_too_small(family: Family, side: int, said: str) -> None:
    bare = [{"role": "system", "content": ""}, {"role": "user", "content": said}]
    for made in (square(side), Example(bare, f"{said}."), Example("", said), Example(said, said)):
        bound = token_upper_bound(made)
        assert bound is not None
        assert len(encode_example(family.tokenizer, made, end=True).ids) <= bound


def test_the_bound_is_the_characters_and_a_margin_for_each_text() -> None:
    turns = [{"role": "system", "content": "abc"}, {"role": "user", "content": "de"}]
    assert token_upper_bound(Example(turns, "f")) == 6 + 3 * MARKUP_TOKENS
    assert token_upper_bound(Example("abc", "f")) == 4 + 2 * MARKUP_TOKENS


# ---- what is loaded


@pytest.mark.parametrize(
    "config", [{"max_position_embeddings": 2048}, {"text_config": {"max_position_embeddings": 2048}}, None]
)
def test_nothing_heavy_is_loaded_for_small_grids(tmp_path: Path, config: dict[str, Any] | None) -> None:
    name = HUB if config is None else model(tmp_path, config)
    code = (
        f"from stages.tokens.token_counts import *\nassert TokenCounter({name!r}).fits(Example('a' * 500, 'b' * 500))"
    )
    assert heavy(code) == ""


def test_the_tokenizer_is_loaded_once_and_only_to_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(module, "load_tokenizer", lambda name: (asked.append(name), load_tokenizer(name))[1])
    lengths = TokenCounter(model(tmp_path, {"max_position_embeddings": 2000}))
    assert lengths.tokens(square(2)) == token_upper_bound(square(2))
    assert asked == []
    assert [lengths.tokens(square(side)) for side in (20, 21)] == [
        counted(lengths.model, square(side)) for side in (20, 21)
    ]
    assert asked == [lengths.model]


def test_the_settings_of_a_hub_name_are_asked_for_only_where_a_row_is_long() -> None:
    lengths = TokenCounter(HUB)
    assert lengths.fits(Example("a" * (COMMON_CONTEXT - 2 * MARKUP_TOKENS), ""))
    with pytest.raises(Unavailable, match=f"--model {HUB}: its settings cannot be read: "):
        lengths.fits(Example("a" * (COMMON_CONTEXT - 2 * MARKUP_TOKENS + 1), ""))
