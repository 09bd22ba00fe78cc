"""Where a study's files lie, and how they are written so that none is ever half there.

A store is a folder of this machine, one on a file system that all nodes share, or a bucket. Tensors are sealed with a
checksum.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ..spaces.errors import UserError, first_line
from .addresses import is_url
from .patience import AwayError, patiently

WEIGHTS = "fused.pt"
"""The state dict of a finished trial's fused model."""
MEASUREMENT = "measurement.json"
"""What a worker found at a trial's end, for a driver that did not hear of it."""
PATIENCE_SECONDS = 120.0
# What a file system on another machine says while that machine or the network is away.
PASSING_ERRORS = {errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOTCONN, errno.EHOSTDOWN, errno.EBUSY}
SEAL = b"repareto sha256 "

T = TypeVar("T")


class BrokenFileError(Exception):
    """A file is not as it was written."""


@dataclass(frozen=True)
class Files:
    """A folder in a store, wherever that is. Small enough to be sent to workers."""

    store: str
    """A folder, or a URL that pyarrow knows, such as ``s3://bucket/prefix``."""
    path: PurePosixPath = PurePosixPath()

    def inside(self, *names: str) -> Files:
        return Files(self.store, self.path.joinpath(*names))

    def place(self, name: str) -> str:
        """Return where a file is, for people."""
        return f"{self.store.rstrip('/')}/{self.path / name}"

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None where there is none."""
        return self._patiently(name, _read_local, _read_remote)

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole or not at all; raises :class:`UserError` where the store is full or cannot be reached."""
        self._patiently(
            name,
            lambda path: write_atomically(path, content),
            lambda system, path: _write_remote(system, path, content),
        )

    def delete(self, *names: str) -> None:
        """Delete files where they are there."""
        for name in names:
            self._patiently(name, lambda path: path.unlink(missing_ok=True), _delete_remote)

    def _patiently(self, name: str, locally: Callable[[Path], T], remotely: Callable[[Any, str], T]) -> T:
        """Act on a file, again where the store does not answer: a bucket, or a folder that machines share."""

        def attempt() -> T:
            try:
                if not is_url(self.store):
                    return locally(Path(self.store) / self.path / name)
                system, root = _remote(self.store)
                return remotely(system, f"{root}/{self.path / name}")
            except OSError as error:
                reason = error.strerror or first_line(error)
                if is_url(self.store) or error.errno in PASSING_ERRORS:
                    raise AwayError(reason) from error
                raise UserError(
                    f"{self.place(name)}: cannot be used ({reason}); mend that, or move the store"
                ) from error

        return patiently(attempt, where=f"store {self.store}", patience_seconds=PATIENCE_SECONDS)


def study_folder(store: str, study: str) -> Files:
    return Files(store, PurePosixPath("studies") / study)


def trial_folder(study: Files, number: int) -> Files:
    return study.inside("trials", f"{number:05d}")


def model_folder(trial: Files, network: int | None) -> Files:
    """Return where a trial's model lies; each of several networks of one training has a folder of its own."""
    return trial if network is None else trial.inside(f"network{network}")


def refuse_unknown_store(store: str) -> None:
    """Raise :class:`UserError` for a URL of a kind that pyarrow does not know, or a bucket that nobody has heard of."""
    if is_url(store):
        try:
            _remote(store)
        except OSError as error:
            raise UserError(f"store {store}: cannot be reached ({first_line(error)})") from error


@lru_cache
def _remote(store: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a URL, and the path in it."""
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem

    # A file of some kilobytes is one request then, and not three.
    once = f"{'&' if '?' in store else '?'}allow_delayed_open=true" if store.startswith("s3:") else ""
    try:
        system, root = FileSystem.from_uri(store + once)
    except (ArrowException, ValueError) as error:
        message = first_line(error)
        raise UserError(f"store {store}: {message} (a store is a folder, or such as s3://bucket/prefix)") from error
    if not root.strip("/"):
        raise UserError(
            f"store {store}: names no bucket or folder (a store is a folder, or such as s3://bucket/prefix)"
        )
    return system, root.rstrip("/")


def _read_local(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _read_remote(system: Any, path: str) -> bytes | None:
    try:
        with system.open_input_stream(path) as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def _write_remote(system: Any, path: str, content: bytes) -> None:
    # A bucket shows an object when it is whole; a file system gets it by renaming.
    if system.type_name in ("s3", "gcs", "abfs"):
        with system.open_output_stream(path) as stream:
            stream.write(content)
        return
    system.create_dir(path.rpartition("/")[0], recursive=True)
    with system.open_output_stream(f"{path}.partial") as stream:
        stream.write(content)
    system.move(f"{path}.partial", path)


def _delete_remote(system: Any, path: str) -> None:
    try:
        system.delete_file(path)
    except FileNotFoundError:
        return


def write_atomically(path: Path, content: bytes) -> None:
    """Write a local file so that readers see the old one or the new one.

    Raises :class:`UserError` where the disk is full.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            # A machine that loses its power would else leave a name without content.
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{path.parent}: no space left on the disk; free some and run the same command again"
            ) from error
        raise


def seal(state: dict[str, Any]) -> bytes:
    """Return a dict of tensors and plain values as bytes that tell when they are cut short or changed."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    return SEAL + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def unseal(sealed: bytes) -> dict[str, Any]:
    """Return what :func:`seal` was given; raises :class:`BrokenFileError`."""
    import torch

    head, newline, content = sealed.partition(b"\n")
    if not newline or head != SEAL + hashlib.sha256(content).hexdigest().encode():
        raise BrokenFileError("its checksum is wrong")
    return torch.load(io.BytesIO(content), weights_only=True)
