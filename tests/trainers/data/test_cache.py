"""The cache of made datasets: same bytes back, damage made good, a full disk told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import cache
from repareto.trainers.data.dataset import Dataset, Split

KEY = {"source": "test", "bands": [1, 2]}


def dataset(noise: bool = True) -> Dataset:
    rng = np.random.default_rng(0)

    def split(count: int) -> Split:
        return Split(rng.standard_normal((count, 30, 40)).astype(np.float16), np.arange(count) % 2)

    return Dataset(
        "test",
        ("a", "ü"),
        split(6),
        split(2),
        split(4),
        {"kind": "log_mel", "mean": 0.1},
        split(3).features if noise else None,
        ("a note",),
    )


class Making:
    """Makes a dataset and counts how often."""

    def __init__(self, noise: bool = True) -> None:
        self.times = 0
        self.noise = noise

    def __call__(self) -> Dataset:
        self.times += 1
        return dataset(self.noise)


def assert_same(one: Dataset, other: Dataset) -> None:
    for split in cache.SPLITS:
        for part in ("features", "labels"):
            mine, theirs = getattr(getattr(one, split), part), getattr(getattr(other, split), part)
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(one.noise, other.noise)  # type: ignore[arg-type]
    assert (one.name, one.labels, one.front_end, one.notes) == (other.name, other.labels, other.front_end, other.notes)


@pytest.mark.parametrize("noise", [True, False])
def test_what_was_made_once_is_loaded_after(tmp_path: Path, noise: bool) -> None:
    making = Making(noise)
    made = cache.load_or_make("test", KEY, making, tmp_path / "new" / "folder")
    loaded = cache.load_or_make("test", dict(reversed(KEY.items())), making, tmp_path / "new" / "folder")
    assert making.times == 1
    assert_same(made, loaded)


def test_another_key_is_another_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    making = Making()
    cache.load_or_make("test", KEY, making, tmp_path)
    cache.load_or_make("test", {**KEY, "seed": 1}, making, tmp_path)
    monkeypatch.setattr(cache, "FORMAT_VERSION", cache.FORMAT_VERSION + 1)
    cache.load_or_make("test", KEY, making, tmp_path)
    assert making.times == 3


def cut(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def one_byte_flipped(whole: bytes) -> bytes:
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]


def replaced_by(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


@pytest.mark.parametrize(
    "damage", [cut, one_byte_flipped, replaced_by(b""), replaced_by(b"PK not a zip"), replaced_by(b"\x80")]
)
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    making = Making()
    made = cache.load_or_make("test", KEY, making, tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert_same(cache.load_or_make("test", KEY, making, tmp_path), made)
    assert making.times == 2
    cache.load_or_make("test", KEY, making, tmp_path)
    assert making.times == 2


def test_a_full_disk_is_told_with_the_folder_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(file: IO[bytes], _: Dataset) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache, "_save", fill)
    with pytest.raises(UserError, match=f"{tmp_path}: the disk is full"):
        cache.load_or_make("test", KEY, Making(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    making = Making()
    with pytest.raises(UserError, match="cannot be written"):
        cache.load_or_make("test", KEY, making, tmp_path / "file" / "folder")
    assert making.times == 0


def test_the_default_folder_follows_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))
    cache.load_or_make("test", KEY, Making(), None)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setenv("REPARETO_CACHE", "")
    assert cache.default_folder() == Path.home() / ".cache" / "repareto"
