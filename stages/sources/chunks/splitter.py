"""Cut a text into chunks of so many tokens of the student's tokenizer: by headings, then within what is too long.

A section that fits, with all below it, is one chunk. Of one that does not, what stands before its first heading is cut
by tokens, and each section below it is a case of its own. So a change reaches no further than its section; in a section
that is cut by tokens no further than the next place where a paragraph's own hash says that a stretch ends.
"""

import hashlib
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

from stages.errors import BadConfig, MissingInput
from stages.records.frozen import is_void
from stages.sources.chunks.blocks import Heading, Layout
from stages.sources.chunks.settings import Chunking

_MOST_PER_TOKEN = 16  # characters: a text with more is not asked whether it fits
_STRETCH, _LONGEST_BLOCK = 24, 8  # characters per token of a chunk: of a stretch on average; that are cut at once
_ENDS = (  # where a block that is too long is cut, the best first
    re.compile(r"\n(?=\s*\n)|(?<=\n)(?=\S)"),
    re.compile(r"(?<=[.!?])\s|(?<=[。！？؟۔])"),
    re.compile(r"\s"),
)


@dataclass(frozen=True)
class Chunk:
    """text[start:end], under these headings."""

    start: int
    end: int
    path: tuple[str, ...]


def make_splitter(settings: Chunking | None) -> "Splitter | None":
    """Return what cuts texts; None where they stay whole. Raises BadConfig or MissingInput where they do not fit."""
    if settings is not None:
        settings.check()
    if settings is None or settings.chunk_tokens is None or settings.model is None:
        return None
    return Splitter(_load_tokenizer(settings.model), settings.chunk_tokens, settings.overlap)


