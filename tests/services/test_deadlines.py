"""Every request has one deadline, on a new connection and on a kept one; one thread watches over all of them."""

import socket
import threading
import time

import pytest

from stages.services.deadlines import Connection, Deadlines
from tests.services.asking import SLACK_S, TRIED_S, answered, asked, calls, outcome, serving
from tests.services.behaviours import Behaviour, hang, ok, slow
from tests.services.drips import drip, drip_headers, drip_unbounded
from tests.services.scripts import always, in_turn


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "deadlines"]


def connected(connection: Connection) -> socket.socket:
    """The other end of a connection that was just made."""
    ours, other = socket.socketpair()

    class Stream:
        def get_extra_info(self, name: str) -> socket.socket:
            return ours

    connection.trace("connection.connect_tcp.complete", {"return_value": Stream()})
    return other


@pytest.mark.parametrize(
    "behaviour", [hang(), slow(0.6), drip(0.05, 100), drip_headers(0.05, 100), drip_unbounded(0.05, 100)]
)
def test_a_request_has_its_time_and_no_more(behaviour: Behaviour) -> None:
    out = answered(behaviour, timeout_s=0.2)
    assert out.failure == "timeout: no answer within 0.2 s"
    assert out.asked >= 2 and out.seconds < TRIED_S + 0.2 + SLACK_S
    assert asked(in_turn(behaviour, ok()), timeout_s=0.2).texts == {"0": "yes"}


def test_a_kept_connection_has_a_deadline_for_each_request() -> None:
    script = in_turn(ok(), ok(), drip_headers(0.05, 100), ok())
    with serving(script, concurrency=1, timeout_s=0.3, retry_for_s=5.0) as (there, server):
        out = outcome(there, server, calls(4))
        assert there.connections == 2, "a connection that was ended is not used again"
    assert len(out.texts) == 4 and out.tally.retries == 1 and out.seconds < 1.0 + SLACK_S


def test_many_that_drip_at_once_are_all_given_up() -> None:
    out = asked(always(drip_headers(0.05, 100)), calls(8), timeout_s=0.2, concurrency=8)
    assert "no answer within 0.2 s" in str(out.error) and out.seconds < 0.5 + SLACK_S


def test_a_deadline_that_was_kept_ends_nothing_later() -> None:
    out = asked(always(slow(0.2)), calls(6), timeout_s=0.6, concurrency=2)
    assert len(out.texts) == 6 and out.tally.retries == 0


def test_a_connection_that_waits_for_the_next_request_has_no_deadline() -> None:
    with serving(always(ok()), concurrency=1, timeout_s=0.2) as (there, server):
        outcome(there, server, calls(1))
        time.sleep(0.5)
        outcome(there, server, calls(1))
        assert there.connections == 1


def test_one_thread_watches_over_all_and_ends_with_the_server() -> None:
    before = set(watchers())
    with serving(always(hang()), concurrency=8) as (there, server):
        for one in calls(8):
            server.submit(one)
        while len(there.asked) < 8:
            time.sleep(0.01)
        (ours,) = set(watchers()) - before
    ours.join(SLACK_S)
    assert not ours.is_alive()


def test_a_connection_made_after_the_deadline_is_ended_at_once() -> None:
    connection, deadlines = Connection(), Deadlines(0.05)
    with deadlines.watching(connection):
        time.sleep(0.3)
        assert not connection.cut, "there was none"
        other = connected(connection)
        assert connection.cut and other.recv(1) == b""
    deadlines.abort()
    with deadlines.watching(connection):
        assert connected(connection).recv(1) == b"", "nothing is asked after the end"
