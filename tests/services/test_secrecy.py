"""A key is hidden in every form in which a server may give it back, and a server's text is fit to be shown."""

from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.services.redaction import quote_line, redact, without_secret

KEY = "sk-canary-51a7f0e2/+="
keys = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60)


@given(keys, st.text(max_size=20), st.text(max_size=20))
def test_a_key_never_comes_through(key: str, before: str, after: str) -> None:
    for form in (key, f"Bearer {key}", quote(key), quote(key, safe="")):
        assert key not in redact(before + form + after, key).replace("(key)", "")


@given(keys, st.binary(max_size=9), st.binary(max_size=9))
def test_base64_around_a_key_does_not_give_it_back(key: str, before: bytes, after: bytes) -> None:
    encoded = b64encode(before + key.encode() + after).decode()
    hidden = redact(encoded, key)
    assert "(key)" in hidden
    left = len(encoded) - len(key) * 8 // 6 + 2  # at its ends are letters that it shares with others
    assert len(hidden.replace("(key)", "")) <= left


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_nothing_is_hidden(key: str | None) -> None:
    assert redact("some text", key) == without_secret("some text", key) == "some text"


def test_a_short_key_is_no_secret_in_data() -> None:
    assert without_secret("x EMPTY", "EMPTY") == "x EMPTY"
    assert without_secret(f"x {KEY}", KEY) == "x (key)"


@pytest.mark.parametrize("key", ["token", "k", "max"])
def test_a_dummy_key_is_no_part_of_a_longer_word(key: str) -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    assert quote_line(said, key) == said
    assert quote_line(f"Bearer {key}: no such key", key) == "Bearer (key): no such key"


def test_a_key_is_hidden_before_the_text_is_cut() -> None:
    text = quote_line("x" * 195 + KEY, KEY)
    assert text == "x" * 195 + "(key)"
    assert len(quote_line("y" * 500, KEY)) == 200


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("\n \n  one \r\ntwo", "one"),
        ("a\x1b[31mb\x07", "a\ufffd[31mb\ufffd"),
        ("a\u2028b", "a"),
        ("\ud800", "\ufffd"),
    ],
)
def test_the_first_line_that_says_something_is_quoted(text: str, shown: str) -> None:
    assert quote_line(text, None) == shown
