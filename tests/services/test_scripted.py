"""The scripted server itself: what it is told to do, it does; what it was asked, it keeps."""

import http.client
import json
import threading
import time
from urllib.parse import urlsplit

import pytest

from tests.services.behaviours import cut_off, die, huge, in_seconds, limited, ok, reset, slow, status
from tests.services.scripted import Scripted, scripted
from tests.services.scripts import always, chance, echoes, flaky, in_turn, poison

BODY = {"model": "m", "prompt": "why"}


def post(url: str, path: str = "/completions", body: object = BODY) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    try:
        connection.request("POST", parts.path + path, json.dumps(body), {"Authorization": "Bearer k"})
        reply = connection.getresponse()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    finally:
        connection.close()


def test_both_forms_are_answered_and_the_request_is_kept() -> None:
    with scripted(echoes) as server:
        code, _, content = post(server.url)
        assert (code, json.loads(content)["choices"][0]["text"]) == (200, "why")
        chat = {"messages": [{"role": "user", "content": "who"}]}
        assert json.loads(post(server.url, "/chat/completions", chat)[2])["choices"][0]["message"]["content"] == "who"
        assert [asked.path for asked in server.asked] == ["/v1/completions", "/v1/chat/completions"]
        assert server.asked[0].body == BODY and server.asked[0].headers["authorization"] == "Bearer k"
        assert server.asked[0].at_s <= server.asked[1].at_s <= time.monotonic()


def test_the_models_are_listed() -> None:
    with scripted(echoes, models=("a", "b")) as server:
        parts = urlsplit(server.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
        connection.request("GET", "/v1/models")
        assert [row["id"] for row in json.load(connection.getresponse())["data"]] == ["a", "b"]
        connection.close()
        assert (server.lists, server.asked) == (1, [])


def test_the_last_behaviour_stays() -> None:
    with scripted(in_turn(status(400), limited("3"), limited(milliseconds=5), ok())) as server:
        found = [post(server.url)[:2] for _ in range(5)]
    assert [code for code, _ in found] == [400, 429, 429, 200, 200]
    assert (found[1][1]["retry-after"], found[2][1]["retry-after-ms"]) == ("3", "5")
    assert in_seconds(0).endswith(" GMT")


def test_broken_answers_are_broken() -> None:
    with scripted(in_turn(reset(), cut_off(), huge(1_000_000))) as server:
        with pytest.raises(ConnectionResetError):
            post(server.url)
        with pytest.raises(http.client.IncompleteRead):
            post(server.url)
        assert len(post(server.url)[2]) > 1_000_000


def test_requests_at_once_are_counted_and_may_be_limited() -> None:
    with scripted(always(slow(0.2)), most=2) as server:
        codes: list[int] = []
        threads = [threading.Thread(target=lambda: codes.append(post(server.url)[0])) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.most_at_once > 2 and sorted(codes)[:2] == [200, 200] and 429 in codes
        while server.at_once:  # its threads end after their answers are read
            time.sleep(0.01)


def refuses(server: Scripted) -> bool:
    try:
        post(server.url)
    except ConnectionRefusedError:
        return True
    except ConnectionError:
        return False
    return False


def test_a_server_that_dies_refuses_connections_and_may_come_back() -> None:
    with scripted(in_turn(ok(), die(back_after_s=0.3), ok())) as server:
        assert post(server.url)[0] == 200
        assert not refuses(server)
        assert refuses(server)
        time.sleep(0.6)
        assert post(server.url)[0] == 200
    assert refuses(server)


def test_chance_depends_on_the_prompt_and_the_try() -> None:
    assert chance(BODY, 0) == chance(dict(reversed(BODY.items())), 0) != chance(BODY, 1)
    drawn = [poison(0.2, status(500), always(ok()))(0, {"prompt": str(number)}) for number in range(500)]
    assert 60 < sum(one is not drawn[0] for one in drawn) <= 500
    assert 0.1 < sum(chance({"n": number}, 0) < 0.2 for number in range(1000)) / 1000 < 0.3


def test_what_a_try_of_a_prompt_meets_does_not_depend_on_the_others() -> None:
    bad, good = status(500), ok()
    alone, mixed = flaky(0.5, [bad], always(good)), flaky(0.5, [bad], always(good))
    first = [alone(n, BODY) is bad for n in range(30)]
    second = []
    for n in range(30):
        mixed(n, {"prompt": f"other {n}"})
        second.append(mixed(99, BODY) is bad)
    assert first == second and 5 < sum(first) < 25
