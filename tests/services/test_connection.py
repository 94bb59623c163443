"""One request: the key goes to one server, in one header, and comes out nowhere; and it ends in time."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from stages.errors import BadConfig, Denied
from stages.services.client import Server
from tests.conftest import ROOT
from tests.services.asking import CANARY, SLACK_S, answered, asked, call, calls, outcome, serving
from tests.services.behaviours import (
    Behaviour,
    body,
    cut_off,
    drip,
    drip_headers,
    drip_unbounded,
    echo,
    echo_escaped,
    hang,
    ok,
    raw,
    redirect,
    slow,
    status,
)
from tests.services.scripted import scripted
from tests.services.scripts import always, in_turn

SENT = {
    *("host", "accept", "accept-encoding", "connection", "user-agent", "content-type", "content-length"),
    "authorization",
}
MEDDLING = {
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OPENAI_API_KEY": "sk-another-one",
    "OPENAI_ADMIN_KEY": "sk-admin-one",
    "OPENAI_ORG_ID": "org-one",
    "OPENAI_PROJECT_ID": "proj-one",
    "OPENAI_CUSTOM_HEADERS": "Authorization: Bearer sk-custom\nX-Custom: one",
}


@pytest.mark.parametrize("key", [CANARY, None])
def test_nothing_but_the_key_that_was_given_is_sent(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in MEDDLING.items():
        monkeypatch.setenv(name, value)
    with serving(always(ok()), key=key) as (there, server):
        outcome(there, server, [call("0", "ü \ud800 \u2028")])
        (sent,) = there.asked
    assert sent.path == "/v1/chat/completions"
    assert sent.headers.get("authorization") == (f"Bearer {key}" if key else None)
    assert set(sent.headers) == (SENT if key else SENT - {"authorization"})
    assert sent.body == {"model": "m", "messages": [{"role": "user", "content": "ü \ufffd \u2028"}]}


def test_an_empty_key_is_none() -> None:
    with serving(always(ok()), key="") as (there, server):
        outcome(there, server, [call("0")])
        assert "authorization" not in there.asked[0].headers


def test_no_redirect_is_followed_and_the_key_stays() -> None:
    with scripted(always(ok())) as other:
        out = answered(redirect(f"{other.url}/chat/completions?key={CANARY}"))
        assert f"redirects to {other.url}/chat/completions?key=(key) (status 307)" in str(out.error)
        assert other.asked == [] and other.lists == 0


def test_connections_are_kept_for_the_next_call() -> None:
    with serving(always(ok()), concurrency=1) as (there, server):
        outcome(there, server, [call(str(number)) for number in range(20)])
        assert there.connections == 1


@pytest.mark.parametrize("text", [f"x {CANARY} y", f"Bearer {CANARY}"])
def test_an_answer_that_holds_the_key_loses_it(text: str) -> None:
    out = answered(ok(text))
    assert list(out.texts.values()) == [text.replace(CANARY, "(key)")]


def test_a_dummy_key_is_left_in_what_a_model_says() -> None:
    out = answered(ok("the glass is EMPTY"), key="EMPTY")
    assert list(out.texts.values()) == ["the glass is EMPTY"]


def test_https_to_a_server_without_it_is_told_at_once() -> None:
    with scripted(always(ok())) as there:
        server = Server(there.url.replace("http:", "https:"), key=CANARY)
        server.submit(call("0"))
        with pytest.raises(BadConfig, match="does not speak TLS; take http:// instead of https:// in --base-url"):
            server.take(wait=True)
        server.close()


def test_an_unknown_host_is_told() -> None:
    server = Server("http://nowhere.invalid/v1", key=None, retry_for_s=1.0)
    server.submit(call("0"))
    with pytest.raises(Exception, match=r"http://nowhere.invalid/v1: .*, for ") as caught:
        server.take(wait=True)
    assert type(caught.value).__name__ == "Unavailable"
    server.close()


@pytest.mark.parametrize(
    ("proxy", "words"),
    [
        ("socks5://127.0.0.1:1", "names a SOCKS proxy: pip install socksio, or unset it"),
        ("socks4://user:secret@127.0.0.1:1", "is not the URL of a proxy: correct or unset it"),
        ("http://user:sec ret@host:port", "is not the URL of a proxy: correct or unset it"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_told(proxy: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    server = Server("http://127.0.0.1:1/v1", key=CANARY)
    server.submit(call("0"))
    with pytest.raises(BadConfig) as caught:
        server.take(wait=True)
    assert str(caught.value) == f"ALL_PROXY (or HTTP_PROXY) {words}"
    server.close()


# ---- in a process of its own

ASK = """
import sys, traceback
from stages.errors import SealError
from stages.services.base import Call
from stages.services.client import Server

for url in sys.argv[3:]:
    server = Server(url, key=sys.argv[1], retry_for_s=float(sys.argv[2]), timeout_s=60.0)
    for name in range(8):
        server.submit(Call(str(name), "chat/completions", {"model": "m", "prompt": "x"}))
    print("asked", flush=True)
    try:
        while server.open:
            for reply in server.take(wait=True):
                print(reply)
    except SealError:
        traceback.print_exc()
