"""--judge to a judge."""

from pathlib import Path

import pytest

from stages.failures import BadConfig, Denied
from stages.judges.choose import check_judge, make_judge, served
from stages.judges.exact import Exact
from stages.services.base import HOSTED
from stages.services.batch import BatchAnswers


@pytest.mark.parametrize(
    ("text", "model", "url"),
    [
        ("openai:gpt-4.1", "gpt-4.1", HOSTED),
        ("openai:llama3:8b@http://localhost:11434/v1/", "llama3:8b", "http://localhost:11434/v1"),
        ("openai:org/name@main", "org/name@main", HOSTED),
        ("openai:a@b@https://host/v1", "a@b", "https://host/v1"),
    ],
)
def test_a_served_judge_is_a_model_and_perhaps_a_url(text: str, model: str, url: str) -> None:
    found = served(text)
    assert found is not None
    assert (found.model, found.url) == (model, url)


@pytest.mark.parametrize("text", ["exact", "lexical", "command:openai:x", "package.openai:Judge"])
def test_other_judges_have_no_server(text: str) -> None:
    assert served(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("openai:", "give a model, as in openai:gpt-4.1"),
        ("openai:@http://x/v1", "give a model"),
        ("openai:m@http://user:secret@x/v1", "more than host, port and path"),
        ("openai:m@http://x/v1?key=secret", "more than host, port and path"),
        ("lexicla", "take one of exact, lexical"),
    ],
)
def test_a_judge_that_is_none_is_refused_by_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(BadConfig, match=words) as caught:
        check_judge(text, "sk-1")
    assert "secret" not in str(caught.value).replace(text, "")


def test_openais_own_models_need_a_key_and_others_do_not() -> None:
    with pytest.raises(Denied, match=r"openai:gpt-4\.1: needs a key; export OPENAI_API_KEY="):
        check_judge("openai:gpt-4.1", None)
    check_judge("openai:gpt-4.1", None, asks=False)
    check_judge("openai:gpt-4.1", "sk-1")
    check_judge("openai:m@http://localhost:1/v1", None)
    check_judge("exact", None)


def test_the_judges_are_made(tmp_path: Path) -> None:
    assert isinstance(make_judge("exact", lambda url: BatchAnswers(()), None), Exact)
    judge = make_judge("openai:m@http://localhost:1/v1", lambda url: BatchAnswers(()), tmp_path / "v.sqlite")
    assert judge.name == "openai:m"
    assert make_judge("command:cat", lambda url: BatchAnswers(()), None).name == "command:cat"
