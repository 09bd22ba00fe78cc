"""Recordings of other speech, some of them hours long: which part of which file trains, calibrates and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cache import SPLITS
from .splits import hash_split

SHARES = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
FEW_FILES = 30
"""Below so many, one file more or less would make a stream: each is cut in three."""


@dataclass(frozen=True)
class Part:
    """A recording from one share of its length to another."""

    path: Path
    start: float = 0.0
    end: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}" + (f" (from {self.start:.0%} on)" if self.start else "")


def split_recordings(paths: Sequence[Path]) -> Mapping[str, Sequence[Part]]:
    """Many files are assigned whole, by a hash of their names; each of a few gives a part to every split."""
    if len(paths) < FEW_FILES:
        return {split: [Part(path, *SHARES[split]) for path in paths] for split in SPLITS}
    percent = 100 * (SHARES["test"][1] - SHARES["test"][0])
    chosen = {path: hash_split(f"{path.parent.name}/{path.name}", percent, percent) for path in paths}
    return {split: [Part(path) for path in paths if chosen[path] == split] for split in SPLITS}
