"""Texts in chunks: under their headings, no longer than was said, whole letters, and each where it says it stands."""

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import regex
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from stages.errors import BadConfig, MissingInput
from stages.records.record import Record
from stages.sources.chunks.blocks import find_layout
from stages.sources.chunks.settings import Chunking
from stages.sources.chunks.splitter import Splitter
from tests.conftest import ROOT
from tests.conversion.made_documents import make_docx, make_pdf
from tests.sources.test_folders import fill, kinds, read, titles

MODEL = ROOT / "examples/tiny/model"
TOKENIZER = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
FILLER = "The mill by the river was built of grey stone and has four wheels. "


def count(text: str) -> int:
    return len(TOKENIZER.encode(text, add_special_tokens=False))


def cut(path: Path, most: int = 64, overlap: int = 0) -> list[Record]:
    found, rejects, _ = read(path, chunking=Chunking(most, overlap, MODEL))
    assert rejects == []
    return found


def sources(records: list[Record]) -> Iterator[tuple[str, dict[str, Any]]]:
    for record in records:
        assert record.meta
        yield record.task.text, record.meta["source"]


MARKDOWN = f"""---
title: front
---
Before all headings. {FILLER * 3}

# Bridge

## Length `m`

It is 470 m long.

```sh
# no heading
```

## [History](x.html)

{" ".join(f"In {year} the bridge was painted in another colour." for year in range(1880, 1900))}

Opened in 1873.

Setext
------

Short.

# Empty
"""


def test_a_section_that_fits_is_a_chunk_under_its_headings_and_a_longer_one_several(tmp_path: Path) -> None:
    path = fill(tmp_path, {"a.md": MARKDOWN}) / "a.md"
    found = cut(path, 90)
    bases = list(dict.fromkeys(title.partition(" (")[0] for title in titles(found)))
    assert bases == ["a", "a › Bridge › Length m", "a › Bridge › History", "a › Bridge › Setext"]
    assert "a › Bridge › History (2)" in titles(found) and len(set(titles(found))) == len(found)
    assert [text for text, _ in sources(found) if text.startswith("## Len")] == [
        "## Length `m`\n\nIt is 470 m long.\n\n```sh\n# no heading\n```"
    ]
    for text, source in sources(found):
        assert MARKDOWN[source["start"] : source["end"]] == text and source["file"] == str(path)
        assert count(text) <= 90
    kept = " ".join(text for text, _ in sources(found)).split()
    bare = re.compile(r"# Bridge\n|## \[History.*\n|# Empty\n")  # a heading alone stands in the titles
    assert bare.sub("", MARKDOWN).split() == kept


def test_a_text_that_fits_is_one_chunk_and_without_the_flag_one_task_as_before(tmp_path: Path) -> None:
    path = fill(tmp_path, {"a.md": "\n# A\n\nOne.\n\n## B\n\nTwo.\n"}) / "a.md"
    (whole,), _, _ = read(path)
    (chunk,) = cut(path)
    assert (whole.meta, chunk.meta) == (None, {"source": {"file": str(path), "start": 1, "end": 22}})
    assert chunk.task == whole.task


def test_headings_of_restructuredtext_are_told_by_their_rules(tmp_path: Path) -> None:
    code = "::\n\n    Code\n    ====\n"
    text = f"====\nBook\n====\n\nPart\n====\n\n{FILLER * 4}\n\nSub :ref:`x`\n------------\n\n{FILLER * 4}\n\n{code}"
    found = cut(fill(tmp_path, {"a.rst": text}) / "a.rst")
    bases = list(dict.fromkeys(title.partition(" (")[0] for title in titles(found)))
    assert bases == ["a › Book › Part", "a › Book › Part › Sub x"]


