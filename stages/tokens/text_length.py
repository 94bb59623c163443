"""Bound how many tokens an example has by the length of its texts, without a tokenizer."""

from stages.interfaces import Example

MARKUP_TOKENS = 256  # that a template and a tokenizer may put around a text: Llama 3.2 puts 30 around a system's


def token_upper_bound(example: Example) -> int | None:
    """Return a bound for ASCII texts, where each token stands for one byte or more; None for others.

    Some tokenizers lengthen other texts first (Unicode normalization). Without a system turn, a template may say more
    of its own than the bound allows for.
    """
    prompt = [example.prompt] if isinstance(example.prompt, str) else [turn["content"] for turn in example.prompt]
    texts = [*prompt, example.completion]
    return sum(len(text) + MARKUP_TOKENS for text in texts) if all(text.isascii() for text in texts) else None


def describe_overlong(example: Example, count: int, limit: str) -> str:
    """Say that an example of so many tokens is longer than a limit."""
    return f"a training sequence of {count} tokens ({example.completion[:50]!r}…) is longer than {limit}"
