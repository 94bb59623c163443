"""Check a server, and a judge. No text that is shown holds a key."""

import json
from collections.abc import Iterator

from stages.checks.finding import Finding, from_error, guard
from stages.errors import BadConfig, Denied, Unavailable
from stages.judges import factory
from stages.judges.base import JUDGES, Case
from stages.services.base import Transport
from stages.services.client import Server
from stages.services.endpoint import (
    KEY_NAME,
    PROBE_TIMEOUT_S,
    UNREACHABLE,
    ModelList,
    check_key,
    check_url,
    explain_unreachable,
    fetch_models,
    get_corrected_base,
)
from stages.services.redaction import redact

_RIGHT = Case("What colour is the inn?", gold="red", prediction="red")
_WRONG = Case("What colour is the inn?", gold="red", prediction="blue")
_JUDGE_TIMEOUT_S, _JUDGE_RETRY_S = 30.0, 2.0
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
    except UNREACHABLE as error:
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


def examine_judge(name: str, key: str | None = None) -> Finding:
    """Let a judge grade a right and a wrong answer. One behind a server is asked twice, without a cache."""
    advice = f"take one of {', '.join(JUDGES)}, or mend the class"
    (finding,) = guard("judge", advice, lambda: [_try_judge(name, key, advice)])
    return finding


def _try_judge(name: str, key: str | None, advice: str) -> Finding:
    try:
        factory.validate_judge(name, key)
        judge = factory.make_judge(name, lambda url: _connect(url, key), None)
        verdicts = list(judge.grade([_RIGHT, _WRONG]))
    except (Unavailable, Denied) as error:
        return from_error("judge server", error, "start the server that it asks")
    right, wrong = (verdict.correct for verdict in verdicts)
    if right and wrong is False:
        return Finding("judge", True, f"{name}: takes a right answer as right and a wrong one as wrong")
    if right is not False and wrong is not True:
        reason = next((verdict.reason for verdict in verdicts if verdict.reason), "no reason given")
        return Finding("judge", None, f"{name}: left an answer unscored ({reason})")
    return Finding("judge", False, f"{name}: graded a right answer as {right} and a wrong one as {wrong}", advice)


def _connect(url: str, key: str | None) -> Transport:
    """Connect to a judge's server without trying for long."""
    return Server(url, key=key, concurrency=2, timeout_s=_JUDGE_TIMEOUT_S, retry_for_s=_JUDGE_RETRY_S)
