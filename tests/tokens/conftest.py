"""Tokenizers of other habits, for the tests of this folder."""

from tests.tiny_models import ending_tokenizer, starting_tokenizer

__all__ = ["ending_tokenizer", "starting_tokenizer"]
