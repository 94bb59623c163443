"""Web pages, Word documents and books as Markdown, by pandoc in its sandbox: it reads nothing but what it is given."""

import re
import signal
import subprocess
from pathlib import Path

from stages.conversion.archives import repack
from stages.conversion.formats import BadDocument, ConvertedText
from stages.conversion.limits import MOST_SECONDS, MOST_TEXT, limit_time

_WRITER = "markdown_strict+pipe_tables+backtick_code_blocks+fenced_code_blocks+footnotes+tex_math_dollars+strikeout"
_FILTER = Path(__file__).with_name("plain.lua")
_HEAP = 512  # MiB
_CHARSET = re.compile(rb"""(?:charset|encoding)\s{0,9}=\s{0,9}["']?([\w.:-]{1,40})""", re.IGNORECASE)
_NAV = re.compile(r"<(/?)nav\b", re.IGNORECASE)


def convert_page(path: Path) -> ConvertedText:
    """Convert a web page; what it calls navigation is left out. Raises BadDocument."""
    with path.open("rb") as file:
        raw = file.read(MOST_TEXT + 1)
    if len(raw) > MOST_TEXT:
        raise BadDocument(f"more than {MOST_TEXT:,} bytes")
    return _run_pandoc(_cut_navigation(_decode(raw)).encode("utf-8", "replace"), "html")


def convert_archive(path: Path) -> ConvertedText:
    """Convert a Word document (.docx) or a book (.epub). Raises BadDocument."""
    return _run_pandoc(*repack(path))


def _decode(raw: bytes) -> str:
    """A page's text, by its byte-order mark or by the charset that it names; UTF-8 where that fits."""
    try:
        return raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        named = _CHARSET.search(raw[:4096])
        charset = named[1].decode("ascii", "replace").lower() if named else ""
        try:
            return raw.decode({"iso-8859-1": "cp1252", "latin-1": "cp1252", "latin1": "cp1252"}.get(charset, charset))
        except (LookupError, UnicodeError):
            told = f"and not {charset}, which it names" if charset else "and names no charset"
            raise BadDocument(
                f"not UTF-8 (byte {error.start}), {told}; convert it: iconv -f CHARSET -t UTF-8"
            ) from None


def _cut_navigation(text: str) -> str:
    """The page without its elements `nav`."""
    kept, depth, done = [], 0, 0
    for found in _NAV.finditer(text):
        if not found[1]:
            if not depth:
                kept.append(text[done : found.start()])
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                done = text.find(">", found.end()) + 1 or len(text)
    return text if depth else "".join([*kept, text[done:]])  # one that does not end is none


def _run_pandoc(content: bytes, reader: str) -> ConvertedText:
    import pypandoc

    command = [pypandoc.get_pandoc_path(), "+RTS", f"-M{_HEAP}m", "-RTS", "--sandbox", "--quiet", "--wrap=none"]
    command += [f"--from={reader}", f"--to={_WRITER}-raw_html", f"--lua-filter={_FILTER}"]
    command += ["--metadata=titlepage:true"] if reader == "docx" else []
    done = subprocess.run(command, input=content, capture_output=True, check=False, preexec_fn=limit_time)
    if done.returncode == 251 or b"eap exhausted" in done.stderr:
        raise BadDocument(f"its conversion needs more than {_HEAP} MiB of memory")
    if done.returncode == -signal.SIGXCPU:
        raise BadDocument(f"its conversion takes longer than {MOST_SECONDS} seconds")
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-200:]
        raise BadDocument(f"pandoc cannot read it ({said or f'code {done.returncode}'})")
    if len(done.stdout) > MOST_TEXT:
        raise BadDocument(f"more than {MOST_TEXT:,} bytes of text")
    text = done.stdout.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return ConvertedText(text.strip(), is_markdown=True)
