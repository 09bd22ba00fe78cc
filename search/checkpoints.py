"""The checkpoints of one trial: the last two epochs, sealed, so that one that was cut short costs one epoch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .files import BrokenFileError, Files, seal, unseal

# An epoch is written over the one before the last: a name is never without a whole file for long, and a bucket, which
# cannot rename, serves as well as a file system.
SLOTS = ("checkpoint-0.pt", "checkpoint-1.pt")


class Checkpoints:
    """What a trial needs to go on from its last epoch."""

    def __init__(self, folder: Files, identity: str) -> None:
        """``identity`` is what a checkpoint must be of; one of another study or candidate is left alone."""
        self._folder, self._identity = folder, identity

    def save(self, epoch: int, state: dict[str, Any]) -> None:
        """Keep the state after an epoch; raises :class:`UserError` where the store is full."""
        content = seal({"identity": self._identity, "epoch": epoch, "state": state})
        self._folder.write(SLOTS[epoch % len(SLOTS)], content)

    def newest(self, warn: Callable[[str], None]) -> dict[str, Any] | None:
        """Return the state after the last epoch whose checkpoint is whole, None where there is none."""
        found: dict[int, dict[str, Any]] = {}
        for slot in SLOTS:
            content = self._folder.read(slot)
            if content is None:
                continue
            try:
                checkpoint = unseal(content)
            except BrokenFileError as error:
                warn(f"{self._folder.place(slot)}: {error}; the epoch before is used")
                continue
            if checkpoint["identity"] == self._identity:
                found[checkpoint["epoch"]] = checkpoint["state"]
        return found[max(found)] if found else None


def delete_checkpoints(folder: Files) -> None:
    """Delete a trial's checkpoints, when its end is in the ledger."""
    folder.delete(*SLOTS)
