"""Batch files: calls written as lines, and answers read back as if they came from a server."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages.errors import BadInput, MissingInput
from stages.services.base import Call, Failure, Reply
from stages.services.batch_files import BatchAnswers, get_custom_id, write_batch
from stages.services.client import Server
from tests.services.asking import call, calls, send
from tests.services.behaviours import completion

GOOD = completion("chat", "yes")


def line(asked: Call, status: int = 200, body: Any = GOOD) -> dict[str, Any]:
    response = {"status_code": status, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": get_custom_id(asked), "response": response, "error": None}


def lost(asked: Call, words: str = "This request could not be executed.") -> dict[str, Any]:
    error = {"code": "batch_expired", "message": words}
    return {"id": "b", "custom_id": get_custom_id(asked), "response": None, "error": error}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path  # type: ignore[return-value]


def written(name: str, *lines: Any) -> Path:
    """A file in the current folder, of JSON values or of raw bytes."""
    path = Path(name)
    path.write_bytes(b"".join(one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n" for one in lines))
    return path


def replies(asked: list[Call], *paths: Path) -> list[Reply]:
    answers = BatchAnswers(paths)
    found = list(send(answers, asked))
    assert answers.open == 0 and answers.usage.calls == len(found)
    return found


# ---- writing


def test_a_line_says_what_would_be_sent() -> None:
    (written_line,) = write_batch([call("0", "\ud800")])
    assert list(written_line) == ["custom_id", "method", "url", "body"]
    assert (written_line["method"], written_line["url"]) == ("POST", "/v1/chat/completions")
    assert written_line["body"] == {"model": "m", "messages": [{"role": "user", "content": "\ufffd"}]}
    name = written_line["custom_id"]
    assert len(name) == 32 and set(name) <= set("0123456789abcdef")


def test_the_name_depends_on_id_path_and_body_alone() -> None:
    one = call("0")
    others = [replace(one, id="1"), replace(one, path="completions"), replace(one, body={**one.body, "seed": 1})]
    assert len({get_custom_id(each) for each in (one, *others)}) == 4
    again = Call("0", one.path, dict(sorted(one.body.items(), reverse=True)), final=(404,))
    assert get_custom_id(again) == get_custom_id(one)


def test_the_same_call_twice_is_one_line() -> None:
    assert len(list(write_batch([call("0"), call("1"), call("0")]))) == 2


# ---- reading


def test_answers_are_found_in_any_order_and_counted(folder: Path) -> None:
    asked = calls(5)
    path = written("out.jsonl", *[line(one, body=completion("chat", one.id)) for one in reversed(asked)])
    answers = BatchAnswers([path])
    found = list(send(answers, asked))
    assert [reply.body["choices"][0]["message"]["content"] for reply in found if reply.body] == list("01234")
    assert (answers.usage.calls, answers.usage.prompt_tokens, answers.usage.failed) == (5, 15, 0)


@pytest.mark.parametrize(
    ("told", "failure"),
    [
        (
            line(call("0"), 400, {"error": {"message": "too long\nmore", "param": "max_tokens"}}),
            Failure("api_error", "status 400: too long (parameter max_tokens)", 400),
        ),
        (
            line(call("0"), 400, {"error": {"message": "no", "code": "content_filter"}}),
            Failure("refused", "status 400: no", 400),
        ),
        (line(call("0"), 500, None), Failure("api_error", "status 500", 500)),
        (line(call("0"), 200, []), Failure("unparsable", "answers JSON that is no object", 200)),
        (lost(call("0")), Failure("api_error", "batch_expired: This request could not be executed.")),
        (lost(call("0"), words=""), Failure("api_error", "batch_expired")),
        ({"custom_id": get_custom_id(call("0")), "error": None}, Failure("api_error", "no response")),
    ],
)
def test_what_is_no_success_is_that_call_s_failure(folder: Path, told: Any, failure: Failure) -> None:
    assert replies([call("0")], written("out.jsonl", told)) == [Reply("0", None, failure)]


def test_the_error_file_is_read_beside_the_output(folder: Path) -> None:
    out, errors = written("out.jsonl", line(call("0"))), written("errors.jsonl", lost(call("1")))
    first, second = replies(calls(2), out, errors)
    assert (first.body, second.failure is not None) == (GOOD, True)


def test_a_call_that_is_not_in_the_files_fails_alone(folder: Path) -> None:
    out, errors = written("out.jsonl", line(call("2"))), written("errors.jsonl")
    found = {reply.id: reply for reply in replies(calls(4), out, errors)}
    assert found["2"].body == GOOD
    detail = "not in out.jsonl and errors.jsonl (is the batch's error file left out, or was this call added later?)"
    assert [found[name].failure for name in "013"] == [Failure("api_error", detail)] * 3


def test_answers_to_none_of_the_calls_are_other_settings(folder: Path) -> None:
    path = written("out.jsonl", line(call("0", "with another seed")))
    answers = BatchAnswers([path])
    with pytest.raises(BadInput) as caught:
        list(send(answers, calls(30)))
    assert str(caught.value).startswith(
        "out.jsonl: answers none of these calls; was the batch made with other settings"
    )
    assert answers.usage.calls == 0


def test_files_without_lines_are_not_the_answers(folder: Path) -> None:
    answers = BatchAnswers([written("out.jsonl"), written("errors.jsonl", b"\n")])
    with pytest.raises(BadInput) as caught:
        list(send(answers, calls(2)))
    assert str(caught.value).startswith("out.jsonl and errors.jsonl: holds no answers; give the batch's output file")
    assert answers.usage.calls == 0


def test_without_files_nothing_is_answered() -> None:
    assert all(reply.failure for reply in replies(calls(2)))


def test_what_is_changed_and_sent_again_is_answered_by_a_server_alone() -> None:
    assert (BatchAnswers(()).live, Server.live) == (False, True)


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_a_success_wins_over_errors_in_whatever_order_files_are_given(folder: Path, order: tuple[int, ...]) -> None:
    one = call("0")
    files = [written("errors.jsonl", lost(one)), written("out.jsonl", line(one)), written("bad.jsonl", line(one, 500))]
    (reply,) = replies([one], *(files[number] for number in order))
    assert reply == Reply("0", GOOD)


def test_the_later_of_two_errors_counts(folder: Path) -> None:
    first, second = written("first.jsonl", lost(call("0"))), written("second.jsonl", line(call("0"), 500, None))
    for files, words in (((first, second), "status 500"), ((second, first), "batch_expired")):
        (reply,) = replies([call("0")], *files)
        assert reply.failure is not None and words in reply.failure.detail


def test_two_successes_contradict_each_other_also_with_an_error_between(folder: Path) -> None:
    good, other = written("good.jsonl", line(call("0"))), written("other.jsonl", line(call("0"), body={"choices": []}))
    with pytest.raises(BadInput, match=r"other\.jsonl:1: answers [0-9a-f]{32} otherwise than good\.jsonl:1"):
        BatchAnswers([good, written("errors.jsonl", lost(call("0"))), other])


def test_the_same_answer_twice_is_fine_and_another_one_is_not(folder: Path) -> None:
    twice = written("twice.jsonl", line(call("0")), {**line(call("0")), "id": "other"})
    assert len(replies([call("0")], twice)) == 1
    other = written("other.jsonl", line(call("0"), body={"choices": []}))
    with pytest.raises(BadInput, match=r"other\.jsonl:1: answers [0-9a-f]{32} otherwise than twice\.jsonl:1; give one"):
        BatchAnswers([twice, other])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "out.jsonl:2: not JSON"),
        (b'{"custom_id": NaN}', "out.jsonl:2: not JSON: NaN is not JSON"),
        (b"[]", "out.jsonl:2: a JSON list, but each line must be a JSON object"),
        (b'{"custom_id": 3, "response": null}', "out.jsonl:2: no custom_id with a response or an error"),
        (b'{"custom_id": "x"}', "out.jsonl:2: no custom_id with a response or an error"),
        (b'{"custom_id": "x", "response": []}', "out.jsonl:2: response.status_code is no number"),
        (b'{"custom_id": "x", "response": {"status_code": true}}', "out.jsonl:2: response.status_code is no number"),
        (
            json.dumps(next(write_batch([call("0")]))).encode(),
            "out.jsonl:2: a line of the batch itself, not of its answers (download the batch's output file)",
        ),
        (b'{"x": "' + b"y" * 33 * 2**20 + b'"}', "out.jsonl:2: 34,603,017 bytes long; 33,554,432 are the most"),
    ],
)
def test_a_line_that_is_no_answer_is_told_with_its_place(folder: Path, content: bytes, words: str) -> None:
    path = written("out.jsonl", line(call("0")), content)
    with pytest.raises(BadInput) as caught:
        BatchAnswers([path])
    assert str(caught.value).startswith(words)


def test_byte_order_marks_line_ends_and_half_characters_are_read(folder: Path) -> None:
    told = json.dumps(line(call("0"), body={"choices": ["\ud800\u2028"]}), ensure_ascii=True).encode()
    (reply,) = replies([call("0")], written("out.jsonl", b"\xef\xbb\xbf" + told + b"\r\n\r\n"))
    assert reply.body == {"choices": ["\ufffd\u2028"]}


def test_a_file_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(MissingInput, match=r"^none\.jsonl: no such file or directory; give the batch's output file$"):
        BatchAnswers([Path("none.jsonl")])


def test_closing_gives_up_what_is_open(folder: Path) -> None:
    answers = BatchAnswers([written("out.jsonl", line(call("0")))])
    answers.submit(call("0"))
    assert answers.room and answers.open == 1
    answers.close()
    assert answers.open == 0 and answers.take(wait=True) == []
