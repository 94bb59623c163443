"""The manifest beside a file: what is read as one, and where seal's own commit comes from."""

import json
from pathlib import Path

import pytest

from seal_cli.runs import manifest


def test_a_machine_without_git_has_no_commit_to_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "seal_cli" / "runs" / "manifest.py"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert manifest.commit() is None
    manifest.write_manifest(tmp_path / "out.jsonl", {"stage": "tasks"}, {"counts": {"read": 1}})
    assert manifest.read_manifest(tmp_path / "out.jsonl")["commit"] is None


@pytest.mark.parametrize("counts", [None, 3, [1], "3", {"read": "3"}, {"read": 1.5}, {"read": True}, {"read": None}])
def test_a_manifest_without_whole_counts_is_none(tmp_path: Path, counts: object) -> None:
    path = manifest.get_manifest_path(tmp_path / "out.jsonl")
    path.write_text(json.dumps({"stage": "tasks", "counts": counts}))
    assert manifest.read_manifest(tmp_path / "out.jsonl") == {}
    path.write_text(json.dumps({"stage": "tasks"}))
    assert manifest.read_manifest(tmp_path / "out.jsonl") == {}
    path.write_text(json.dumps({"stage": "tasks", "counts": {"read": 3}}))
    assert manifest.read_manifest(tmp_path / "out.jsonl")["stage"] == "tasks"
