"""Where a study's files lie, and how they are written so that none is ever half there."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..spaces.errors import UserError

CHECKPOINT = "checkpoint.pt"
"""What a trial that is still training needs to go on."""
WEIGHTS = "fused.pt"
"""The state dict of a finished trial's fused model."""


def study_folder(store: Path, study: str) -> Path:
    return store / "studies" / study


def trial_folder(study: Path, number: int) -> Path:
    return study / "trials" / f"{number:05d}"


@contextmanager
def only_driver(study: Path) -> Iterator[None]:
    """Hold the study's folder: two drivers would train the same trials.

    The lock goes with its process, however that ends. Raises :class:`UserError` that names the other driver.
    """
    try:
        study.mkdir(parents=True, exist_ok=True)
        lock = (study / "driver.lock").open("a+")
    except OSError as error:
        raise UserError(f"{study}: cannot be written ({error.strerror}); name another store") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise UserError(
                f"study {study.name} is being searched already, by process {lock.read().strip()}; wait or stop it"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def write_atomically(path: Path, content: bytes | dict[str, Any]) -> None:
    """Write bytes, or a dict of tensors as torch saves it, so that readers see the old file or the new one.

    Raises :class:`UserError` where the disk is full.
    """
    if not isinstance(content, bytes):
        import torch

        buffer = io.BytesIO()
        torch.save(content, buffer)
        content = buffer.getvalue()
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"{path.parent}: no space left on the disk; free some and run the same command again"
            ) from error
        raise