def test_tables_and_code_stay_whole_where_they_fit_and_break_between_rows_where_not(tmp_path: Path) -> None:
    table = "| Name | Value |\n|---|---|\n" + "".join(f"| row {n} | {n * 7} |\n" for n in range(9))
    code = "```python\n" + "".join(f"x{n} = {n}\n\n" for n in range(9)) + "```"
    text = f"# T\n\n{FILLER * 2}\n\n{table}\n{FILLER * 2}\n\n{code}\n\n{FILLER * 2}\n"
    path = fill(tmp_path, {"a.md": text}) / "a.md"
    most = max(count(table), count(code)) + 8
    whole = [chunk for chunk, _ in sources(cut(path, most))]
    assert any(table.strip() in chunk for chunk in whole) and any(code in chunk for chunk in whole)
    assert len(whole) > 2
    rows = [line for chunk, _ in sources(cut(path, 64)) for line in chunk.split("\n") if line.startswith("|")]
    assert rows == table.strip().split("\n")


LETTERS = (
    "在中国的历史上有很多人",
    "القاهرة هي عاصمة مصر ",
    "👨‍👩‍👧‍👦",
    "e\u0301a\u0308o\u0302",
    "🇩🇪🇫🇷",
    "स्त्री",
    "한국어",
    "word ",
)


@pytest.mark.parametrize("letters", LETTERS)
def test_no_letter_of_any_script_is_cut_and_nothing_is_lost(tmp_path: Path, letters: str) -> None:
    text = letters * 300
    path = fill(tmp_path, {"a.txt": text}) / "a.txt"
    ends = {found.end() for found in regex.finditer(r"\X", text)} | {0}
    found = cut(path)
    for chunk, source in sources(found):
        assert {source["start"], source["end"]} <= ends
        assert text[source["start"] : source["end"]] == chunk and count(chunk) <= 64
    assert len(found) > 1 or "twice" in str(read(path, chunking=Chunking(64, 0, MODEL))[2])


@given(
    st.lists(
        st.sampled_from(
            [*LETTERS, "\n\n", "\n", "# H\n", "## I\n\n", "- a\n", "    b\n", "```\n", "| a |\n|---|\n", FILLER]
        )
    )
)
@settings(deadline=None, max_examples=40)
def test_chunks_of_any_text_stand_in_order_fit_and_hold_all_of_it(parts: list[str]) -> None:
    text = "".join(parts)
    for overlap in (0, 20):
        splitter = Splitter(TOKENIZER, 64, overlap)
        for markup in ("markdown", "rst", "plain"):
            layout = find_layout(text, markup)  # type: ignore[arg-type]
            chunks = list(splitter.split(text, layout, is_markdown=markup == "markdown"))
            assert all(count(text[chunk.start : chunk.end]) <= 64 for chunk in chunks)
            assert all(one.start < other.start and one.end < other.end for one, other in pairwise(chunks))
            assert overlap or all(one.end <= other.start for one, other in pairwise(chunks))
            held = {place for chunk in chunks for place in range(chunk.start, chunk.end)}
            held |= {place for heading in layout.headings for place in range(heading.start, heading.end)}
            assert not [place for place, letter in enumerate(text) if not letter.isspace() and place not in held]


WIDE = "".join(f"{f'item {n} is here':40}{f'value {n}':>60}{f'note {n}':>60}\n" for n in range(20))
GAPS = (
    *LETTERS,
    "The mill was built. ",
    "\n\n",
    "\n",
    "- a\n",
    "# H\n\n",
    "| a | b |\n|---|---|\n",
    WIDE[:500],
    "\x1c ",
)


@given(
    st.lists(
        st.tuples(st.sampled_from(GAPS), st.integers(1, 9), st.integers(0, 300)).map(
            lambda each: each[0] * each[1] + " " * each[2]
        ),
        max_size=15,
    ).map("".join),
    st.sampled_from([64, 90]),
    st.sampled_from([0, 16, 32]),
)
@example(WIDE, 64, 16)
@example("".join(f"word{n}{' ' * 200 * (n % 30 == 29)} " for n in range(300)), 64, 16)
@settings(deadline=None, max_examples=60)
def test_no_chunk_has_more_tokens_than_was_asked_whatever_blanks_it_spans(text: str, most: int, overlap: int) -> None:
    splitter = Splitter(TOKENIZER, most, overlap)
    for markup in ("markdown", "plain"):
        chunks = list(splitter.split(text, find_layout(text, markup), is_markdown=markup == "markdown"))  # type: ignore[arg-type]
        assert max((count(text[each.start : each.end]) for each in chunks), default=0) <= most