"""


def process(urls: list[str], retry_for_s: float, folder: Path, code: str = ASK) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, CANARY, str(retry_for_s), *urls],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "OPENAI_LOG": "debug", "PYTHONPATH": str(ROOT)},
    )


LEAKS: list[Behaviour] = [
    echo(401),
    echo(400),
    echo(503),
    echo_escaped(200),
    echo_escaped(400),
    echo_escaped(401),
    raw(CANARY.replace("s", "\\u0073").encode(), status=500),
    redirect(CANARY),
    cut_off(),
    status(404),
    raw(CANARY.encode(), CANARY),
    raw(CANARY.encode(), status=500),
    body({"choices": [], "said": CANARY}),
    raw(b"{}", x_echo=CANARY),
]


def test_no_log_and_no_traceback_holds_the_key(tmp_path: Path) -> None:
    with ExitStack() as stack:
        there = [stack.enter_context(scripted(always(leak))) for leak in LEAKS]
        out, err = process([one.url for one in there], 0.2, tmp_path).communicate(timeout=60)
        assert all(one.asked[0].headers["authorization"] == f"Bearer {CANARY}" for one in there)
    assert out.count("asked\n") == len(LEAKS) and "(key)" in out and "(key)" in err
    assert CANARY not in out + err
    assert "DEBUG]" not in err and "retry_scheduled" not in err


def end(running: subprocess.Popen[str], signum: int) -> str:
    """Interrupts it while it waits. What it has written on stderr."""
    time.sleep(0.2)  # until it waits
    started = time.monotonic()
    running.send_signal(signum)
    _, err = running.communicate(timeout=30)
    assert time.monotonic() - started < SLACK_S  # 0.3 s where nothing else runs; a call that is waited for takes 60
    assert CANARY not in err and "was destroyed" not in err and "never awaited" not in err
    return err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, -2), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_process_at_once_though_all_connections_hang(signum: int, code: int, tmp_path: Path) -> None:
    handler = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
    with scripted(in_turn(*[hang()] * 6, status(500, Retry_After="60"))) as there:
        running = process([there.url], 100.0, tmp_path, handler + ASK)
        assert running.stdout is not None and running.stdout.readline() == "asked\n"
        while len(there.asked) < 8:
            time.sleep(0.01)
        end(running, signum)
    assert running.returncode == code


def test_a_signal_ends_the_process_at_once_though_a_host_s_name_is_looked_up(tmp_path: Path) -> None:
    slow_look_up = "import socket, time\nsocket.getaddrinfo = lambda *_, **__: time.sleep(60)\n"
    running = process(["http://localhost:9/v1"], 100.0, tmp_path, slow_look_up + ASK)
    assert running.stdout is not None and running.stdout.readline() == "asked\n"
    assert "KeyboardInterrupt" in end(running, signal.SIGINT)
    assert running.returncode == -2


@pytest.mark.parametrize(
    "behaviour", [hang(), slow(0.6), drip(0.05, 100), drip_headers(0.05, 100), drip_unbounded(0.05, 100)]
)
def test_a_request_has_its_time_and_no_more(behaviour: Behaviour) -> None:
    out = answered(behaviour, timeout_s=0.2, retry_for_s=0.4)
    assert out.failure == "timeout: no answer within 0.2 s"
    assert out.asked >= 2 and out.seconds < 0.6 + SLACK_S
    assert asked(in_turn(behaviour, ok()), timeout_s=0.2, retry_for_s=4).texts == {"0": "yes"}


def test_an_error_is_told_by_its_status_though_its_body_has_no_end() -> None:
    out = answered(drip(0.05, 100, code=401), timeout_s=0.2)
    assert isinstance(out.error, Denied) and "status 401" in str(out.error) and out.asked == 1


def test_a_kept_connection_has_a_deadline_for_each_request() -> None:
    script = in_turn(ok(), ok(), drip_headers(0.05, 100), ok())
    with serving(script, concurrency=1, timeout_s=0.3, retry_for_s=5.0) as (there, server):
        out = outcome(there, server, calls(4))
        assert there.connections == 2, "a connection that was ended is not used again"
    assert len(out.texts) == 4 and out.usage.retries == 1 and out.seconds < 1.0 + SLACK_S


def test_many_that_drip_at_once_are_all_given_up() -> None:
    out = asked(always(drip_headers(0.05, 100)), calls(8), timeout_s=0.2, concurrency=8)
    assert "no answer within 0.2 s" in str(out.error) and out.seconds < 0.5 + SLACK_S


def test_a_deadline_that_was_kept_ends_nothing_later() -> None:
    out = asked(always(slow(0.2)), calls(6), timeout_s=0.6, concurrency=2)
    assert len(out.texts) == 6 and out.usage.retries == 0


def test_a_connection_that_waits_for_the_next_request_has_no_deadline() -> None:
    with serving(always(ok()), concurrency=1, timeout_s=0.2) as (there, server):
        outcome(there, server, calls(1))
        time.sleep(0.5)
        outcome(there, server, calls(1))
        assert there.connections == 1
