"""Recordings of other speech, some of them hours long: which part of which file trains, calibrates and tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from .audio import read_clip, seconds_of
from .cache import SPLITS
from .splits import hash_split
from .streams import Sound

SHARES = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
FEW_FILES = 30
"""Below so many, one file more or less would make a stream: each is cut in three."""
READ_AT_ONCE_SECONDS = 60.0
PIECE_SECONDS = (3.0, 9.0)
"""A long recording is cut up, at its quietest place after the first of these and before the second."""
_QUIET_SECONDS = 0.05


@dataclass(frozen=True)
class Part:
    """A recording from one share of its length to another."""

    path: Path
    start: float = 0.0
    end: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def seconds(self) -> float:
        return seconds_of(self.path) * (self.end - self.start)

    def stretches(self) -> list[Part]:
        """What of it is read at once: as long as the whole or a minute at most."""
        count = max(1, int(np.ceil(self.seconds / READ_AT_ONCE_SECONDS)))
        edges = np.linspace(self.start, self.end, count + 1).tolist()
        return [Part(self.path, start, end) for start, end in pairwise(edges)]

    def pieces(self, sample_rate_hz: int) -> Iterator[Sound]:
        """What it holds, cut up; raises :class:`UnreadableAudio` where that cannot be read."""
        waveform = read_clip(self.path, sample_rate_hz, self.start, self.end)
        begins = self.start * seconds_of(self.path)
        place = 0
        for piece in cut_at_pauses(waveform, sample_rate_hz):
            yield Sound(piece, self.name, begins + place / sample_rate_hz)
            place += len(piece)


def split_recordings(paths: Sequence[Path]) -> Mapping[str, Sequence[Part]]:
    """Many files are assigned whole, by a hash of their names; each of a few gives a part to every split."""
    if len(paths) < FEW_FILES:
        return {split: [Part(path, *SHARES[split]) for path in paths] for split in SPLITS}
    percent = 100 * (SHARES["test"][1] - SHARES["test"][0])
    chosen = {path: hash_split(f"{path.parent.name}/{path.name}", percent, percent) for path in paths}
    return {split: [Part(path) for path in paths if chosen[path] == split] for split in SPLITS}


def named_after(word: str, paths: Sequence[Path], folder: Path) -> list[Path]:
    """Those of ``paths`` below ``folder`` that are called so, by a folder or by the file, a number at its end aside."""

    def names(path: Path) -> set[str]:
        inside = path.relative_to(folder)
        stem = re.sub(r"[ _-]?\d+$", "", path.stem)
        return {part.casefold() for part in (*inside.parts[:-1], path.stem, stem)}

    return [path for path in paths if word.casefold() in names(path)]


def cut_at_pauses(waveform: np.ndarray, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """A recording (samples,) in pieces of a few seconds, each of which ends where it is quietest."""
    shortest, longest = (round(seconds * sample_rate_hz) for seconds in PIECE_SECONDS)
    frame = round(_QUIET_SECONDS * sample_rate_hz)
    while len(waveform) > longest:
        candidates = waveform[shortest : longest - longest % frame]
        candidates = candidates[: len(candidates) // frame * frame].reshape(-1, frame)
        quietest = int(np.square(candidates, dtype=np.float64).sum(axis=1).argmin())
        end = shortest + quietest * frame + frame // 2
        yield waveform[:end]
        waveform = waveform[end:]
    yield waveform
