"""--judge to a judge."""

from pathlib import Path
from typing import Any

import pytest

from stages.errors import BadConfig, Denied
from stages.judges.base import Case
from stages.judges.cache import Cache
from stages.judges.command import TIMEOUT_S
from stages.judges.exact import ExactJudge
from stages.judges.factory import make_judge, parse_server, validate_judge
from stages.services.base import HOSTED
from stages.services.batch_files import BatchAnswers


@pytest.mark.parametrize(
    ("text", "model", "url"),
    [
        ("openai:gpt-4.1", "gpt-4.1", HOSTED),
        ("openai:llama3:8b@http://localhost:11434/v1/", "llama3:8b", "http://localhost:11434/v1"),
        ("openai:org/name@main", "org/name@main", HOSTED),
        ("openai:a@b@https://host/v1", "a@b", "https://host/v1"),
        ("openai:m@HTTP://localhost:8000/v1", "m", "http://localhost:8000/v1"),
        ("openai:m@hTTpS://host/v1/", "m", "https://host/v1"),
        ("openai:llama3:8b", "llama3:8b", HOSTED),
        ("openai:llama3:8b@q4_0", "llama3:8b@q4_0", HOSTED),
        ("openai:ft:gpt-4.1:org::id", "ft:gpt-4.1:org::id", HOSTED),
        ("openai:org/name@refs/pr/3", "org/name@refs/pr/3", HOSTED),
        ("openai:name@sha256:0123456789abcdef", "name@sha256:0123456789abcdef", HOSTED),
    ],
)
def test_a_served_judge_is_a_model_and_perhaps_a_url(text: str, model: str, url: str) -> None:
    found = parse_server(text)
    assert found is not None
    assert (found.model, found.url) == (model, url)


@pytest.mark.parametrize("text", ["exact", "lexical", "command:openai:x", "package.openai:Judge"])
def test_other_judges_have_no_server(text: str) -> None:
    assert parse_server(text) is None


WRITE = "write openai:NAME@http://HOST:PORT/v1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("openai:", "give a model, as in openai:gpt-4.1"),
        ("openai:@http://x/v1", "give a model"),
        ("openai:@http://user:SECRETPW@x/v1", "give a model"),
        ("openai:m@http://user:SECRETPW@x/v1", f"more than host, port and path; {WRITE}"),
        ("openai:m@HTTP://user:SECRETPW@x/v1", f"more than host, port and path; {WRITE}"),
        ("openai:m@http://SECRETPW@x/v1", f"more than host, port and path; {WRITE}"),
        ("openai:m@http://x/v1?key=SECRETPW", "more than host, port and path"),
        ("openai:m@http://user:SECRETPW", "not a URL"),
        ("lexicla", "take one of exact, lexical"),
        ("OPENAI:m@http://user:SECRETPW@x/v1", WRITE),
        ("openia:m@user:SECRETPW@x", WRITE),
        ("json:m@http://user:SECRETPW@x/v1", WRITE),
        ("openai@http://user:SECRETPW@x/v1", WRITE),
        ("user:SECRETPW@x", WRITE),
    ],
)
def test_a_judge_that_is_none_is_refused_by_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(BadConfig) as caught:
        validate_judge(text, "sk-1")
    assert words in str(caught.value)
    assert "SECRETPW" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000/v1",
        "localhost",
        "LOCALHOST/v1",
        "127.0.0.1",
        "192.168.0.7/openai",
        "[::1]:8000",
        "host:8000",
        "gpu-1.lan:8000/",
        "host/v1",
        "host.example/v1beta/openai",
        "ftp://host",
        "ftp://user:SECRETPW@h",
        "FTP://user:SECRETPW@h/v1",
        "http:/localhost:8000/v1",
        "http:localhost",
        "//host/v1",
        "user:SECRETPW@localhost:8000/v1",
        "user:SECRETPW@host",
        "SECRETPW@host:8000",
        "http//user:SECRETPW@host",
    ],
)
@pytest.mark.parametrize("model", ["m", "org/name", "llama3:8b", "a@b"])
def test_an_address_that_is_no_url_is_not_sent_to_openai_as_a_name(model: str, address: str) -> None:
    with pytest.raises(BadConfig) as caught:
        validate_judge(f"openai:{model}@{address}", "sk-1")
    assert WRITE in str(caught.value)
    assert "SECRETPW" not in str(caught.value)


def test_a_url_without_a_model_is_not_taken_for_one() -> None:
    for text in ("openai:http://localhost:8000/v1", "openai:http://user:SECRETPW@host/v1"):
        with pytest.raises(BadConfig, match=WRITE) as caught:
            validate_judge(text, "sk-1")
        assert "SECRETPW" not in str(caught.value)


def test_openais_own_models_need_a_key_and_others_do_not() -> None:
    advice = r"export OPENAI_API_KEY=… \(or SEAL_JUDGE_API_KEY=…\)$"
    with pytest.raises(Denied, match=rf"openai:gpt-4\.1: needs a key; {advice}"):
        validate_judge("openai:gpt-4.1", None)
    validate_judge("openai:gpt-4.1", None, asks=False)
    validate_judge("openai:gpt-4.1", "sk-1")
    validate_judge("openai:m@http://localhost:1/v1", None)
    validate_judge("exact", None)


def test_the_judges_are_made(tmp_path: Path) -> None:
    assert isinstance(make_judge("exact", lambda url: BatchAnswers(()), None), ExactJudge)
    judge = make_judge("openai:m@http://localhost:1/v1", lambda url: BatchAnswers(()), tmp_path / "v.sqlite")
    assert judge.name == "openai:m"
    assert make_judge("command:cat", lambda url: BatchAnswers(()), None).name == "command:cat"


def test_servers_that_call_their_models_the_same_share_no_verdicts(tmp_path: Path) -> None:
    def cached(url: str) -> Cache:
        judge: Any = make_judge(f"openai:m@{url}", lambda url: BatchAnswers(()), tmp_path / "v.sqlite")
        assert isinstance(judge.cache, Cache)
        return judge.cache

    case = Case("q", "gold", "answer")
    cached("http://localhost:1/v1").put(case, "yes")
    assert cached("HTTP://localhost:1/v1/").get(case) == "yes"
    assert cached("http://localhost:2/v1").get(case) is None


def test_a_program_has_its_own_time_unless_one_is_given() -> None:
    judges: list[Any] = [
        make_judge("command:cat", lambda url: BatchAnswers(()), None, timeout_s=timeout_s) for timeout_s in (None, 7)
    ]
    assert [judge.timeout_s for judge in judges] == [TIMEOUT_S, 7]
