"""The process that converts: a request on each line of stdin, an answer on each line of stdout.

It ends when stdin does, and in the midst of a conversion with its parent. What a document makes of it, a crash or an
endless loop, its parent sees.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages.conversion.formats import BadDocument, ConvertedText
from stages.conversion.limits import MOST_MEMORY, end_with_parent, limit_process, limit_time
from stages.conversion.markup import convert_archive, convert_page
from stages.conversion.pdf import convert_pdf


def _convert(path: Path, name: str) -> ConvertedText:
    if name == "pdf":
        return convert_pdf(path)
    return convert_page(path) if name == "html" else convert_archive(path)


def _answer(request: dict[str, str]) -> dict[str, Any]:
    try:
        return asdict(_convert(Path(request["path"]), request["format"]))
    except BadDocument as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": f"its conversion needs more than {MOST_MEMORY // 2**20} MiB of memory"}
    except RecursionError:
        return {"error": "nested too deep"}


def main() -> None:
    """Answer until stdin ends."""
    limit_process()
    end_with_parent()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    for line in sys.stdin.buffer:
        limit_time(spent=time.process_time())
        answers.write(json.dumps(_answer(json.loads(line))).encode() + b"\n")
        answers.flush()