def _load_tokenizer(model: Path) -> Any:
    """Load a model's tokenizer.json. Raises MissingInput or BadConfig where there is none that can be read."""
    from tokenizers import Tokenizer

    if model.is_file() or model.suffix.lower() == ".gguf":
        raise BadConfig(
            f"--model {model}: a file; give the folder of the model that it was made from, for its tokenizer"
        )
    path = model / "tokenizer.json"
    if not path.is_file():
        what = (
            "has no tokenizer.json"
            if model.is_dir()
            else "no such folder; fetch the model: hf download NAME --local-dir DIR"
        )
        raise MissingInput(f"--model {model}: {what}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 -- tokenizers raises nothing narrower
        raise BadConfig(f"--model {model}: its tokenizer.json cannot be read ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


class Splitter:
    """Cuts texts into chunks of at most `most` tokens, of which two in a section share up to `overlap`."""

    def __init__(self, tokenizer: Any, most: int, overlap: int = 0) -> None:
        self.tokenizer, self.most, self.overlap = tokenizer, most, overlap
        self._cut_plain, self._cut_markdown = self._make_cutters(most - overlap)
        self._cut_tail, _ = self._make_cutters(max(1, overlap))

    def _make_cutters(self, most: int) -> Sequence[Callable[[str], list[tuple[int, str]]]]:
        from semantic_text_splitter import MarkdownSplitter, TextSplitter

        kinds = (TextSplitter, MarkdownSplitter)
        return [kind.from_huggingface_tokenizer(self.tokenizer, most).chunk_indices for kind in kinds]

    def count_tokens(self, text: str) -> int:
        return len(self.tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    def split(self, text: str, layout: Layout, *, is_markdown: bool) -> Iterator[Chunk]:
        """Yield the chunks of a text in its order. A heading alone is none: it stands in the paths of those below."""
        root = Heading(0, 0, 0, "")
        sections = [root, *layout.headings]
        path: list[Heading] = []
        done = 0  # what is before it stands in a chunk
        for number, section in enumerate(sections):
            path = [*(above for above in path if above.level < section.level), section]
            if section.start < done:
                continue
            titles = tuple(each.title for each in path if each.title)
            following = (each for each in sections[number + 1 :] if each.level <= section.level)
            end = next((each.start for each in following), len(text))
            if self._fits(text[section.start : end]):
                below = takewhile(lambda each, end=end: each.start < end, sections[number + 1 :])  # type: ignore[misc]
                if not _is_bare(text, [section, *below], end):
                    yield from _trim(text, section.start, end, titles)
                done = end
                continue
            own = sections[number + 1].start if number + 1 < len(sections) else len(text)
            if not is_void(text[section.end : own]):
                if own < end and self._fits(text[section.start : own]):
                    yield from _trim(text, section.start, own, titles)
                else:
                    cut = self._split_section(text, section.start, own, titles, layout.blocks, is_markdown=is_markdown)
                    yield from (chunk for chunk in cut if chunk.end > section.end)  # what is behind its heading
            done = own

    def _fits(self, text: str) -> bool:
        return self._measure(text.strip()) <= self.most

    def _measure(self, text: str) -> int:
        """How many tokens a text has; one more than a chunk has where it is too long to be asked."""
        return self.count_tokens(text) if len(text) <= _MOST_PER_TOKEN * self.most else self.most + 1

    def _split_section(
        self, text: str, start: int, end: int, path: tuple[str, ...], blocks: Sequence[int], *, is_markdown: bool
    ) -> Iterator[Chunk]:
        """Yield chunks of whole blocks, and of the pieces of blocks that are too long."""
        inner = blocks[bisect_left(blocks, start + 1) : bisect_left(blocks, end)]
        taken: list[_Piece] = []
        for first, last in pairwise([start, *inner, end]):
            for piece in self._cut_block(text, first, last, is_markdown=is_markdown):
                if sum(each.tokens for each in taken) + piece.tokens > self.most:
                    made = list(self._join(text, taken, path))
                    yield from made
                    taken = self._repeat_tail(text, taken, made, room=self.most - piece.tokens)
                taken.append(piece)
            if _draw(text[first:last]) * _STRETCH * self.most < last - first:
                made = list(self._join(text, taken, path))
                yield from made
                taken = self._repeat_tail(text, taken, made, room=self.most)
        yield from self._join(text, taken, path)

    def _cut_block(self, text: str, start: int, end: int, *, is_markdown: bool) -> Iterator["_Piece"]:
        """The block as one piece, or as several where it is too long: rows, lines, sentences, words."""
        size = self._measure(text[start:end])
        if size <= self.most:
            yield _Piece(start, end, size)
            return
        cut = self._cut_markdown if is_markdown else self._cut_plain
        rough = pairwise(_cut_roughly(text, start, end, _LONGEST_BLOCK * self.most))
        starts = [first + at for first, last in rough for at, _ in cut(text[first:last])]
        for first, last in pairwise([start, *starts[1:], end]):  # with the blanks between them, which a chunk has, too
            yield _Piece(first, last, self._measure(text[first:last]))

    def _join(self, text: str, pieces: Sequence["_Piece"], path: tuple[str, ...]) -> Iterator[Chunk]:
        """One chunk of the pieces; more in the rare case that they have more tokens together than one by one."""
        while not all(each.is_repeated for each in pieces):
            count, start = len(pieces), pieces[0].start
            while count > 1 and not self._fits(text[start : pieces[count - 1].end]):
                count -= 1
            whole = text[start : pieces[count - 1].end]
            if count > 1 or (not pieces[0].is_repeated and self._fits(whole)):
                yield from _trim(text, start, start + len(whole), path)
            elif not pieces[0].is_repeated:  # without the blanks around it it has more tokens than with them
                for at, part in self._cut_plain(whole):
                    yield from _trim(text, start + at, start + at + len(part), path)
            pieces = pieces[count:]

    def _repeat_tail(self, text: str, pieces: Sequence["_Piece"], before: Sequence[Chunk], room: int) -> list["_Piece"]:
        """What of the chunk before stands in the next one, too, if there is room: the last words of its last piece."""
        if not self.overlap or not before:
            return []
        last = pieces[-1]
        words = text[last.start : last.end]
        at = next((at for at, _ in reversed(self._cut_tail(words))), len(words))
        piece = _Piece(last.start + at, last.end, self._measure(words[at:]), is_repeated=True)
        is_part = not is_void(text[before[-1].start : piece.start])  # what was a chunk is not all there again
        return [piece] if piece.tokens <= room and is_part else []


@dataclass(frozen=True)
class _Piece:
    start: int
    end: int
    tokens: int
    is_repeated: bool = False  # it stands in the chunk before, too


def _is_bare(text: str, headings: Sequence[Heading], end: int) -> bool:
    """True if nothing but these headings stands from the first of them to `end`."""
    ends = [*(each.start for each in headings[1:]), end]
    return all(is_void(text[each.end : until]) for each, until in zip(headings, ends, strict=True))


def _draw(block: str) -> float:
    """A number from 0 to 1 that a block's words determine."""
    return int.from_bytes(hashlib.sha256(block.strip().encode("utf-8", "replace")).digest()[:4], "big") / 2**32


def _cut_roughly(text: str, start: int, end: int, most: int) -> Iterator[int]:
    """Yield places from start to end, at most so many characters apart, where a block may be cut: never in a letter."""
    import regex

    while end - start > most:
        yield start
        part = text[start : start + most]
        places = ([found.end() for found in ends.finditer(part, most // 2)] for ends in _ENDS)
        place = next((found[-1] for found in places if found), 0)
        if not place:  # before the last letter, which may go on
            place = deque(regex.finditer(r"\X", part), maxlen=1)[0].start()
        start += place or most
    yield start
    yield end


def _trim(text: str, start: int, end: int, path: tuple[str, ...]) -> Iterator[Chunk]:
    """The chunk without the blanks around it; none where there is nothing to be seen."""
    piece = text[start:end]
    if not is_void(piece):
        yield Chunk(start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip()), path)
