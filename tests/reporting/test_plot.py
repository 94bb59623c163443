"""Pictures and pages are whole, or as they were before."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stages import report
from stages.domains.plot import draw_grids
from stages.domains.views import make_view
from stages.records.record import Record
from stages.reporting.matrix import Matrix, draw_matrix
from stages.reporting.page import MOST_BYTES, write_page
from stages.reporting.page_lines import PageLines
from stages.reporting.plot import draw_plot
from tests.conftest import files_of_at_most
from tests.invented import a_line, a_task
from tests.invented_grids import an_arc_task

ROWS = report.run([("self", [a_line(a_task(), [True, False])])])
DRAWERS: dict[str, Callable[[Path], object]] = {
    "rows.png": lambda path: draw_plot(ROWS, path),
    "rows.svg": lambda path: draw_plot(ROWS, path),
    "matrix.pdf": lambda path: draw_matrix(Matrix([[0.5], [1.0]]), path),
    "grids.png": lambda path: draw_grids([make_view(Record(task=an_arc_task()), None)], path),
    "page.html": lambda path: write_page(path, ROWS, PageLines(MOST_BYTES)),
}


@pytest.mark.parametrize("name", DRAWERS)
@pytest.mark.parametrize("ended_by", ["a full disk", "Ctrl-C"])
def test_what_ends_a_picture_leaves_the_file_as_it_was(
    name: str, ended_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    draw, path = DRAWERS[name], tmp_path / name
    draw(path)
    before = path.read_bytes()
    if ended_by == "Ctrl-C":

        def interrupt(descriptor: int) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("os.fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            draw(path)
    else:
        with files_of_at_most(1000), pytest.raises(OSError, match="File too large") as caught:
            draw(path)
        assert caught.value.filename == f"{path}.part"
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [name]
