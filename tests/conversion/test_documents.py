"""Documents as sources: what they say survives, what is wrong with one is named, and none costs another."""

import gzip
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import psutil
import pytest

from stages import tasks
from stages.conversion import converter, markup
from stages.conversion.converter import Converter
from stages.conversion.formats import BadDocument
from stages.conversion.limits import MOST_SECONDS
from stages.errors import BadConfig, BadInput
from stages.records.jsonl import to_json
from stages.records.record import Record
from stages.sources.chunks import reading
from stages.sources.chunks.settings import Chunking
from tests.conftest import ROOT
from tests.conversion.made_documents import make_bomb, make_docx, make_epub, make_page, make_pdf, make_zip
from tests.sources.test_folders import fill, kinds, read, titles

GERMAN, CHINESE, ARABIC = "Die Brücke über die Weißach öffnete 1873.", "北京是中国的首都。", "القاهرة هي عاصمة مصر."
CELLS = [["River", "Length"], ["Weißach", "47 km"]]
SCRIPTS = (GERMAN, CHINESE, ARABIC)


def texts(records: list[Record]) -> list[str]:
    return [record.task.text for record in records]


def test_german_chinese_arabic_and_tables_survive_in_every_kind_of_document(tmp_path: Path) -> None:
    rows = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in CELLS)
    inside = f"<p>{'</p><p>'.join(SCRIPTS)}</p><table>{rows}</table>"
    page = make_page("A page.", *SCRIPTS).replace("</body>", f"<table>{rows}</table></body>")
    book = make_epub(one=f"<p>A book.</p>{inside}")
    fill(tmp_path, {"a.docx": make_docx("A letter.", *SCRIPTS, CELLS), "b.epub": book, "c.html": page})
    fill(tmp_path, {"d.pdf": make_pdf([GERMAN, CHINESE], [ARABIC[::-1]])})  # a PDF has its letters as they are seen
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects, left) == (["a", "b", "c", "d"], [], [])
    for record in found:
        assert all(text in record.task.text for text in SCRIPTS), record.task.text
    for text in texts(found)[:3]:
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n") if "|" in line]
        assert [line for line in lines if line in CELLS] == CELLS


def test_a_page_says_what_it_says_without_escapes_navigation_and_scripts(tmp_path: Path) -> None:
    body = (
        "<nav><ul><li>Home<nav>deep</nav></ul></nav><h1>A [b] *c*</h1><p>x snake_case 5 * 3 &lt; 16, $5, it's "
        "10<sup>6</sup>, the 1<sup>st</sup>, H<sub>2</sub>O</p><p># no heading</p><p>1. no list</p>"
        "<pre><code class='language-python'>a_b\n\n  = 1</code></pre><script>evil()</script>"
        "<img src='http://host/x.png' alt='A map'>"
    )
    (record,), _, _ = read(fill(tmp_path, {"a.html": f"<html><body>{body}</body></html>"}) / "a.html")
    assert record.task.text == (
        "# A [b] *c*\n\nx snake_case 5 * 3 < 16, $5, it's 10^6, the 1st, H2O\n\n\\# no heading\n\n1\\. no list\n\n"
        "``` python\na_b\n\n  = 1\n```\n\nA map"
    )
    assert record.meta == {"source": {"file": str(tmp_path / "a.html"), "start": 0, "end": len(record.task.text)}}


def test_a_page_in_another_charset_is_read_by_what_it_names(tmp_path: Path) -> None:
    for name, head, charset in (
        ("a", '<meta charset="iso-8859-1">', "cp1252"),
        ("b", "<meta charset=gb2312>", "gb2312"),
    ):
        text = "“Weißach”" if name == "a" else CHINESE
        fill(tmp_path, {f"{name}.html": make_page(text, head=head).encode(charset)})
    fill(
        tmp_path, {"c.html": make_page("Weißach", head="").encode("latin-1"), "d.html": make_page("x").encode("utf-16")}
    )
    found, rejects, _ = read(tmp_path)
    assert texts(found) == ["“Weißach”", CHINESE, "x"]
    (reject,) = rejects
    assert reject.reason.startswith("not UTF-8 (byte 46), and names no charset; convert it: iconv -f CHARSET -t UTF-8")


