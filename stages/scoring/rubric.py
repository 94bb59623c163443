"""The scale of a rubric: the paper's text, and the points that a rater's reply gives."""

import re
from dataclasses import dataclass
from pathlib import Path

from stages.errors import BadConfig
from stages.sources.texts import read_flag_file

RUBRIC = (  # official code, the reward mode "proxy": four criteria from 1 to 5, and their sum
    "You are to evaluate a list of implications that are derived (directly or indirectly) from the provided document. "
    "Be critical and fair.\nFor each of the four criteria below, rate on a 1-5 integer scale (higher is better). We "
    "want to reward implication lists that are longer (relative to the size of the original document), more diverse "
    "(statements should be less repetitive), higher in quality, and more correct (supported by the document).\n"
    "For each criterion, think briefly and then output exactly this format:\n"
    "Length: <1-5> - <one sentence rationale>\nDiversity: <1-5> - <one sentence rationale>\n"
    "Quality: <1-5> - <one sentence rationale>\nCorrectness: <1-5> - <one sentence rationale>\n"
    "After that, output the sum of the 4 scores as: Final Score: <integer>\n\n"
    "Title: {title}\nDocument:\n{context}\n\nImplications:\n{completion}\n"
)
_SAID = re.compile(r"^[^\w\n]*final\s+score\W*?(-?\d.*)", re.IGNORECASE | re.MULTILINE)
_N = r"(?P<points>-?\d+(?:\.\d+)?)"
_FIRST = re.compile(rf"{_N}(?=[\s*_]*(?:=[^=]*\+|\([^()]*\+))")  # 16 = 4 + 4 + 4 + 4, and 16 (4+4+4+4)
_LAST = re.compile(rf".*=[\s*_]*{_N}")  # 4 (Length) + 4 + 4 + 4 = 16
_ALONE = re.compile(_N)
_OF = re.compile(r"[\s*_]*(?:/|(?:out )?of\b)[\s*_]*(\d+(?:\.\d+)?)", re.IGNORECASE)  # 16/20
_GOES_ON = re.compile(r"[.,]?\w|[\s*_]*[-–—+]\s*\d")  # 1,600 and 1e9; a range, a sum


def _find_total(said: str) -> re.Match[str] | None:
    """Find the number that a line of the final score says: of a sum that is written out its result, wherever it is."""
    found = _FIRST.match(said) or (_LAST if "+" in said else _ALONE).match(said)
    return None if found is None or _GOES_ON.match(said, found.end()) else found


@dataclass(frozen=True)
class RatingScale:
    """The rubric, and the points that it gives at least and at most."""

    rubric: Path | None = None  # None: SEAL's
    lowest: float = 4  # points of the worst self-edit: the reward 0; four criteria, 1 to 5
    highest: float = 20
    max_tokens: int = 512  # of a reply

    def read(self) -> str:
        """Return the rubric's text. Raises BadConfig for one that lacks a field, or a scale without a width."""
        if not self.lowest < self.highest:
            raise BadConfig(
                f"--lowest {self.lowest:g}, --highest {self.highest:g}: the highest must be above the lowest"
            )
        text = RUBRIC if self.rubric is None else read_flag_file(self.rubric, f"--rubric {self.rubric}")
        if "{completion}" not in text:
            raise BadConfig(f"--rubric {self.rubric}: the file does not contain {{completion}}: what is to be rated")
        return text

    def read_points(self, reply: str) -> tuple[float | None, str | None]:
        """Return the points of a reply, or None and the reason."""
        found = [_find_total(said) for said in _SAID.findall(reply)]
        values = {float(total["points"]) for total in found if total}
        if len(values) != 1 or None in found:
            what = "several" if len(values) > 1 else "no"
            return None, f"unparsable: {what} `Final Score: N` in {reply[-60:]!r}"
        points = values.pop()
        ends = (_OF.match(total.string, total.end()) for total in found if total)
        most = next((float(end[1]) for end in ends if end), self.highest)
        if most != self.highest:
            return None, f"unparsable: {points:g} points of {most:g} on a scale to {self.highest:g}"
        if not self.lowest <= points <= self.highest:
            return None, f"unparsable: {points:g} points on a scale from {self.lowest:g} to {self.highest:g}"
        return points, None


SEAL_SCALE = RatingScale()
