"""Asking a server for its models: every way of failing has its own words, and the key is in none of them."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.checks.finding import Finding
from stages.checks.server import check_server
from stages.errors import Unavailable
from stages.services.endpoint import get_corrected_base
from stages.services.vllm_server import probe_server
from tests.services.serving import JSON, Reply, echo, served

CANARY = "sk-canary-51a7f0e2"
MODELS = {"object": "list", "data": [{"id": name, "object": "model"} for name in ("a", "b", "c", "d")]}


def said(finding: Finding) -> str:
    return f"{finding.check} {finding.found} {finding.advice}"


def checked(url: str, key: str | None = CANARY, timeout_s: float = 5.0) -> list[Finding]:
    """The findings, none of which may hold the key, and each wrong one of which says what to do."""
    findings = list(check_server(url, key, timeout_s))
    assert not any(CANARY in said(finding) for finding in findings)
    assert all(finding.advice for finding in findings if finding.ok is False)
    return findings


def answered(status: int, body: bytes = b"", headers: dict[str, str] = JSON, key: str | None = CANARY) -> Finding:
    """What is found where a server answers so; that it was reached is said first."""
    with served(lambda handler: (status, headers, body)) as server:
        first, last = checked(f"{server.url}/v1", key)
    assert (first.check, first.ok) == ("server", True)
    assert last.check == "server models"
    return last


def test_a_server_that_lists_its_models_is_fine_and_is_asked_once_with_the_key() -> None:
    with served(lambda handler: (200, JSON, json.dumps(MODELS).encode())) as server:
        findings = checked(f"{server.url}/v1/")
        assert [finding.ok for finding in findings] == [True, True]
        assert findings[1].found == "serves a, b, c and 1 more"
        assert server.asked == [("/v1/models", f"Bearer {CANARY}")]


def test_without_a_key_none_is_sent() -> None:
    with served(lambda handler: (200, JSON, json.dumps(MODELS).encode())) as server:
        checked(f"{server.url}/v1", key=None)
        assert server.asked == [("/v1/models", None)]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_told_by_the_name_of_its_variable(status: int) -> None:
    refused = answered(status)
    assert refused.ok is False
    assert refused.found == f"refuses the key in OPENAI_API_KEY (status {status})"
    absent = answered(status, key=None)
    assert absent.found == f"asks for a key, and OPENAI_API_KEY is not set (status {status})"
    assert absent.advice == "export OPENAI_API_KEY=…"


@pytest.mark.parametrize(
    ("base", "meant"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://host/openai", "http://host/openai/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("http://host/api/v2", None),
        ("http://host/v1beta/openai", None),
    ],
)
def test_an_address_with_a_version_of_its_own_gets_no_second_one(base: str, meant: str | None) -> None:
    assert get_corrected_base(base) == meant


def test_a_forgotten_v1_is_the_advice() -> None:
    with served(lambda handler: (200 if "/v1/" in handler.path else 404, JSON, json.dumps(MODELS).encode())) as server:
        missing = checked(server.url)[1]
        assert missing.advice == f"--base-url {server.url}/v1"
        assert checked(f"{server.url}/v1")[1].ok
    assert answered(404).advice is not None
    assert "--base-url" not in str(answered(404).advice)


@pytest.mark.parametrize(
    ("status", "ok", "words"),
    [
        (429, None, "asks for fewer requests (status 429)"),
        (400, False, "answers with status 400"),
        (405, False, "answers with status 405"),
    ],
)
def test_other_refusals_are_told_by_their_status(status: int, ok: bool | None, words: str) -> None:
    assert (answered(status).ok, answered(status).found) == (ok, words)


def test_a_server_in_trouble_counts_as_not_there() -> None:
    with served(lambda handler: (503, {}, echo(handler))) as server:
        (finding,) = checked(server.url)
    assert (finding.check, finding.ok) == ("server", False)
    assert finding.found.endswith("answers with status 503")


def test_a_redirect_is_not_followed_and_the_key_stays() -> None:
    with served(lambda handler: (200, JSON, json.dumps(MODELS).encode())) as other:

        def away(handler: BaseHTTPRequestHandler) -> Reply:
            return 302, {"Location": f"{other.url}/v1/models?key={CANARY}"}, b""

        with served(away) as server:
            finding = checked(server.url)[1]
        assert finding.found == f"redirects to {other.url}/v1/models?key=(key) (status 302)"
        assert other.asked == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>hello</html>", "answers something that is not JSON (text/html)"),
        (b"[" * 200_000, "answers something that is not JSON (text/html)"),
        (b"", "answers something that is not JSON (text/html)"),
        (b"[]", "answers JSON that is no list of models"),
        (b'{"data": 3}', "answers JSON that is no list of models"),
        (b'{"data": [{"id": 3}]}', "answers JSON that is no list of models"),
    ],
)
def test_an_answer_that_is_no_list_of_models_is_wrong(body: bytes, words: str) -> None:
    finding = answered(200, body, {"Content-Type": "text/html"})
    assert (finding.ok, finding.found) == (False, words)


def test_a_server_without_models_is_reached_all_the_same() -> None:
    assert answered(200, b'{"data": []}').found == "serves no model"


def test_the_key_is_hidden_where_a_model_is_named_after_it() -> None:
    assert answered(200, json.dumps({"data": [{"id": f"x{CANARY}"}]}).encode()).found == "serves x(key)"


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 500])
def test_a_server_that_repeats_what_it_was_sent_does_not_get_the_key_told(status: int) -> None:
    with served(lambda handler: (status, {"Location": CANARY, "Content-Type": f"x/{CANARY}"}, echo(handler))) as server:
        checked(server.url)
        assert server.asked == [("/models", f"Bearer {CANARY}")]


@contextmanager
def listening(reply: bytes | None, every_s: float = 0.0) -> Iterator[str]:
    """A socket that answers with these bytes, one by one if `every_s`, or never (None)."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            with suppress(OSError), peer:
                peer.recv(9999)
                for byte in reply or b"":
                    peer.sendall(bytes([byte]))
                    time.sleep(every_s)
                if reply is None:
                    time.sleep(30)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_closed_port_refuses_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (finding,) = checked(f"http://127.0.0.1:{port}/v1")
    assert finding.check == "server"
    assert finding.found == f"http://127.0.0.1:{port}/v1: refuses the connection"
    assert "vllm serve" in str(finding.advice)


