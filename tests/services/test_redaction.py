"""A key is hidden in every form in which a server may give it back, and a server's text is fit to be shown."""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.services.base import Failure
from stages.services.redaction import quote_line, redact, redact_answer
from stages.services.responses import HttpResponse, classify_response
from tests.services.asking import answered, asked, call
from tests.services.behaviours import completion, echo_escaped
from tests.services.scripts import always

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
    assert redact("some text", key) == redact_answer("some text", key) == "some text"


def test_a_short_key_is_no_secret_in_data() -> None:
    assert redact_answer("x EMPTY", "EMPTY") == "x EMPTY"
    assert redact_answer(f"x {KEY}", KEY) == "x (key)"


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


SLASHED = "sk-canary/51a7f0e2/b9d3"


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_an_answer_that_holds_the_key_in_escapes_loses_it(path: str) -> None:
    (reply,) = asked(always(echo_escaped(200)), [replace(call("0"), path=path)]).replies
    assert reply.body == {**completion(path, "Bearer (key)"), "Bearer (key)": ["Bearer (key)"]}


@pytest.mark.parametrize("code", [400, 401])
def test_an_error_that_holds_the_key_in_escapes_loses_it(code: int) -> None:
    out = answered(echo_escaped(code))
    assert f"status {code}: not good: Bearer (key)" in f"{out.error}{[str(reply.failure) for reply in out.replies]}"


def escapes(key: str) -> list[str]:
    """The key as JSON may hold it, and as JSON within JSON may."""
    low = "".join(f"\\u{ord(character):04x}" for character in key)
    mixed = "".join(f"\\u{ord(c):04X}" if n % 2 else c for n, c in enumerate(key))
    return [key, key.replace("/", "\\/"), low, mixed, key.replace("/", "\\u002F"), json.dumps(low)[1:-1]]


@pytest.mark.parametrize("form", escapes(SLASHED))
@pytest.mark.parametrize("text", ['{{"choices": ["a\\n{0}b", {{"{0}": 1.5}}]}}', '{{"error": {{"message": "{0}"}}}}'])
def test_no_form_of_a_key_in_json_or_text_comes_through(form: str, text: str) -> None:
    content = text.format(form).encode()
    for code, asking in ((200, call("0")), (200, call("0", plain=True)), (400, call("0"))):
        verdict = classify_response("http://h/v1", SLASHED, asking, HttpResponse(code, {}, content))
        assert SLASHED not in str(verdict) and form not in str(verdict)
        if isinstance(verdict, Mapping) and not asking.plain and "choices" in verdict:
            assert verdict == {"choices": ["a\n(key)b", {"(key)": 1.5}]}
    told = classify_response("http://h/v1", SLASHED, call("0"), HttpResponse(400, {}, form.encode()))
    assert told == Failure("api_error", "status 400: (key)", 400)


def test_a_backslash_before_the_key_is_no_part_of_it() -> None:
    verdict = classify_response(
        "http://h/v1", "nabcdefghijklmnop", call("0"), HttpResponse(200, {}, rb'{"a": "x\nabcdefghijklmnop"}')
    )
    assert verdict == {"a": "x\nabcdefghijklmnop"}