def test_a_heading_without_text_of_its_own_is_no_chunk_wherever_it_stands(tmp_path: Path) -> None:
    text = f"# A\n\n{'word and more words. ' * 100}\n\n# B\n\n## D\n\n# C\n\n{FILLER * 20}\n\n# E\n\nShort.\n"
    found = cut(fill(tmp_path, {"a.md": text}) / "a.md")
    assert {title.partition(" (")[0] for title in titles(found)} == {"a › A", "a › C", "a › E"}
    assert not [record.task.text for record in found if record.task.text.lstrip("# ") in "ABCDE"]
    assert found[-1].task.text == "# E\n\nShort."


def test_a_heading_as_long_as_a_text_is_cut_in_the_titles_below_it(tmp_path: Path) -> None:
    heading, parts = "word " * 999, "\n\n".join(f"{FILLER * 3} {n}" for n in range(9))
    for name, marked in (("a.md", f"# {heading}\n\n"), ("b.rst", f"{heading}\n{'=' * len(heading)}\n\n")):
        found = cut(fill(tmp_path, {name: marked + parts}) / name)
        assert len(found) > 5 and max(len(title) for title in titles(found)) < 220
        assert titles(found)[-1].startswith(f"{name[0]} › word word") and "word… (" in titles(found)[-1]


