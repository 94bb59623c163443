"""A small cluster of this machine for all tests, with workers that are forked from the tests' own server."""

from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.ray.nodes import start_node

NEEDS_RAY = [
    pytest.mark.ray,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed here (make test-ray)"),
]


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The cluster's, which has room for two workers."""
    with start_node(cpus=2) as head:
        yield head.address
