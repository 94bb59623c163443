"""One random model and one adapter of each architecture, made once."""

from pathlib import Path

import pytest

from tests.exports.tiny import KINDS, make_architecture, make_lora

UNEVEN = {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("architectures")
    return {kind: make_architecture(folder / kind, kind) for kind in KINDS}


@pytest.fixture(scope="session")
def loras(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Adapters whose layers have different ranks and factors."""
    folder = tmp_path_factory.mktemp("loras")
    return {kind: make_lora(base, folder / kind, **UNEVEN) for kind, base in bases.items()}