def test_what_stands_on_a_title_page_of_a_word_document_is_not_lost(tmp_path: Path) -> None:
    styles = make_docx((1, "Part"), "Text.")
    with zipfile.ZipFile(BytesIO(styles)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["word/styles.xml"] = members["word/styles.xml"].replace(
        b"</w:styles>", b'<w:style w:type="paragraph" w:styleId="Title"><w:name w:val="Title"/></w:style></w:styles>'
    )
    title = b'<w:p><w:pPr><w:pStyle w:val="Title"/></w:pPr><w:r><w:t>The Bridge</w:t></w:r></w:p>'
    members["word/document.xml"] = members["word/document.xml"].replace(b"<w:body>", b"<w:body>" + title)
    (record,), _, _ = read(fill(tmp_path, {"a.docx": make_zip(members)}) / "a.docx")
    assert record.task.text == "# The Bridge\n\n## Part\n\nText."


BAD = {
    "locked.pdf": (make_pdf(["x"], locked=True), "protected by a password; take it off: qpdf --decrypt"),
    "scan.pdf": (
        make_pdf([], [], scanned=[0, 1]),
        "2 pages without text, a scan; have it recognised: ocrmypdf scan.pdf",
    ),
    "blank.pdf": (make_pdf([]), "1 page without text, a scan"),
    "junk.pdf": (b"%PDF-1.4\n" + os.urandom(99), "a damaged PDF ("),
    "bomb.docx": (make_bomb(65 * 2**20), "an archive bomb: its texts unpack to more than 67,108,864 bytes"),
    "liar.docx": (make_bomb(65 * 2**20, declared=1000), "a damaged archive (Bad CRC-32"),
    "many.docx": (
        make_zip({f"word/{n}.xml": "x" for n in range(10_001)}),
        "an archive of 10,001 files; 10,000 are the most",
    ),
    "cut.docx": (make_docx("x")[:-40], "a damaged archive (File is not a zip file)"),
    "locked.docx": (b"\xd0\xcf\x11\xe0" + bytes(99), "protected by a password, or an old .doc"),
    "laughs.docx": (
        make_docx("x", extra={"word/a.xml": b"<!DOCTYPE a [<!ENTITY b 'c'>]>"}),
        "word/a.xml in it declares entities",
    ),
    "sheet.docx": (make_zip({"xl/workbook.xml": "<a/>"}), "an archive, and neither .docx nor .epub"),
    "book.epub": (
        make_zip({"META-INF/container.xml": "<a", "mimetype": "application/epub+zip"}),
        "pandoc cannot read it (",
    ),
    "drm.epub": (
        make_zip({"META-INF/container.xml": "<a/>", "META-INF/encryption.xml": "<a URI='1.xhtml'/>"}),
        "a book whose texts are encrypted (DRM)",
    ),
    "empty.pdf": (b"", "empty: there is nothing in it to learn"),
    "nothing.html": ("<html><body><img src=x></body></html>", "there is no text in it"),
    "long.txt": (b"word " * (32 * 2**20 // 5 + 1), "more than 33,554,432 bytes, too long for one text; split it"),
    "binary.md": (os.urandom(9) + b"\xff\xfe\x00", "not UTF-8 (byte"),
}


def test_each_bad_document_is_named_with_its_reason_and_costs_no_other(tmp_path: Path) -> None:
    fill(
        tmp_path,
        {name: content for name, (content, _) in BAD.items()} | {"a.pdf": make_pdf(["A first one."]), "z.md": "Z"},
    )
    found, rejects, left = read(tmp_path)
    assert (titles(found), left) == (["a", "z"], [])
    told = {Path(reject.source).name: reject.reason for reject in rejects}
    assert told.keys() == BAD.keys()
    for name, (_, words) in BAD.items():
        assert told[name].startswith(words), (name, told[name])


def test_a_link_out_of_the_folder_is_left_out_and_one_into_it_read(tmp_path: Path) -> None:
    fill(tmp_path, {"secret/key.md": "Secret", "notes/a.md": "A", "notes/b/c.md": "C"})
    (tmp_path / "notes" / "key.md").symlink_to("../secret/key.md")
    (tmp_path / "notes" / "all").symlink_to(tmp_path / "secret")
    (tmp_path / "notes" / "d.md").symlink_to("b/c.md")
    found, _, left = read(tmp_path / "notes")
    assert titles(found) == ["a", "b/c"]
    assert kinds(left) == [("all", "link out of the folder"), ("d.md", "twice"), ("key.md", "link out of the folder")]


def test_links_of_a_hubs_cache_and_of_git_annex_lead_to_their_stores(tmp_path: Path) -> None:
    fill(tmp_path, {"data/blobs/1": "One", "data/snapshots/abc/x": "", "repo/.git/annex/objects/k": "Two"})
    (tmp_path / "data/snapshots/abc/one.md").symlink_to("../../blobs/1")
    (tmp_path / "repo/notes").mkdir()
    (tmp_path / "repo/notes/two.md").symlink_to("../.git/annex/objects/k")
    assert titles(read(tmp_path / "data/snapshots/abc")[0]) == ["one"]
    assert titles(read(tmp_path / "repo/notes")[0]) == ["two"]


def test_scanned_pages_among_others_are_noted(tmp_path: Path) -> None:
    told: list[str] = []
    path = fill(tmp_path, {"a.pdf": make_pdf([], ["A page with a text."], [], scanned=[0, 2])}) / "a.pdf"
    (record,), rejects, _ = read(path, note=told.append)
    assert (record.task.text, rejects) == ("A page with a text.", [])
    assert told == [f"{path}: pictures without text on 2 of its 3 pages (1, 3)"]


def test_code_is_read_as_it_is_under_its_whole_name_and_generated_code_left_out(tmp_path: Path) -> None:
    code = "def f():\n\treturn '# no heading'\n"
    fill(tmp_path, {"a.py": code, "a.c": "int a;", "jquery.min.js": "x=1;" * 3000, "notes.md": "N"})
    found, rejects, left = read(tmp_path)
    assert dict(zip(titles(found), texts(found), strict=True)) == {"a.c": "int a;", "a.py": code.strip(), "notes": "N"}
    assert (kinds(left), rejects) == ([("jquery.min.js", ".js that is generated")], [])


def test_code_and_pages_beside_a_datasets_tables_are_none_of_its_rows(tmp_path: Path) -> None:
    rows = "title,context,question,answer\nT,C,Q,A\n"
    fill(
        tmp_path,
        {"train.csv": rows, "README.md": "---\nlicense: mit\n---\n", "load.py": "import x", "page.html": "<p>x"},
    )
    found, _, left = read(tmp_path)
    assert titles(found) == ["T"]
    assert kinds(left) == [("README.md", "about the dataset"), ("load.py", ".py"), ("page.html", ".html")]


@pytest.mark.parametrize(
    ("content", "title"),
    [
        (make_pdf(["Some words of a page."], marks=[("Mark", 0)]), "Mark"),
        (make_docx((1, "Head"), "x"), "Head"),
        (make_epub(one="<h1>Chapter</h1><p>x</p>"), "Chapter"),
        (make_page((2, "Web"), "x").encode(), "Web"),
    ],
)
def test_a_document_on_stdin_is_told_by_its_bytes(content: bytes, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for given, expected in ((None, title), ("Mine", "Mine")):
        monkeypatch.setattr(
            sys, "stdin", type("Stdin", (), {"buffer": BytesIO(content), "isatty": lambda self: False})()
        )
        (record,), rejects, _ = read("-", title=given)
        assert (record.task.name, rejects) == (expected, [])  # type: ignore[union-attr]
        assert (record.meta or {})["source"]["file"] == "stdin"


def test_a_document_on_stdin_without_a_heading_needs_a_title(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = type("Stdin", (), {"buffer": BytesIO(make_docx("x")), "isatty": lambda self: False})()
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(BadConfig, match="stdin: a document without a heading: give --title TITLE"):
        read("-")


def test_without_its_converter_a_document_is_left_out_of_a_folder_and_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "has_converter", lambda name: name != "pdf")
    fill(tmp_path, {"a.md": "A", "b.pdf": make_pdf(["x"]), "c.docx": make_docx("C")})
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects) == (["a", "c"], [])
    assert kinds(left) == [("b.pdf", ".pdf (pip install 'seal-toolkit[docs]')")]
    with pytest.raises(BadConfig, match=r"b\.pdf: its converter is not installed: pip install 'seal-toolkit\[docs\]'"):
        read(tmp_path / "b.pdf")


def test_a_packed_document_is_to_be_unpacked(tmp_path: Path) -> None:
    path = fill(tmp_path, {"a.md": "A", "b.html.gz": gzip.compress(make_page("x").encode())}) / "b.html.gz"
    found, rejects, left = read(tmp_path)
    assert (titles(found), rejects, kinds(left)) == (["a"], [], [("b.html.gz", "gzip file")])
    with pytest.raises(BadInput, match=r"b\.html\.gz: a gzip file; unpack it first: gunzip -k"):
        read(path)


# ---- the process apart


def break_worker(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the worker run this for a document whose name has `bad` in it."""
    monkeypatch.setattr(converter, "_run_in", lambda folder: make_broken_worker(code))


def make_broken_worker(code: str) -> str:
    return (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom stages.conversion import worker\n"
        "whole = worker._convert\n"
        f"def convert(path, name):\n    if 'bad' in path.name:\n        {code}\n    return whole(path, name)\n"
        "worker._convert = convert; worker.main()"
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.kill(os.getpid(), 11)", "its converter crashed (SIGSEGV)"),
        ("import os; os._exit(7)", "its converter crashed (code 7)"),
        ("raise KeyError", "its converter crashed (code 1)"),
        ("import time; time.sleep(60)", "its conversion takes longer than 6 seconds"),
        ("bytes(2**30)", "its conversion needs more than 768 MiB of memory"),
    ],
)
def test_a_document_that_breaks_its_converter_is_named_and_the_next_one_read(
    tmp_path: Path, code: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_worker(monkeypatch, code)
    monkeypatch.setattr(
        Converter, "__init__", lambda self: self.__dict__.update(seconds=6 if "sleep" in code else 100, process=None)
    )
    fill(
        tmp_path,
        {"1.pdf": make_pdf(["The first one."]), "2bad.pdf": make_pdf(["x"]), "3.pdf": make_pdf(["The last one."])},
    )
    found, (reject,), _ = read(tmp_path)
    assert texts(found) == ["The first one.", "The last one."]
    assert (Path(reject.source).name, reject.reason) == ("2bad.pdf", words)


def test_the_process_has_no_keys_and_ends_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    started: list[Any] = []
    whole = converter._start
    monkeypatch.setattr(converter, "_start", lambda: started.append(whole()) or started[-1])
    assert len(read(fill(tmp_path, {"a.pdf": make_pdf(["The first."]), "b.pdf": make_pdf(["The second."])}))[0]) == 2
    assert started and {process.returncode for process in started} == {-9}
    process = whole()
    try:
        assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    finally:
        process.kill()
        process.communicate()


def test_several_documents_are_converted_at_once_and_come_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_worker(monkeypatch, "raise KeyError")
    names = [f"{n}bad.pdf" if n == 4 else f"{n}.pdf" for n in range(9)]
    fill(tmp_path, {name: make_pdf([f"This is the text of {name}."]) for name in names})
    started: list[Any] = []
    whole = converter._start
    monkeypatch.setattr(converter, "_start", lambda: started.append(whole()) or started[-1])
    for sources, concurrency, most in (
        ([tmp_path], 1, {2}),  # processes: one more after the crash
        ([tmp_path], 3, {3, 4}),
        ([tmp_path / name for name in names], 3, {3, 4}),
    ):
        started.clear()
        found, (reject,), _ = read(*sources, concurrency=concurrency)
        assert texts(found) == [f"This is the text of {name}." for name in names if "bad" not in name]
        assert (Path(reject.source).name, reject.reason) == ("4bad.pdf", "its converter crashed (code 1)")
        assert len(started) in most and {process.returncode for process in started} <= {-9, 1}


def test_conversions_that_nobody_waits_for_end_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_worker(monkeypatch, "import time; time.sleep(99)")
    fill(tmp_path, {"1.pdf": make_pdf(["The first one."]), "2bad.pdf": make_pdf(["x"]), "3bad.pdf": make_pdf(["x"])})
    began = time.monotonic()
    found = tasks.run(str(tmp_path), concurrency=2)
    assert next(found).task.text == "The first one."
    del found
    assert time.monotonic() - began < 60


def test_a_number_of_conversions_without_a_document_is_told_and_with_a_domain_refused(tmp_path: Path) -> None:
    fill(tmp_path, {"a.md": b"A text here.", "b.pdf": make_pdf(["Another one."])})
    idle = "--concurrency 3: has no effect, as no source is a document that is converted"
    for name, wanted in (("a.md", [idle]), ("b.pdf", [])):
        told = list[str]()
        assert len(list(tasks.run(str(tmp_path / name), concurrency=3, note=told.append))) == 1
        assert told == wanted
    with pytest.raises(BadConfig, match="--concurrency 3: --domain qa reads the files; leave it out"):
        tasks.run(str(tmp_path / "a.md"), concurrency=3, domain="qa")


def test_no_module_of_the_working_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(
        tmp_path,
        {"pypdfium2.py": "raise SystemExit(9)", "json.py": "raise SystemExit(9)", "a.pdf": make_pdf(["A text here."])},
    )
    monkeypatch.chdir(tmp_path)
    assert texts(read("a.pdf")[0]) == ["A text here."]


def test_a_converter_and_what_it_has_started_end_with_a_seal_that_is_killed(tmp_path: Path) -> None:
    fill(tmp_path, {"bad.pdf": make_pdf(["x"])})
    worker = make_broken_worker("import subprocess; subprocess.run(['sleep', '99'])")
    script = (
        "import sys; from pathlib import Path; from stages.conversion import converter\n"
        f"converter._run_in = lambda folder: {worker!r}\n"
        f"converter.Converter().convert(Path({str(tmp_path / 'bad.pdf')!r}), 'pdf')"
    )
    seal = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    children = psutil.Process(seal.pid).children
    wait_until(lambda: [each.name() for each in children(recursive=True)][1:] == ["sleep"])
    pids = [each.pid for each in children(recursive=True)]
    seal.kill()
    seal.wait()
    wait_until(lambda: not any(map(is_running, pids)))


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_pandoc_may_take_no_more_processor_time_than_a_document_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pypandoc

    fill(tmp_path, {"pandoc": "#!/bin/sh\nulimit -t\n", "spent": "#!/bin/sh\nkill -XCPU $$\n", "a.html": "<p>x"})
    for name in ("pandoc", "spent"):
        (tmp_path / name).chmod(0o755)
        monkeypatch.setattr(pypandoc, "get_pandoc_path", lambda name=name: str(tmp_path / name))
        if name == "pandoc":
            assert MOST_SECONDS < int(markup.convert_page(tmp_path / "a.html").text) <= MOST_SECONDS + 10
    with pytest.raises(BadDocument, match="its conversion takes longer than 120 seconds"):
        markup.convert_page(tmp_path / "a.html")


# ---- unusual characters

ODD = ("\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\0", "\ufeff", "\ufffe", "\u200b", "\U0001f600")


def test_odd_characters_end_no_line_and_move_no_place(tmp_path: Path) -> None:
    def say(name: str) -> list[tuple[str, str]]:
        return [
            (f"H{n}", f"Part {n} of {name} has a wall{odd}and a roof{odd}{odd} of slate.") for n, odd in enumerate(ODD)
        ]

    page = make_page(*(block for head, text in say("b") for block in ((1, head), text)))
    letter = make_docx(*(block for head, text in say("d") for block in ((1, head), clean(text))))
    fill(
        tmp_path,
        {
            "a.md": "\n\n".join(f"# {head}\n\n{text}" for head, text in say("a")),
            "b.html": page,
            "c.epub": make_epub(one="".join(f"<h1>{head}</h1><p>{clean(text)}</p>" for head, text in say("c"))),
            "d.docx": letter,
            "e.rst": "\n\n".join(f"{head}\n===\n\n{text}" for head, text in say("e")),
            "f.pdf": make_pdf([text for _, text in say("f")]),
        },
    )
    whole, rejects, _ = read(tmp_path)
    chunks, others, _ = read(tmp_path, chunking=Chunking(64, 0, ROOT / "examples/tiny/model"))
    held = {f"{tmp_path}/{path}": (tmp_path / path).read_text("utf-8-sig") for path in ("a.md", "e.rst")}
    held |= {record.meta["source"]["file"]: record.task.text for record in whole if record.meta}
    assert (rejects, others) == ([], []) and len(held) == 6 and "\r" not in "".join(texts(whole + chunks))
    for chunk in chunks:
        source = (chunk.meta or {})["source"]
        assert held[source["file"]][source["start"] : source["end"]] == chunk.task.text
        line = to_json(chunk)
        assert json.loads(line)["task"]["context"] == chunk.task.text and "\n" not in line
    for name in "abcde":
        assert {f"{name} › H{n}" for n in range(len(ODD))} <= set(titles(chunks))


def clean(text: str) -> str:
    """Without what XML has no place for."""
    return "".join(letter for letter in text if letter >= " " and letter not in "\ufffe")
