"""Files are there whole or not at all."""

import errno
import os
import tempfile
from pathlib import Path

import pytest
import torch

from repareto.search.files import study_folder, trial_folder, write_atomically
from repareto.spaces.errors import UserError


def test_where_things_lie() -> None:
    folder = study_folder(Path("runs"), "keywords")
    assert folder == Path("runs/studies/keywords")
    assert trial_folder(folder, 7) == Path("runs/studies/keywords/trials/00007")
    assert trial_folder(folder, 123456) == Path("runs/studies/keywords/trials/123456")


def test_bytes_and_tensors_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    write_atomically(path, b"")
    assert path.read_bytes() == b""
    write_atomically(path, {"weight": torch.arange(3), "epoch": 4})
    loaded = torch.load(path, weights_only=True)
    assert loaded["epoch"] == 4 and loaded["weight"].tolist() == [0, 1, 2]
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("function", ["os.replace", "os.fdopen"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(function, fail)
    with pytest.raises(type(error)):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_saved_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="pickle"):
        write_atomically(tmp_path / "file", {"function": lambda: None})
    assert list(tmp_path.iterdir()) == []


# A disk runs out of space when a byte is written, and of blocks for names when a file or a folder is made.
@pytest.mark.parametrize("where", [(os, "replace"), (os, "fdopen"), (tempfile, "mkstemp"), (Path, "mkdir")])
def test_a_full_disk_is_told_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*where, full)
        with pytest.raises(UserError, match="no space left on the disk; free some and run the same command again"):
            write_atomically(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's own error, on writing: the temporary file is replaced by the device that is always full."""

    def mkstemp(**_options: object) -> tuple[int, str]:
        return os.open("/dev/full", os.O_WRONLY), str(tmp_path / "temporary")

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    with pytest.raises(UserError, match="no space left"):
        write_atomically(tmp_path / "file", b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []
