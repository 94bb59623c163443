"""The tiny model, three adapters of it, and what can be wrong with one, for llama.cpp's server."""

from collections.abc import Sequence
from importlib.util import find_spec

import pytest

from tests.acceptance.trials import Trial, make_trials
from tests.acceptance.world import World, make_world

NEEDS_LLAMACPP = [
    pytest.mark.llamacpp,
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp is not installed here (make test-llamacpp)"),
]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def trials(world: World, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Trial]:
    return make_trials(world, tmp_path_factory.mktemp("trials"))
