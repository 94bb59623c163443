"""Memory under the limits of control groups, and a disk whose files and locks are tried."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from stages.checks import machine
from stages.checks.finding import Finding
from stages.checks.machine import check_disk, check_lock, check_memory, format_bytes, get_cgroup_room

GIB = 1 << 30


def group(folder: Path, limit: str, used: int, cached: int = 0) -> None:
    """A control group of version 2."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


def test_the_tightest_limit_up_the_tree_counts_and_cached_files_do_not(tmp_path: Path) -> None:
    own, root = tmp_path / "own", tmp_path / "root"
    own.write_text("0::/pod/container\n")
    group(root / "pod", str(4 * GIB), 3 * GIB, cached=GIB)
    group(root / "pod" / "container", str(8 * GIB), GIB)
    assert get_cgroup_room(own, root) == 2 * GIB
    group(root / "pod" / "container", "max", GIB)
    assert get_cgroup_room(own, root) == 2 * GIB
    group(root / "pod" / "container", str(GIB), 3 * GIB)
    assert get_cgroup_room(own, root) == 0


def test_a_path_of_the_host_that_is_not_there_leaves_the_root(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("0::/kubepods/pod7/x\n")
    group(tmp_path / "root", str(2 * GIB), GIB)
    assert get_cgroup_room(tmp_path / "own", tmp_path / "root") == GIB


def test_version_1_and_no_limit_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "root" / "memory" / "pod"
    folder.mkdir(parents=True)
    (tmp_path / "own").write_text("9:name=systemd:/\n4:memory:/pod\n0::/\n")
    (folder / "memory.usage_in_bytes").write_text(str(GIB))
    (folder / "memory.stat").write_text(f"total_inactive_file {GIB // 2}\n")
    (folder / "memory.limit_in_bytes").write_text(str(2 * GIB))
    assert get_cgroup_room(tmp_path / "own", tmp_path / "root") == 3 * GIB // 2
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert get_cgroup_room(tmp_path / "own", tmp_path / "root") is None
    assert get_cgroup_room(tmp_path / "absent", tmp_path / "root") is None


def test_little_memory_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = check_memory()
    assert "free" in finding.found
    monkeypatch.setattr(machine, "get_cgroup_room", lambda: GIB // 4)
    (finding,) = check_memory()
    assert finding.ok is False
    assert "of which the cgroup's limit leaves 256 MiB" in finding.found
    assert finding.advice is not None


def test_sizes_read_as_people_say_them() -> None:
    counts = (0, 1023, 1024, 10 * GIB, 3 * GIB // 2, 1 << 50)
    assert [format_bytes(count) for count in counts] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "10 GiB",
        "1.5 GiB",
        "1024 TiB",
    ]


def by_check(out: Path) -> dict[str, Finding]:
    findings = {finding.check: finding for finding in check_disk(out)}
    assert all(finding.advice for finding in findings.values() if finding.ok is False)
    return findings


def test_a_usual_folder_is_fine_and_nothing_stays_in_it(tmp_path: Path) -> None:
    assert {name: finding.ok for name, finding in by_check(tmp_path).items()} == {
        "disk": True,
        "files": True,
        "locks": True,
    }
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_tried_where_it_will_lie(tmp_path: Path) -> None:
    found = by_check(tmp_path / "new" / "er")
    assert found["disk"].found.startswith(f"{tmp_path}: ")
    assert found["files"].ok
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert by_check(tmp_path / "file")["disk"].found == f"{tmp_path / 'file'}: a file"


@pytest.mark.parametrize("call", ["mkdir", "write", "fsync", "replace"])
def test_a_disk_that_refuses_any_step_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        patched.setattr(Path, "replace", refuse) if call == "replace" else None
        found = by_check(tmp_path)
    assert (found["files"].ok, found["files"].found) == (False, f"{tmp_path}: Read-only file system")
    assert "locks" not in found
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_MIN_DISK", 1 << 62)
    assert by_check(tmp_path)["disk"].ok is False


def test_a_lock_that_is_refused_or_only_pretended_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    refused = check_lock(tmp_path / "file")
    assert (refused.ok, refused.found) == (False, "files cannot be locked: No locks available")
    monkeypatch.setattr(fcntl, "flock", lambda *arguments: None)
    pretended = check_lock(tmp_path / "file")
    assert (pretended.ok, pretended.found) == (False, "a lock does not keep a second process out")
