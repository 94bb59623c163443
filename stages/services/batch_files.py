"""OpenAI's batch files: calls are written as lines to upload, and their answers read back as if sent over HTTP.

in    {"custom_id": …, "method": "POST", "url": "/v1/chat/completions", "body": {…}}
out   {"id": …, "custom_id": …, "response": {"status_code": 200, "request_id": …, "body": {…}}, "error": null}
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import BadInput, MissingInput
from stages.file_kinds import check_lines
from stages.interfaces import NullProgress, Progress
from stages.records.frozen import content_id
from stages.records.jsonl import read_bounded_lines, read_objects
from stages.records.strict_json import sanitize
from stages.services.base import Call, Failure, Reply, Usage
from stages.services.redaction import quote_line
from stages.services.responses import error_field, error_message, make_failure

_VERSION = "/v1/"  # OpenAI's files name paths from the root of the server
_NO_ANSWERS = (
    ": holds no answers; give the batch's output file once the batch is done,"
    " and its error file too, where calls have failed"
)
_NO_MATCH = (
    ": answers none of these calls; was the batch made with other settings or other input?"
    " Write the batch again with these flags, or give the flags that it was written with"
)


def get_custom_id(call: Call) -> str:
    """Hash what is asked and for whom into 32 hex digits, so that other settings never find these answers."""
    parts = (call.id, call.path, dict(call.body))
    return content_id(*parts) + content_id("second half", *parts)


def write_batch(calls: Iterable[Call]) -> Iterator[dict[str, Any]]:
    """Write one line per call; a repeated call is left out, since a batch must not name one twice."""
    lines = {get_custom_id(call): call for call in calls}
    for name, call in lines.items():
        yield {"custom_id": name, "method": "POST", "url": _VERSION + call.path, "body": sanitize(dict(call.body))}


@dataclass(frozen=True)
class BatchAnswer:
    """One line of an output file. status None: the request was never carried out."""

    status: int | None
    body: Any
    error: Any

    def reply_to(self, call: Call) -> Reply:
        if self.status is None:
            code, words = error_field(self.error, "code") or "no response", quote_line(error_message(self.error), None)
            return Reply(call.id, None, Failure("api_error", f"{code}: {words}" if words else code))
        if not self.is_success:
            return Reply(call.id, None, make_failure(self.status, self.body, None))
        if not isinstance(self.body, dict):
            return Reply(call.id, None, Failure("unparsable", "answers JSON that is no object", self.status))
        return Reply(call.id, self.body)

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


class BatchAnswers:
    """A Transport that sends nothing: calls are answered from a batch's output and error files."""

    live = False
    room = True

    def __init__(self, paths: Iterable[Path], progress: Progress = NullProgress()) -> None:
        """Read the files; without any nothing is answered. Raises MissingInput, or BadInput for no answer."""
        files = tuple(paths)
        self.usage, self.progress = Usage(), progress
        self._names = " and ".join(str(path) for path in files)
        self._answers = read_answers(files)
        self._replies: list[Reply] = []
        self._missing: list[Reply] = []
        self._found = False

    @property
    def open(self) -> int:
        return len(self._replies) + len(self._missing)

    def submit(self, call: Call) -> None:
        answer = self._answers.get(get_custom_id(call))
        if answer is None:
            detail = f"not in {self._names} (is the batch's error file left out, or was this call added later?)"
            self._missing.append(Reply(call.id, None, Failure("api_error", detail)))
        else:
            self._found = True
            self._replies.append(answer.reply_to(call))

    def take(self, *, wait: bool) -> list[Reply]:
        """Take the replies. Calls without an answer wait until one has been found. Raises BadInput if none is."""
        if self._found or not self._names:
            self._replies, self._missing = self._replies + self._missing, []
        elif wait and self._missing:
            raise BadInput(self._names + (_NO_MATCH if self._answers else _NO_ANSWERS))
        replies, self._replies = self._replies, []
        self.usage.add(replies)
        return replies

    def close(self) -> None:
        self._replies, self._missing = [], []


def read_answers(paths: Iterable[Path]) -> dict[str, BatchAnswer]:
    """Read the answers of all files by custom_id: a success before any failure, else the last failure.

    A batch whose failed calls were sent again has both. Raises BadInput for two successes that are not the same.
    """
    answers: dict[str, BatchAnswer] = {}
    places: dict[str, str] = {}
    for where, line in _read_lines(paths):
        name, answer = _parse_line(where, line)
        known = answers.get(name)
        if known and known.is_success and not answer.is_success:
            continue
        if known and known.is_success and known != answer:
            shown = quote_line(name, None)
            raise BadInput(f"{where}: answers {shown} otherwise than {places[name]}; give one batch's files")
        if known != answer:
            answers[name], places[name] = answer, where
    return answers


def _read_lines(paths: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        try:
            with path.open("rb") as file:
                yield from read_objects(check_lines(read_bounded_lines(file), str(path)), str(path))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise MissingInput(f"{path}: {reason.lower()}; give the batch's output file") from None


def _parse_line(where: str, line: dict[str, Any]) -> tuple[str, BatchAnswer]:
    name, response, error = line.get("custom_id"), line.get("response"), line.get("error")
    if isinstance(name, str) and "method" in line and "response" not in line:
        raise BadInput(f"{where}: a line of the batch itself, not of its answers (download the batch's output file)")
    if not isinstance(name, str) or not {"response", "error"} & line.keys():
        raise BadInput(f"{where}: no custom_id with a response or an error; give a batch's output file")
    if response is None:
        return name, BatchAnswer(None, None, error)
    status = response.get("status_code") if isinstance(response, dict) else None
    if type(status) is not int:
        raise BadInput(f"{where}: response.status_code is no number; give a batch's output file")
    return name, BatchAnswer(status, response.get("body"), error)
