"""Made data is kept: a dataset in one .npz file, named by a digest of all that it was made from."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np

from ...spaces.errors import UserError
from .dataset import Dataset, SoundStream, Source, Split, User

# Raise it whenever the same settings come to mean other bytes.
FORMAT_VERSION = 1
SPLITS = ("train", "validation", "test")


def default_folder() -> Path:
    """``$REPARETO_CACHE``, else ``~/.cache/repareto``."""
    return Path(os.environ.get("REPARETO_CACHE") or "~/.cache/repareto").expanduser()


def load_or_make(name: str, key: Mapping[str, Any], make: Callable[[], Dataset], folder: Path | None) -> Dataset:
    """The dataset that ``key`` (JSON types) stands for: from ``folder`` (None: the default), else made and kept there.

    A damaged file is made again. Raises :class:`UserError` where the folder cannot be written.
    """
    path = (Path(folder).expanduser() if folder else default_folder()) / f"{name}-{_digest(key)}.npz"
    cached = _read(path)
    if cached is not None:
        return cached
    _make_folder(path.parent)  # before the work, not after
    dataset = make()
    _write(path, dataset)
    return dataset


def _digest(key: Mapping[str, Any]) -> str:
    canonical = json.dumps({"format": FORMAT_VERSION, **key}, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:20]


def _read(path: Path) -> Dataset | None:
    try:
        # Opened here, because np.load leaves its own file open where the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            splits = {
                split: Split(arrays[f"{split}_features"], arrays[f"{split}_labels"], arrays.get(f"{split}_frames"))
                for split in SPLITS
            }
            noise = arrays.get("noise")
            users = tuple(_user(place, name, arrays) for place, name in enumerate(facts.get("users", ())))
            streams = {
                split: SoundStream(arrays[f"{split}_stream"], arrays[f"{split}_words"], _sources(sources))
                for split, sources in facts.get("streams", {}).items()
            }
        return Dataset(
            name=facts["name"],
            labels=tuple(facts["labels"]),
            front_end=facts["front_end"],
            notes=tuple(facts["notes"]),
            noise=noise,
            streams=streams,
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            users=users,
        )
    # What a missing, cut, overwritten or foreign file can raise; zip members carry a checksum, so damage shows.
    except (OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError):
        return None
    except (zipfile.BadZipFile, zlib.error):
        return None


def _user(place: int, name: str, arrays: Mapping[str, Any]) -> User:
    own, test = (
        Split(arrays[f"user{place}_{part}_features"], arrays[f"user{place}_{part}_labels"]) for part in ("own", "test")
    )
    return User(name, own, test)


def _sources(rows: Any) -> tuple[Source, ...]:
    return tuple(Source(float(start), str(name), float(offset)) for start, name, offset in rows)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _write(path: Path, dataset: Dataset) -> None:
    """Write beside ``path`` and rename, so that no reader ever sees half a file."""
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            _save(file, dataset)
        temporary.replace(path)
    except OSError as error:
        raise _cannot_write(path.parent, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _save(file: IO[bytes], dataset: Dataset) -> None:
    facts = {
        "name": dataset.name,
        "labels": dataset.labels,
        "front_end": dataset.front_end,
        "notes": dataset.notes,
    }
    if dataset.streams:
        facts["streams"] = {split: stream.sources for split, stream in dataset.streams.items()}
    if dataset.users:
        facts["users"] = [user.name for user in dataset.users]
    arrays = {"facts": np.array(json.dumps(facts))}
    for split in SPLITS:
        held: Split = getattr(dataset, split)
        arrays[f"{split}_features"], arrays[f"{split}_labels"] = held.features, held.labels
        if held.frames is not None:
            arrays[f"{split}_frames"] = held.frames
    if dataset.noise is not None:
        arrays["noise"] = dataset.noise
    for place, user in enumerate(dataset.users):
        for part, of_user in (("own", user.own), ("test", user.test)):
            arrays[f"user{place}_{part}_features"] = of_user.features
            arrays[f"user{place}_{part}_labels"] = of_user.labels
    for split, stream in dataset.streams.items():
        arrays[f"{split}_stream"], arrays[f"{split}_words"] = stream.features, stream.words
    np.savez(file, **arrays)  # type: ignore[arg-type]


def _cannot_write(folder: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"cache folder {folder}: the disk is full; make room or set REPARETO_CACHE to another folder")
    return UserError(
        f"cache folder {folder}: cannot be written ({error.strerror or error}); set REPARETO_CACHE to a folder that can"
    )
