"""Work on a cluster: every worker makes sure that it has the driver's model before it makes a line with it."""

from pathlib import Path

import pytest

from stages.cluster.settings import Cluster
from stages.errors import BadConfig, BadInput, MissingInput
from stages.fingerprints import fingerprint_folder
from stages.judge import Regrade
from stages.judges.factory import LocalJudge
from stages.spread import _fix_device, _open_checked, spread
from tests.invented import a_line, a_task


def open_with(model: Path, weights: str | None) -> object:
    return _open_checked(lambda finished: "opened", str(model), weights, True, ())  # type: ignore[arg-type, return-value]


def test_a_worker_with_another_model_or_none_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    weights = fingerprint_folder(tmp_path)
    assert open_with(tmp_path, weights) == "opened"
    (tmp_path / "model.safetensors").write_text("others")
    with pytest.raises(BadInput, match=r"--model .*: another model has this name on .*; put it on a disk"):
        open_with(tmp_path, weights)
    with pytest.raises(MissingInput, match=r"--model .*away: not on .*; put it on a disk that all nodes share"):
        open_with(tmp_path / "away", weights)


def test_a_cache_of_no_model_is_refused() -> None:
    work = Regrade(LocalJudge("exact")).prepare([a_line(a_task(), (True, False))])
    with pytest.raises(BadConfig, match=r"--model-cache /disk: this run loads no model; leave it out"):
        spread(work, Cluster("local", model_cache=Path("/disk")), [], work.settings(), Path("scores.jsonl"))


@pytest.mark.parametrize(
    ("device", "gpus", "told"),
    [
        ("cuda", 0.0, "--gpus-per-worker 0: the workers of a node would all compute on one GPU; give 1, or a share"),
        ("cpu", 1.0, "--gpus-per-worker 1: the run computes on a CPU, as there is no GPU here; give --device cuda"),
    ],
)
def test_gpus_that_the_run_does_not_compute_on_are_refused(device: str, gpus: float, told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        _fix_device(Cluster("auto", gpus_per_worker=gpus), device)


def test_workers_compute_on_what_the_settings_name_also_where_a_node_has_gpus() -> None:
    assert _fix_device(Cluster("auto"), "cpu") == {"CUDA_VISIBLE_DEVICES": ""}
    assert _fix_device(Cluster("auto", gpus_per_worker=0.5), "cuda") == {}
    assert _fix_device(Cluster("auto"), None) == _fix_device(Cluster("auto", gpus_per_worker=1), None) == {}
