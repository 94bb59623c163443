"""Servers that repeat the key they were sent, as it is or in the escapes of JSON: it comes out nowhere."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from stages.services.base import Failure
from stages.services.responses import HttpResponse, classify_response
from tests.services.asking import answered, asked, call
from tests.services.behaviours import completion, echo_escaped
from tests.services.scripts import always

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
