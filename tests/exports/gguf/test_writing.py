"""A GGUF file is whole or absent: on a full disk, and where its writer is killed."""

import os
import signal
from pathlib import Path

import pytest
import torch

from stages.export import Export
from stages.exports.gguf import writing
from stages.exports.gguf.writing import GgufTensor, write_gguf
from tests.conftest import files_of_at_most


def write(out: Path, count: int = 4) -> None:
    tensors = [GgufTensor(f"t{number}", (64, 64), lambda: torch.ones(64, 64)) for number in range(count)]
    write_gguf(out, "llama", lambda writer: writer.add_name("x"), tensors)


def test_a_full_disk_leaves_nothing_and_no_file_that_was_there_is_touched(tmp_path: Path) -> None:
    out = tmp_path / "x.gguf"
    with files_of_at_most(20_000), pytest.raises(OSError):
        write(out)
    assert list(tmp_path.iterdir()) == []
    write(out, 1)
    before = out.read_bytes()
    with files_of_at_most(20_000), pytest.raises(OSError):
        write(out)
    assert [path.name for path in tmp_path.iterdir()] == ["x.gguf"] and out.read_bytes() == before


def test_what_a_killed_export_left_goes_and_the_same_command_gives_the_same_bytes(
    loras: dict[str, Path], tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole.gguf", tmp_path / "killed.gguf"
    Export(to="gguf", out=whole, name="x").run(loras["qwen2"])
    child = os.fork()
    if child == 0:
        encode, written = writing._encode, []

        def die(weight: torch.Tensor, kind: writing.Numbers) -> object:
            written.append(kind)
            if len(written) == 9:
                os.kill(os.getpid(), signal.SIGKILL)
            return encode(weight, kind)

        writing._encode = die
        Export(to="gguf", out=out, name="x").run(loras["qwen2"])
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not out.exists() and any(path.name.startswith("killed.gguf.") for path in tmp_path.iterdir())
    Export(to="gguf", out=out, name="x").run(loras["qwen2"])
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.gguf", "whole.gguf"]