def test_a_file_of_headings_alone_is_left_out_by_name(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": "# A\n\n## B\n\n# C\n", "b.md": "# B\n\nText.\n"})
    found, _, left = read(tmp_path, chunking=Chunking(64, 0, MODEL))
    assert [record.task.text for record in found] == ["# B\n\nText."]
    assert kinds(left) == [("a.md", "without a text below its headings")]


def test_chunks_of_a_cut_section_overlap_by_what_was_asked(tmp_path: Path) -> None:
    text = "\n\n".join(f"Sentence number {n} tells of the {n}th stone of the old mill." for n in range(60))
    places = [source for _, source in sources(cut(fill(tmp_path, {"a.txt": text}) / "a.txt", 100, 25))]
    shared = [count(text[other["start"] : one["end"]]) for one, other in pairwise(places)]
    assert len(shared) > 9 and max(shared) <= 25 and shared.count(0) < len(shared) / 4, shared
    assert all(one["start"] < other["start"] for one, other in pairwise(places))


def test_a_pdf_says_its_pages_and_its_bookmarks(tmp_path: Path) -> None:
    lines = [f"On page {page} line {line} stands this." for page in range(4) for line in range(6)]
    pages = [lines[6 * page : 6 * page + 6] for page in range(4)]
    path = fill(tmp_path, {"a.pdf": make_pdf(*pages, marks=[("One", 0), ("Two", 2)])}) / "a.pdf"
    (whole,), _, _ = read(path)
    found = cut(path)
    assert [title.partition(" (")[0] for title in titles(found)] == sorted(t.partition(" (")[0] for t in titles(found))
    assert {title.partition(" (")[0] for title in titles(found)} == {"a › One", "a › Two"}
    for text, source in sources(found):
        assert whole.task.text[source["start"] : source["end"]] == text
        assert f"page {source['page'] - 1} " in text.split("\n")[0]
        assert f"page {source.get('last_page', source['page']) - 1} " in text.split("\n")[-1]


def test_offsets_are_those_of_the_text_without_mark_and_with_plain_line_ends(tmp_path: Path) -> None:
    text = "\n".join(f"# Part {n}\n\n{FILLER * 2}" for n in range(4))
    raw = b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()
    path = fill(tmp_path, {"a.md": raw}) / "a.md"
    for chunk, source in sources(cut(path)):
        assert path.read_text("utf-8-sig")[source["start"] : source["end"]] == chunk


def test_the_same_chunk_is_taken_once_whichever_file_has_it(tmp_path: Path) -> None:
    same = f"## Licence\n\nFree. {FILLER}\n"
    fill(
        tmp_path,
        {"a.md": f"# A\n\n{FILLER * 3}\n\n{same}\n## More\n\nx\n\n{same}", "b.md": f"# B\n\n{FILLER * 2} b\n\n{same}"},
    )
    found, _, left = read(tmp_path, chunking=Chunking(64, 0, MODEL))
    assert sum("Free." in record.task.text for record in found) == 1
    assert kinds(left) == [("a.md", "twice"), ("b.md", "twice")]
    assert [omission.reason for omission in left] == [
        "a › A › Licence is in it already",
        f"b › B › Licence is in {tmp_path / 'a.md'} already",
    ]


def test_an_edit_changes_no_chunk_beyond_its_stretch(tmp_path: Path) -> None:
    paragraphs = [f"Paragraph {n} says: {FILLER * (n % 3 + 1)}" for n in range(200)]
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(paragraphs))
    before = {record.task.text for record in cut(path, 128)}
    path.write_text("\n\n".join([*paragraphs[:20], "A new one, quite short.", *paragraphs[20:]]))
    after = {record.task.text for record in cut(path, 128)}
    assert 0 < len(after - before) <= len(after) / 4


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (Chunking(64), BadConfig, "--chunk-tokens 64: give --model DIR, whose tokenizer counts them"),
        (Chunking(None, 9), BadConfig, "--overlap 9: only with --chunk-tokens N"),
        (Chunking(None, 0, MODEL), BadConfig, "--model .*: only with --chunk-tokens N"),
        (Chunking(64, 33, MODEL), BadConfig, "--overlap 33: more than half of --chunk-tokens 64"),
        (
            Chunking(64, 0, Path("nowhere")),
            MissingInput,
            "--model nowhere: no such folder; fetch the model: hf download",
        ),
        (Chunking(64, 0, Path("docs")), MissingInput, "--model docs: has no tokenizer.json"),
        (
            Chunking(64, 0, Path("m.gguf")),
            BadConfig,
            "--model m.gguf: a file; give the folder of the model that it was",
        ),
    ],
)
def test_flags_that_cut_nothing_are_refused(
    tmp_path: Path, given: Chunking, error: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(fill(tmp_path, {"docs/a.md": "A"}))
    with pytest.raises(error, match=words):
        read("docs", chunking=given)


def test_a_tokenizer_that_cannot_be_read_is_said_and_its_truncation_ignored(tmp_path: Path) -> None:
    fill(tmp_path, {"m/tokenizer.json": "{}", "a.txt": FILLER * 30})
    with pytest.raises(BadConfig, match=r"m: its tokenizer\.json cannot be read"):
        read(tmp_path / "a.txt", chunking=Chunking(64, 0, tmp_path / "m"))
    own = json.loads((MODEL / "tokenizer.json").read_text())
    own["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    fill(tmp_path, {"m/tokenizer.json": own})
    found, _, left = read(tmp_path / "a.txt", chunking=Chunking(64, 0, tmp_path / "m"))
    assert len(found) + len(left) > 3 and max(count(record.task.text) for record in found) <= 64


def test_a_word_document_is_cut_under_its_headings(tmp_path: Path) -> None:
    content = make_docx((1, "Mill"), FILLER * 2, (2, "Wheels"), FILLER * 2 + "Four.", (2, "Roof"), "Slate.")
    found = cut(fill(tmp_path, {"a.docx": content}) / "a.docx")
    assert titles(found) == ["a › Mill", "a › Mill › Wheels", "a › Mill › Roof"]
    (whole,), _, _ = read(tmp_path / "a.docx")
    for text, source in sources(found):
        assert whole.task.text[source["start"] : source["end"]] == text
