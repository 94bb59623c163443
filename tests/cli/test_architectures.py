"""A sample of the table of architectures: each cell works, or is refused in a sentence."""

import pytest

from tests.bench.architectures import row


@pytest.mark.parametrize(("kind", "columns"), [("mixtral", ("eval",)), ("gpt_neo", ("generate",))])
def test_a_model_of_another_kind_works_or_is_refused_in_a_sentence(kind: str, columns: tuple[str, ...]) -> None:
    assert row(kind, columns) == dict.fromkeys(columns, "works")
