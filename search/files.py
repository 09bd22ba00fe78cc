"""Where a study's files lie, and how they are written so that none is ever half there."""

from __future__ import annotations

import errno
import io
import os
import tempfile
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
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise UserError(
                f"{path.parent}: no space left on the disk; free some and run the same command again"
            ) from error
        raise
