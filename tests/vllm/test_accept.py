"""`seal accept` with vLLM, in this process and as a server: the good adapter passes, damaged copies do not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.accept import Accept, Acceptance, AcceptanceTest
from stages.checks.acceptance.engines import ServerAccess
from stages.checks.acceptance.subjects import read_directory
from stages.engines.vllm import VLLMEngine
from stages.errors import BadInput
from stages.judges.exact import ExactJudge
from stages.services.client import Server
from stages.services.vllm_server import probe_server
from tests.acceptance.damage import cut_file, drop_last_layer, perturb, set_alpha, zero
from tests.acceptance.trials import KeepingEngine
from tests.vllm.conftest import FLOAT32, NEEDS_VLLM
from tests.vllm.server import call

pytestmark = NEEDS_VLLM
LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
DAMAGES = {
    "zeroed": (zero, {"applied", "trained"}),
    "alpha doubled": (set_alpha(2), {"trained"}),
    "alpha halved": (set_alpha(0.5), {"trained"}),
    "last layer missing": (drop_last_layer, {"trained"}),  # which vLLM loads without a word
}


def verdicts(found: Acceptance) -> dict[str, bool | None]:
    return {each.check: each.ok for each in found.findings}


def failures(found: Acceptance) -> set[str]:
    return {name for name, ok in verdicts(found).items() if ok is False}


def accept_in_process(engine: VLLMEngine, model: Path, good: Path, other: Path, served: Path) -> Acceptance:
    wanted = AcceptanceTest(base=str(model), model=engine.model, served=str(served), among=(other,))
    source = KeepingEngine(str(model), "vllm", FLOAT32, held=[engine])
    (found,) = Accept(wanted, ExactJudge, engine=source, device=FLOAT32).run([read_directory(good)])
    return found


def accept_served(
    url: str, model: Path, good: Path, other: Path, served: str | None, base: str | None = None
) -> Acceptance:
    wanted = AcceptanceTest(base=str(model), model=base, served=served, among=(other,))
    access = ServerAccess(
        f"{url}/v1", None, lambda url: probe_server(url, None), lambda url: Server(url, key=None, retry_for_s=0.0)
    )
    (found,) = Accept(wanted, ExactJudge, server=access, device=FLOAT32).run([read_directory(good)])
    return found


@pytest.fixture
def name(request: pytest.FixtureRequest, server: str) -> Iterator[str]:
    """A name for this test's adapter, free again when it is over."""
    own = "accept" + str(abs(hash(request.node.name)))
    yield own
    call(server, UNLOAD, {"lora_name": own})


def test_a_server_that_loads_the_directory_itself_is_accepted_and_keeps_nothing(
    server: str, llama: Path, adapters: dict[str, Path]
) -> None:
    found = accept_served(server, llama, adapters["all"], adapters["A"], None)
    assert found.is_accepted, found
    assert verdicts(found)["right one"]
    assert call(server, "/v1/models")[1]["data"][-1]["id"] == "base"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_copy_on_the_server_is_not_accepted(
    damage: str, server: str, llama: Path, adapters: dict[str, Path], name: str, tmp_path: Path
) -> None:
    make, failed = DAMAGES[damage]
    bad = make(adapters["all"], tmp_path / "bad")
    assert call(server, LOAD, {"lora_name": name, "lora_path": str(bad)})[0] == 200
    found = accept_served(server, llama, adapters["all"], adapters["A"], name)
    assert failures(found) >= failed, found  # a zeroed one may be nearer to another, too
    assert not found.is_accepted


def test_another_adapter_on_the_server_is_told(
    server: str, llama: Path, adapters: dict[str, Path], name: str, tmp_path: Path
) -> None:
    assert call(server, LOAD, {"lora_name": name, "lora_path": str(adapters["A"])})[0] == 200
    found = accept_served(server, llama, adapters["all"], adapters["A"], name)
    assert failures(found) == {"right one", "trained"}, found


def test_a_server_of_another_base_is_told(server: str, llama: Path, adapters: dict[str, Path], tmp_path: Path) -> None:
    """The server is right: the reference is told of another model than it has."""
    base = perturb(llama, tmp_path / "base")
    found = accept_served(server, base, adapters["all"], adapters["A"], None)
    assert "base" in failures(found), found


def test_in_this_process_the_good_one_is_accepted_and_damaged_copies_are_not(
    engine: VLLMEngine, llama: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    good, other = adapters["all"], adapters["A"]
    assert accept_in_process(engine, llama, good, other, good).is_accepted
    assert failures(accept_in_process(engine, llama, good, other, other)) == {"right one", "trained"}
    for number, (make, failed) in enumerate(DAMAGES.values()):
        found = accept_in_process(engine, llama, good, other, make(good, tmp_path / str(number)))
        assert failures(found) >= failed, found
    base = perturb(llama, tmp_path / "base")
    assert "base" in failures(accept_in_process(engine, base, good, other, good))
    with pytest.raises(BadInput, match="download it again"):
        accept_in_process(engine, llama, good, other, cut_file(good, tmp_path / "cut"))
