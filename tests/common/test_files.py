"""A file or folder appears whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_snow.common.files import atomic_file, atomic_folder


def test_a_file_appears_only_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    with pytest.raises(RuntimeError), atomic_file(target) as file:
        file.write("half")
        raise RuntimeError
    assert list(target.parent.iterdir()) == []
    with atomic_file(target) as file:
        file.write("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["file.txt"]


def test_a_folder_replaces_the_old_one_or_leaves_it(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(target) as folder:
        (folder / "new").write_text("2")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["old"]
    with atomic_folder(target) as folder:
        (folder / "new").write_text("2")
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom megatron_snow.common.files import atomic_file\n"
        "with atomic_file(Path(sys.argv[1])) as file:\n    file.write('new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run([sys.executable, "-c", code, os.fspath(target)], check=False)
    assert result.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
