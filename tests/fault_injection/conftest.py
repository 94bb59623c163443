"""A room for a trial."""

from pathlib import Path

import pytest

from tests.fault_injection.trial import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    (tmp_path / "work").mkdir()
    return Room(tmp_path)
