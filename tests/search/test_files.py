"""Files are there whole or not at all."""

import errno
import os
import pickle
import tempfile
from pathlib import Path

import pytest
import torch

from repareto.search.files import (
    BrokenFileError,
    Files,
    refuse_unknown_store,
    seal,
    study_folder,
    trial_folder,
    unseal,
    write_atomically,
)
from repareto.spaces.errors import UserError


def test_where_things_lie() -> None:
    folder = study_folder("runs", "keywords")
    assert folder.place("notes") == "runs/studies/keywords/notes"
    assert trial_folder(folder, 7).place("fused.pt") == "runs/studies/keywords/trials/00007/fused.pt"
    assert trial_folder(study_folder("s3://bucket/a/", "k"), 123456).place("x") == (
        "s3://bucket/a/studies/k/trials/123456/x"
    )


def test_bytes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    write_atomically(path, b"")
    assert path.read_bytes() == b""
    assert [p.name for p in path.parent.iterdir()] == ["file"]


# A file:// URL goes the way of all file systems that pyarrow knows and that can rename.
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_files_of_a_store(tmp_path: Path, scheme: str) -> None:
    folder = pickle.loads(pickle.dumps(study_folder(f"{scheme}{tmp_path}", "k").inside("a", "b")))
    assert folder.read("x") is None
    folder.write("x", b"1")
    folder.write("x", b"22")
    folder.write("y", b"3")
    assert (folder.read("x"), folder.read("y")) == (b"22", b"3")
    assert sorted(p.name for p in (tmp_path / "studies" / "k" / "a" / "b").iterdir()) == ["x", "y"]
    folder.delete("x", "never there")
    assert (folder.read("x"), folder.read("y")) == (None, b"3")


@pytest.mark.parametrize("store", ["ftp://host/x", "s4://bucket", "s3://"])
def test_a_store_of_an_unknown_kind(store: str) -> None:
    with pytest.raises(UserError, match=f"store {store}: .*a store is a folder, or such as s3://bucket/prefix"):
        refuse_unknown_store(store)


def test_a_store_that_does_not_answer_is_waited_for_and_then_told(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("repareto.search.files.PATIENCE_SECONDS", 0.05)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"store file://.*: has not answered for 0 s .*nothing is lost"):
        Files(f"file://{tmp_path}/file").write("x", b"1")
    assert "waiting for it" in caplog.text


def test_a_shared_folder_that_is_away_for_a_moment_is_waited_for(tmp_path: Path, monkeypatch, caplog) -> None:
    honest, calls = os.replace, 0

    def replace(*names: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError(errno.ESTALE, "Stale file handle")
        honest(*names)

    monkeypatch.setattr("repareto.search.files.os.replace", replace)
    Files(str(tmp_path)).write("x", b"1")
    assert Files(str(tmp_path)).read("x") == b"1"
    assert "Stale file handle" in caplog.text and "answers again" in caplog.text


def test_a_folder_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"file/x: cannot be used \(.*; mend that, or move the store"):
        Files(str(tmp_path / "file")).write("x", b"1")


def test_sealed_tensors_come_back() -> None:
    state = unseal(seal({"weight": torch.arange(3), "epoch": 4}))
    assert state["epoch"] == 4 and state["weight"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kept", [slice(0), slice(40), slice(0, -1), slice(1, None)])
def test_a_seal_tells_of_harm(kept: slice) -> None:
    with pytest.raises(BrokenFileError):
        unseal(seal({"weight": torch.arange(3)})[kept])


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


def test_what_cannot_be_sealed() -> None:
    with pytest.raises(Exception, match="pickle"):
        seal({"function": lambda: None})


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
