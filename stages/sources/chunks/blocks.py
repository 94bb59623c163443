"""Where the headings and the blocks (paragraphs, tables, code) of a text stand, in characters."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

Markup = Literal["markdown", "rst", "plain"]
_FRONT = re.compile(r"---[ \t]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?:\s\"[^\"]*\")?\)|\[[^\[\]]*\])")
_MARKS = re.compile(r"(\*\*|__|`+|(?<!\w)[*_]|[*_](?!\w))")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_RULE = re.compile(r"([!-/:-@\[-`{-~])\1{2,}[ \t]*")  # of reStructuredText, below a heading and perhaps above
_ROLE = re.compile(r":[\w:+.-]+:`|`_{0,2}")
_BLANK = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")


@dataclass(frozen=True)
class Heading:
    """A heading: where it stands, where its lines end, its level (from 1) and its words."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True)
class Layout:
    """The headings of a text, and where its blocks begin, in the order of the text."""

    headings: Sequence[Heading]
    blocks: Sequence[int]


def find_layout(text: str, markup: Markup) -> Layout:
    """Find the headings and blocks of a text. What looks like a heading in code, or in what leads it in, is none."""
    if markup == "markdown":
        return _find_in_markdown(text)
    headings = list(_find_rst_headings(text)) if markup == "rst" else []
    return Layout(headings, [0, *(found.end() for found in _BLANK.finditer(text) if found.end() < len(text))])


def _find_in_markdown(text: str) -> Layout:
    from markdown_it import MarkdownIt

    front = _FRONT.match(text)
    read = "\n" * front[0].count("\n") + text[front.end() :] if front else text  # as many lines as before
    parser = MarkdownIt("commonmark").enable("table").disable(["reference", "html_block"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    tokens = parser.parse(read)
    starts = [0, *accumulate(len(line) + 1 for line in text.split("\n"))]  # of lines
    headings, blocks = [], [0]
    for number, token in enumerate(tokens):
        if token.level or not token.map or token.nesting < 0:
            continue
        start, end = starts[token.map[0]], min(starts[token.map[1]], len(text))
        blocks.append(start)
        if token.type == "heading_open":
            words = tokens[number + 1].content
            headings.append(Heading(start, end, int(token.tag[1:]), clean_heading(words)))
    return Layout(headings, sorted(set(blocks)))


def clean_heading(words: str) -> str:
    """Return a heading's words without the marks of Markdown: emphasis, code, links, escapes."""
    plain = _LINK.sub(r"\1", _LINK.sub(r"\1", words))
    return " ".join(_ESCAPED.sub(r"\1", _MARKS.sub("", plain)).split())


def _find_rst_headings(text: str) -> Iterator[Heading]:
    """Headings of reStructuredText: a line with a rule below, and perhaps above. Which rules come first lie higher."""
    levels: dict[tuple[str, bool], int] = {}
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    number = 0
    while number + 1 < len(lines):
        over = _RULE.fullmatch(lines[number])
        at = number + 1 if over else number
        title, below = lines[at].strip(), lines[at + 1] if at + 1 < len(lines) else ""
        rule = _RULE.fullmatch(below)
        free = number == 0 or not lines[number - 1].strip()
        fits = rule and len(below.rstrip()) >= len(title) and not (over and over[1] != rule[1])
        if free and title and fits and rule and not _RULE.fullmatch(title) and (over or not lines[at][:1].isspace()):
            level = levels.setdefault((rule[1], bool(over)), len(levels) + 1)
            yield Heading(starts[number], min(starts[at + 2], len(text)), level, " ".join(_ROLE.sub("", title).split()))
            number = at + 2
        else:
            number += 1
