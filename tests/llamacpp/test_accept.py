"""`seal accept` with llama.cpp's server, its models and adapters written by `seal export`."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from stages.accept import Acceptance
from stages.export import Export
from tests.acceptance.damage import set_alpha
from tests.acceptance.trials import GOOD, Outcome, Trial, accept, open_llama, reach, tell
from tests.acceptance.world import MODEL, World
from tests.cli.inside import run_inside
from tests.llamacpp.conftest import NEEDS_LLAMACPP
from tests.llamacpp.server import serving_llama

pytestmark = NEEDS_LLAMACPP
EXPECTED = {
    GOOD: {"accepted"},
    "zeroed": {"applied", "trained", "accuracy"},
    "alpha doubled": {"trained"},
    "alpha halved": {"trained"},
    "last layer missing": {"trained"},
    "file cut": {"refused"},
    "another task's": {"right one", "trained"},
    "another base": {"base"},
}


def verdicts(found: Outcome) -> dict[str, bool | None]:
    assert isinstance(found, Acceptance), found
    return {each.check: each.ok for each in found.findings}


@pytest.mark.parametrize("numbers", ["f32", "q8_0"])
def test_the_good_one_is_accepted_and_everything_else_is_not(
    numbers: str, world: World, trials: Sequence[Trial], tmp_path: Path
) -> None:
    with open_llama(numbers, world, trials, tmp_path) as test:
        found = {trial.name: test(trial) for trial in trials}
    assert found.keys() == EXPECTED.keys()
    for name, expected in EXPECTED.items():
        assert expected <= set(tell(found[name]).split(", ")), (name, found[name])
    assert verdicts(found[GOOD]) == dict.fromkeys(
        ("tokenizer", "base", "applied", "right one", "trained", "accuracy"), True
    )


def test_a_merged_model_is_compared_with_its_base_where_that_is_served_beside_it(world: World, tmp_path: Path) -> None:
    good = world.adapters[0]
    wrong = set_alpha(0.5)(good, tmp_path / "wrong")
    files: dict[str, Callable[[Path], object]] = {
        "base.gguf": lambda out: Export(to="gguf", out=out).run(MODEL),
        "good.gguf": lambda out: Export(to="gguf", out=out, merge=True, model=str(MODEL)).run(good),
        "wrong.gguf": lambda out: Export(to="gguf", out=out, merge=True, model=str(MODEL)).run(wrong),
    }
    for name, write in files.items():
        write(tmp_path / name)
    with (
        serving_llama(tmp_path / "0.log", tmp_path / "base.gguf") as base,
        serving_llama(tmp_path / "1.log", tmp_path / "good.gguf") as merged,
        serving_llama(tmp_path / "2.log", tmp_path / "wrong.gguf") as halved,
    ):
        alone = accept(world, server=reach(merged))
        assert verdicts(alone)["base"] is None and verdicts(alone)["trained"] is None
        assert tell(alone) == "not tried"
        assert tell(accept(world, server=reach(merged, base))) == "accepted"
        assert tell(accept(world, server=reach(halved, base))).startswith("trained")


def test_a_cut_file_is_not_served(world: World, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.gguf"
    Export(to="gguf", out=tmp_path / "base.gguf").run(MODEL)
    Export(to="gguf", out=adapter, model=str(MODEL)).run(world.adapters[0])
    adapter.write_bytes(adapter.read_bytes()[: adapter.stat().st_size // 2])
    with (
        pytest.raises(RuntimeError, match="did not start"),
        serving_llama(tmp_path / "log", tmp_path / "base.gguf", adapter),
    ):
        pass


def test_the_command_asks_a_server_for_the_adapter_of_the_directory_s_name(world: World, tmp_path: Path) -> None:
    good, other = world.adapters[:2]
    Export(to="gguf", out=tmp_path / "base.gguf").run(MODEL)
    for path in (good, other):
        Export(to="gguf", out=tmp_path / f"{path.name}.gguf", model=str(MODEL)).run(path)
    adapters = [tmp_path / f"{path.name}.gguf" for path in (other, good)]
    with serving_llama(tmp_path / "log", tmp_path / "base.gguf", *adapters) as url:
        server = ("--engine", "openai", "--base-url", url, "--base", MODEL, "--device", "cpu", "--probe-tokens", "96")
        done = run_inside("accept", good, "--among", other, *server, cwd=tmp_path)
        assert done.code == 0, done.err
        assert "passed     right one" in done.err
        done = run_inside("accept", good, "--served", "nobody", *server, cwd=tmp_path)
        assert done.code == 78
        assert f"--served nobody: it has 0 {other.name}, 1 {good.name}" in done.err
