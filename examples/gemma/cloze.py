"""Self-edits made by rule: a passage's sentences as questions whose answers are parts of them.

    python -m examples.gemma.cloze tasks.jsonl > edits.jsonl
    seal adapt edits.jsonl --no-split-newlines --epochs 5 -o adapters.jsonl
    python -m examples.gemma.cloze tasks.jsonl --template FILE | seal sft --model DIR --out taught  # writes them

For a model that is too small to ask anything itself: all is copied from the passage, so nothing is invented. An answer
is a name, a number, what stands in quotation marks, or the end of the sentence; the question is the clause with a
question word in its place, in the prompt of `seal eval` (SEAL App. B). The rules are those of English.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.domains.qa import QA, QUESTION_PROMPT, fill, require_passage
from stages.errors import SealError
from stages.records.frozen import content_id
from stages.records.jsonl import encode_line, read_bounded_lines
from stages.records.parser import read_records
from stages.records.record import Record, SelfEdit
from stages.records.task import QaTask

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(0-9])")
_CLAUSE_END = re.compile(r"(?<=[,;:])\s+|\s+[–—]\s+")
_WORD = r"(?:[A-Z][\w'’.-]*)"
_LINK = rf"(?:\s+(?:of|the|de|and|von|for|in)\s+(?={_WORD})|\s+)?"
_UNIT = r"(?:\s*(?:%|percent|thousand|million|billion|years?|months?|days?|hours?|km|miles|kilometres|met(?:re|er)s))*"
_PART = re.compile(rf"(?<!\w)(?:{_WORD}{_LINK})+(?:\d+)?|\b(?:\d[\d,.–-]*\d|\d){_UNIT}|\"[^\"]+\"|“[^”]+”")
_YEAR = re.compile(r"(?:1\d|20)\d\d")
_OPENERS = re.compile(
    r"(?:After|Also|Although|And?|Another|As|At|A|Both|But|By|During|For|From|Her|His|However|If|In|Its?|Many|Most|On|Of"
    r"|One|Other|S?[Hh]e|Since|Some|Such|That|Their|There|These|They|This|The|To|When|While|With)"
)
_TWO_SENTENCES = re.compile(r"\w{3,}[.!?] ")  # of which the first was too short to stand alone
_SHORTEST = 40  # characters of a sentence: what is shorter belongs to the one before
_TAIL = 3  # words at the end of a sentence that are asked for, too
_CLAUSE = 6  # words that a clause has at least, to be asked by itself


def list_pairs(task: QaTask, most: int) -> list[tuple[str, str]]:
    """Return (question, answer) pairs of a passage in its order, at most so many, spread over it."""
    parts = ((sentence, part) for sentence in _split_sentences(task.context) for part in _list_parts(sentence, task))
    asked = ((_ask(sentence, part), part) for sentence, part in parts)
    pairs = [(question, part) for question, part in asked if not _alone(part).search(question)]  # else it says it
    if len(pairs) > most:
        pairs = [pairs[place * len(pairs) // most] for place in range(most)]
    return pairs


def write_edit(task: QaTask, most: int) -> str:
    """Return the completion: each pair as `seal eval` asks and the model should answer, three dashes between them."""
    task = task.model_copy(update={"title": task.title.replace("---", "–")})  # at three dashes training splits
    return "\n---\n".join(fill(QUESTION_PROMPT, task, asked) + answer for asked, answer in list_pairs(task, most))


def _split_sentences(text: str) -> list[str]:
    found = list[str]()
    for piece in _SENTENCE_END.split(" ".join(text.replace("---", "–").split())):
        if found and len(found[-1]) < _SHORTEST:
            found[-1] += f" {piece}"
        else:
            found.append(piece)
    return found


def _list_parts(sentence: str, task: QaTask) -> Iterator[str]:
    """Yield what may be asked for, each once: names, numbers, quotations, and the last words."""
    seen = {task.title}
    for match in _PART.finditer(sentence):
        words = match[0].strip(' .,;"“”').split()
        while words and _OPENERS.fullmatch(words[0]):
            del words[0]
        part = " ".join(words)
        if len(part) < 2 or part in seen or _TWO_SENTENCES.search(part) or not _alone(part).search(sentence):
            continue
        if " " not in part and sentence.startswith(part) and not re.search(rf"\w,? {re.escape(part)}\b", task.context):
            continue  # a sentence's first word, and no name
        seen.add(part)
        yield part
    words = sentence.rstrip(".!?").split()
    tail = " ".join(words[-_TAIL:]).rstrip(",;: ")
    if len(words) > 2 * _TAIL and tail and tail not in seen and _alone(tail).search(sentence):
        yield tail


def _ask(sentence: str, part: str) -> str:
    """Make the clause with this part a question: What, who or what, how many, or what year in its place."""
    clauses = (clause.strip(" ,;:") for clause in _CLAUSE_END.split(sentence) if _alone(part).search(clause))
    clause = next((each for each in clauses if len(each.split()) >= _CLAUSE), sentence)
    asked = _alone(part).sub(_choose_question_word(part), clause, count=1).rstrip(".!? ") + "?"
    return asked[0].upper() + asked[1:]


def _alone(part: str) -> re.Pattern[str]:
    """The part where it is no piece of a longer word or number."""
    return re.compile(rf"(?<!\w)(?<!\d[,.]){re.escape(part)}(?!\w)(?![,.]\d)")


def _choose_question_word(part: str) -> str:
    if _YEAR.fullmatch(part):
        return "what year"
    if part[0].isdigit():
        return "what number" if part[-1].isdigit() else "how many"
    return "what" if part[0].islower() else "who or what"


def write_edits(lines: Iterable[bytes], source: str, most: int) -> list[tuple[QaTask, str]]:
    """Return each task once, whatever else its lines have, with its completion. Raise BadInput for no passage."""
    tasks = {record.task.id: require_passage(record.task) for record in read_records(lines, source)}
    return [(task, write_edit(task, most)) for task in tasks.values()]


def make_pair(task: QaTask, text: str, template: str) -> bytes:
    """Make a line for `seal sft`: the prompt of `seal generate -t TEMPLATE` for a base model, and the completion."""
    prompt = QA().edit_prompt(task, template, chat=False)
    return json.dumps({"prompt": prompt, "completion": text}).encode() + b"\n"


def make_line(task: QaTask, text: str) -> bytes:
    """Make the edit line of a self-edit that no model has written."""
    edit = SelfEdit(
        id=content_id(task.id, text),
        sample=0,
        model="none",
        template="custom",
        prompt="",
        completion=text,
        finish="unknown",
        tokens=None,
        sampling={},
        error=None,
    )
    return encode_line(Record(task=task, edit=edit))


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn passages into questions about themselves: edit lines on stdout.")
    parser.add_argument("tasks", type=Path)
    parser.add_argument("--most", type=int, default=24, help="pairs of a passage (default: 24)")
    parser.add_argument(
        "--template", metavar="NAME|FILE", help="write lines of prompt (by this template) and completion, for seal sft"
    )
    asked = parser.parse_args()
    if asked.most < 1:
        parser.error("--most: at least 1")
    try:
        with asked.tasks.open("rb") as file:
            made = write_edits(read_bounded_lines(file), str(asked.tasks), asked.most)
        if asked.template:
            lines = [make_pair(task, text, asked.template) for task, text in made if text]
        else:
            lines = [make_line(task, text) for task, text in made]
        sys.stdout.buffer.writelines(lines)
    except (OSError, SealError) as error:
        sys.exit(f"cloze: {error}")
    if bare := sum(not text for _, text in made):
        left = "left out" if asked.template else "trained on alone"
        print(f"cloze: {bare} of {len(made)} passages have no part to ask for: they are {left}", file=sys.stderr)


if __name__ == "__main__":
    main()