def test_a_name_that_no_server_can_have_is_a_finding_and_no_bug() -> None:
    for name in ("a" * 70, "a..b"):  # the look-up of names has its own error for both
        (finding,) = checked(f"http://{name}/v1")
        assert (finding.check, finding.ok) == ("server", False)
        with pytest.raises(Unavailable, match=r"cannot be reached \(UnicodeError\)"):
            probe_server(f"http://{name}/v1", None)


def test_a_silent_server_is_given_up_in_time() -> None:
    with listening(None) as url:
        started = time.monotonic()
        (finding,) = checked(url, timeout_s=0.3)
        assert time.monotonic() - started < 8
    assert finding.found == f"{url}: no answer within 0.3 s"


def test_a_server_that_drips_is_given_up_in_time() -> None:
    with listening(b"HTTP/1.1 200 OK\r\n" + 99 * b"x", every_s=0.1) as url:
        started = time.monotonic()
        (finding,) = checked(url, timeout_s=0.5)
        assert time.monotonic() - started < 8
    assert "no answer within" in finding.found


def test_what_speaks_no_http_is_told() -> None:
    with listening(b"SSH-2.0-OpenSSH\r\n") as url:
        (finding,) = checked(url)
    assert finding.found == f"{url}: does not speak HTTP (BadStatusLine)"
    with listening(b"nothing here speaks TLS") as url:
        (finding,) = checked(url.replace("http:", "https:"))
    assert "does not speak TLS" in finding.found


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "file:///etc/passwd",
        "file://localhost/etc/",
        "ftp://host/",
        "http://",
        "http://[::1",
        "http://host:99999",
        "http://host:port",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://hóst/",
        f"http://user:{CANARY}@host/v1",
        f"http://host/v1?key={CANARY}",
    ],
)
def test_what_is_no_plain_address_is_refused_without_being_repeated(url: str) -> None:
    (finding,) = checked(url, key=None)
    assert (finding.check, finding.ok) == ("server models", False)
    assert finding.found.startswith("--base-url: ")
    assert str(finding.advice).startswith("give it as in --base-url http://localhost:8000/v1")


@pytest.mark.parametrize("key", [f"{CANARY}\n", f" {CANARY}", f"{CANARY}\r\nX: y", f"{CANARY}ü"])
def test_a_key_that_no_header_carries_is_not_repeated(key: str) -> None:
    (finding,) = checked("http://127.0.0.1:1", key)
    assert finding.found == "OPENAI_API_KEY holds spaces or other letters that no key has"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 "]))
def test_bytes_of_any_kind_end_as_findings(content: bytes, before: bytes) -> None:
    with listening(before + content) as url:
        checked(url, timeout_s=2)
