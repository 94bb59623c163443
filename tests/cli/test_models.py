"""Which model a stage uses: one directory has one name in the settings."""

from pathlib import Path

import pytest

from stages.models.choice import choose_model, plain


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a model in it."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_slash_at_the_end_of_a_directory_changes_nothing(place: Path) -> None:
    assert [choose_model(name, ()) for name in ("m", "m/", "m//", "./m/", f"{place}/m/")] == [
        "m",
        "m",
        "m",
        "./m",
        f"{place}/m",
    ]
    assert choose_model(None, ["m/", "m", "none"]) == "m"


def test_the_root_and_names_that_are_no_directory_stay_as_they_are(place: Path) -> None:
    assert [plain(name) for name in ("/", "//", "owner/name", "absent/")] == ["/", "/", "owner/name", "absent/"]
