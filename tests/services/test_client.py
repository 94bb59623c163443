"""A server over HTTP as a Transport: how many calls at once, the order of events, and the end."""

import os
import threading
import time

import pytest

from stages.errors import BadConfig
from stages.services.client import Server
from tests.services.asking import CANARY, SLACK_S, asked, call, calls, outcome, serving
from tests.services.behaviours import (
    hang,
    limited,
    ok,
    slow,
)
from tests.services.scripts import always, in_turn, prompt_of


def test_no_more_are_under_way_than_allowed_and_room_says_so() -> None:
    with serving(always(slow(0.05)), concurrency=3) as (there, server):
        for one in calls(3):
            assert server.room
            server.submit(one)
        assert not server.room and server.open == 3
        assert len(outcome(there, server, calls(20)).replies) == 23
        assert there.most_at_once == 3 and server.open == 0 and server.room


def test_too_many_at_once_makes_them_fewer_and_all_succeed() -> None:
    slowly = slow(0.01)
    out = asked(lambda n, body: slowly, calls(150), most=4, retry_for_s=30.0)
    assert len(out.texts) == 150
    (note,) = [note for note in out.notes if "at most" in note]
    assert "status 429: scripted 429: at most " in note
    assert out.asked < 2 * 150, "most requests are sent when there is room for them"


def test_closing_waits_for_nothing_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with serving(in_turn(*[hang()] * 4, limited("60", code=500)), concurrency=8, retry_for_s=100.0) as (there, server):
        for one in calls(8):
            server.submit(one)
        while len(there.asked) < 8:
            time.sleep(0.01)
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("server")]
        ours = [thread for thread in ours if thread not in before]
        assert len(ours) == 1 and all(thread.daemon for thread in ours)
        started = time.monotonic()
        server.close()
        assert time.monotonic() - started < SLACK_S
        for thread in ours:
            thread.join(SLACK_S)
        assert not any(thread.is_alive() for thread in ours)


def test_a_process_may_fork_before_the_first_call() -> None:
    with serving(always(ok())) as (_, server):
        child = os.fork()
        if child == 0:
            server.submit(call("0"))
            os._exit(len(server.take(wait=True)))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        server.submit(call("1"))
        assert [reply.id for reply in server.take(wait=True)] == ["1"]


def test_nothing_to_take_is_no_wait() -> None:
    with serving(always(hang())) as (_, server):
        assert server.take(wait=True) == []
        server.submit(call("0"))
        assert server.take(wait=False) == []


@pytest.mark.parametrize("url", ["localhost:8000", "http://user:pw@host/v1", "http://host/v1?key=1"])
def test_a_bad_address_is_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(BadConfig, match="--base-url"):
        Server(url, key=CANARY)


def test_a_key_that_no_header_carries_is_refused() -> None:
    with pytest.raises(BadConfig, match="OPENAI_API_KEY holds spaces"):
        Server("http://127.0.0.1:9/v1", key=f"{CANARY}\n")


def test_prompts_are_told_apart_in_both_forms() -> None:
    assert prompt_of({"prompt": "a"}) == prompt_of({"messages": [{"content": "b"}, {"content": "a"}]}) == "a"


def test_what_is_closed_gives_nothing_and_takes_nothing() -> None:
    with serving(always(ok())) as (_, server):
        server.submit(call("0"))
        server.close()
        assert (server.open, server.take(wait=True)) == (0, [])
        with pytest.raises(RuntimeError, match="closed"):
            server.submit(call("1"))
        server.close()
