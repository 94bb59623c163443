"""Check that an OpenAI-compatible server answers and lists its models. No text that is shown holds the key."""

import json
from collections.abc import Iterator

from stages.checks.finding import Finding
from stages.errors import BadConfig
from stages.services.endpoint import (
    KEY_NAME,
    PROBE_TIMEOUT_S,
    ModelList,
    check_key,
    check_url,
    explain_unreachable,
    fetch_models,
    get_corrected_base,
)
from stages.services.redaction import redact

_MAX_SHOWN, _MAX_LETTERS = 3, 80  # model names, and letters of one


def check_server(url: str, key: str | None, timeout_s: float = PROBE_TIMEOUT_S) -> Iterator[Finding]:
    """Check that a server is there (`server`) and what it answers (`server models`)."""
    try:
        base = check_url(url)
        check_key(key)
    except BadConfig as error:
        found, _, advice = str(error).partition("; ")
        yield Finding("server models", False, found, advice)
        return
    try:
        answer = fetch_models(base, key, timeout_s)
    except Exception as error:  # noqa: BLE001
        found, advice = explain_unreachable(error, timeout_s)
        yield Finding("server", False, f"{base}: {found}", advice)
        return
    if answer.status >= 500:
        found = f"{base}: answers with status {answer.status}"
        yield Finding("server", False, found, "look at the server's log, try again")
        return
    yield Finding("server", True, f"{base}: answers in {1000 * answer.seconds:.0f} ms")
    yield _check_status(base, answer, key)


def _check_status(base: str, answer: ModelList, key: str | None) -> Finding:
    """Say what the status means."""
    check, status = "server models", answer.status
    if status in (401, 403):
        if key:
            found, advice = f"refuses the key in {KEY_NAME}", f"export {KEY_NAME}=… (a valid one)"
        else:
            found, advice = f"asks for a key, and {KEY_NAME} is not set", f"export {KEY_NAME}=…"
        return Finding(check, False, f"{found} (status {status})", advice)
    if status == 404:
        other = get_corrected_base(base)
        advice = f"--base-url {other}" if other else f"see what is there: curl {base}/models"
        return Finding(check, False, f"has no {base}/models (status 404)", advice)
    if 300 <= status < 400:
        target = redact(answer.location, key)[:200]
        return Finding(check, False, f"redirects to {target} (status {status})", "give that address as --base-url")
    if status == 429:
        return Finding(check, None, "asks for fewer requests (status 429)", "wait, then try again")
    if status >= 400:
        return Finding(check, False, f"answers with status {status}", f"see what is there: curl {base}/models")
    return _check_models(answer, key)


def _check_models(answer: ModelList, key: str | None) -> Finding:
    """List the models that the body names."""
    check, advice = "server models", "correct --base-url: this is not the address of an OpenAI-compatible API"
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        kind = redact(answer.content_type, key)[:80]
        return Finding(check, False, f"answers something that is not JSON ({kind})", advice)
    rows = body.get("data") if isinstance(body, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and isinstance(row.get("id"), str) for row in rows):
        return Finding(check, False, "answers JSON that is no list of models", advice)
    names = [redact(row["id"], key)[:_MAX_LETTERS] for row in rows]
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return Finding(check, True, f"serves {', '.join(names[:_MAX_SHOWN])}{more}" if names else "serves no model")
