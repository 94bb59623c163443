"""What make asks about a file of a run: was it made by hand, is it to be made again, and what if making it failed?

    python -I -S seal_cli/made.py by-hand FILE                               yes or no on stdout
    python -I -S seal_cli/made.py again RUN FILE "INPUTS" ARGUMENTS…         the same
    python -I -S seal_cli/made.py ended CODE FILE                            CODE again, or 0 where the file is finished

The manifest beside a file holds the command that made it. A run may have moved: paths in it are told from its folder.
Needs nothing but Python, since make looks before anything is installed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

_AFTER = ("--overwrite", "-o")  # what make puts behind the arguments, with FILE
_INCOMPLETE = 3  # finished, but some records failed, stayed unscored or were rejected: its lines say which


def _manifest_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.manifest.json")


def _read_manifest(file: Path) -> dict[str, Any]:
    """The manifest; empty where there is none that can be read."""
    try:
        found = json.loads(_manifest_of(file).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_by_hand(file: Path) -> bool:
    """Whether there is a file that make did not have made by a stage, or that is not as the stage left it."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return False
    made = _read_manifest(file)
    return made.get("sha256") != digest.hexdigest() or not _is_command_of_make(made.get("command"))


def _is_command_of_make(command: Any) -> bool:
    """Whether make gave the command, and nobody typed it who may have had other wishes."""
    return isinstance(command, list) and len(command) > len(_AFTER) and tuple(command[-3:-1]) == _AFTER


def _why_again(run: str, file: str, inputs: list[str], arguments: list[str]) -> str | None:
    """The reason to make it again with these arguments; None where there is none, or where that cannot be known."""
    made = _read_manifest(Path(file))
    if not _is_command_of_make(made.get("command")) or _is_by_hand(Path(file)):
        return None
    old, new = _moved([str(word) for word in made["command"]], run, file), [*arguments, *_AFTER, file]
    if old != new:
        gone = " ".join(each for each in _options(old) if each not in _options(new))
        come = " ".join(each for each in _options(new) if each not in _options(old))
        if gone and come:
            return f"was made with {gone}, and it is {come} now"
        return f"was made without {come}" if come else f"was made with {gone or 'these in another order'}"
    for path in inputs:
        if _is_later(Path(path), made.get("began")):
            return f"{path} has changed since it was begun"
    return None


def _moved(command: list[str], run: str, file: str) -> list[str]:
    """The command as it would be had the run always been where it is now."""
    there, inside = command[-1], file[len(run) :]  # `/round-1/edits.jsonl`
    if not there.endswith(inside):
        return command
    old = f"{there.removesuffix(inside)}/"
    return [f"{run}/{word.removeprefix(old)}" if word.startswith(old) else word for word in command]


def _options(command: list[str]) -> list[str]:
    """Each option with its values as one text."""
    found: list[str] = []
    for word in command:
        if word.startswith("-") or not found or not found[-1].startswith("-"):
            found.append(word)
        else:
            found[-1] += f" {word}"
    return found


def _is_later(path: Path, began: Any) -> bool:
    """Whether a file has changed since that time."""
    try:
        return path.stat().st_mtime > datetime.fromisoformat(began).timestamp()
    except (OSError, TypeError, ValueError):
        return False


def _end(code: int, file: Path) -> int:
    """What a stage that ended with this code leaves to make: no file, unless another make has finished it meanwhile."""
    if code == _INCOMPLETE:
        return 0
    if not _manifest_of(file).exists():
        file.unlink(missing_ok=True)
    return code


def _answer(question: str, rest: list[str]) -> bool:
    """The answer to a question; where it is yes, stderr says why."""
    if question == "by-hand":
        told = f"{rest[0]}: is not of make, so it is kept; remove it to have it made" * _is_by_hand(Path(rest[0]))
    else:
        run, file, inputs, *arguments = rest
        why = _why_again(run, file, inputs.split(), arguments)
        told = f"{file}: {why}: it is made again, and what is made from it" if why else ""
    sys.stderr.write(f"make: {told}\n" if told else "")
    return bool(told)


if __name__ == "__main__":
    asked, *about = sys.argv[1:]
    if asked == "ended":
        sys.exit(_end(int(about[0]), Path(about[1])))
    sys.stdout.write("yes\n" if _answer(asked, about) else "no\n")
