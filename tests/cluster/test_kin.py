"""Lines that others are told of are held as long as somebody may want them, and no longer."""

from functools import partial

from stages.cluster.kin import KinLines


def hold(keys: str, *finished: str, one_is_enough: bool = True) -> KinLines:
    """Keys of two letters, the first of which is their kin's name."""
    found = KinLines(lambda key: key[0], one_is_enough=one_is_enough)
    found.expect(keys.split(), [(key, partial(str, f"line {key}")) for key in finished])
    return found


def test_the_latest_line_of_a_kin_is_told_and_all_lines_of_a_unit() -> None:
    for one_is_enough, told in ((True, ["line x1"]), (False, ["line x0", "line x1"])):
        found = hold("x1 x2 x3", "x0", one_is_enough=one_is_enough)
        found.add("x1", "line x1")
        assert found.list_for(["x2", "x3"]) == told
        assert found.list_for(["y1"]) == []


def test_a_line_is_dropped_with_the_last_of_its_kin() -> None:
    found = hold("x1 x2 y1 y2", "x0")
    for key in ("x2", "y2", "x1"):
        found.add(key, f"line {key}")
    assert found.lines == {"y": ["line y2"]}
    found.add("y1", "line y1")
    assert (found.lines, found.missing) == ({}, {})


def test_of_finished_lines_only_those_are_encoded_that_somebody_wants() -> None:
    encoded: list[str] = []
    found = KinLines(lambda key: key[0], one_is_enough=True)
    found.expect(["x1"], [(key, partial(encoded.append, key)) for key in ("x0", "y0", "z0")])
    assert encoded == ["x0"]
