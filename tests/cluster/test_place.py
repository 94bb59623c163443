"""Workers prove that they see their driver's folders; of drivers that were killed no proofs stay."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from stages.cluster.place import Place
from stages.errors import BadConfig

pytestmark = pytest.mark.fast
HEX = "0123456789abcdef"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    return Place(tmp_path, (tmp_path / "out",), f".seal-{HEX}", {"SECRET": "word"})


def list_out(place: Place) -> list[str]:
    return sorted(path.name for path in (place.folder / "out").iterdir())


def test_a_worker_that_shares_the_folders_proves_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET", raising=False)
    with place.hold():
        place.check("7", place.enter("7"))
        assert list_out(place) == [place.proof]
        assert os.environ["SECRET"] == "word"  # noqa: S105
        place.enter("8")  # and dies before the driver looks
    assert list_out(place) == []


def test_a_worker_without_the_folder_is_told_of(place: Place, tmp_path: Path) -> None:
    for folder in (place.folder, *place.folders):
        elsewhere = Place(tmp_path / "nowhere" if folder == place.folder else folder, place.folders, "other")
        with place.hold(), pytest.raises(BadConfig, match="does not share it"):
            elsewhere.enter("0")


def test_a_worker_with_other_files_under_the_same_name_is_told_of(place: Place) -> None:
    with place.hold():
        (place.folders[0] / place.proof).write_text("something else")
        with pytest.raises(BadConfig, match="it holds other files there"):
            place.enter("0")


def test_a_worker_whose_files_do_not_arrive_is_told_of(place: Place) -> None:
    with pytest.raises(BadConfig, match="the worker on far does not share it"):
        place.check("0", "far")


def test_keys_of_servers_do_not_show(place: Place) -> None:
    assert "word" not in repr(place)


def test_a_run_removes_what_killed_drivers_left_and_nothing_of_living_ones(place: Place) -> None:
    dead, gone, other = (f".seal-{digit * 16}" for digit in "abc")
    for name in (dead, f"{dead}-0", f"{dead}-12", f"{gone}-3", ".seal-mine"):
        (place.folder / "out" / name).write_text("left")
    living = replace(place, proof=other)
    with living.hold():
        living.enter("4")
        with place.hold():
            assert list_out(place) == sorted([place.proof, other, f"{other}-4", ".seal-mine"])
    assert list_out(place) == [".seal-mine"]
