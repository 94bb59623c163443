"""Pauses that a server asks for: in seconds, as a date, in milliseconds, or nonsense."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.services.pauses import get_retry_after_s

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Tue, 99 Nov 2023 22:00:00 GMT"}, None),
    ],
)
def test_a_pause_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert get_retry_after_s(headers, NOW) == seconds


@given(st.text(), st.text())
def test_any_header_is_a_pause_or_none(seconds: str, milliseconds: str) -> None:
    found = get_retry_after_s({"retry-after": seconds, "retry-after-ms": milliseconds}, NOW)
    assert found is None or 0 <= found < float("inf")
