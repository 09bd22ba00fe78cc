"""Recordings of single words joined into strings: real speech where no corpus of strings is at hand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ....spaces.errors import UserError, nearest_hint
from ...tokens import Tokens
from ..audio import UnreadableAudio, read_clip
from ..cache import SPLITS
from ..dataset import Dataset
from ..listing import list_recordings
from ..recordings import note_unreadable
from ..splits import assign_splits
from .strings import Chunk, Strings, checked_vocabulary

UTTERANCES_A_CHUNK = 400
PAUSE_SECONDS = (0.02, 0.2)
"""Range of the silence between two words."""
_SILENCE_SHARE = 0.02
"""Of a clip's peak: what is quieter before the first and behind the last loud sample is cut off."""


@dataclass(frozen=True, kw_only=True)
class JoinedRecordings(Strings):
    """Strings of words that one speaker of a folder in the layout of Speech Commands said, each alone."""

    source: ClassVar[str] = "joined_recordings"

    folder: Path
    """Where the words' folders are. Speakers are told by file names such as ``anna_nohash_3.wav``; others are one."""
    words: tuple[str, ...] | None = None
    """The vocabulary; None: each folder that holds recordings."""
    validation_percent: float = 10.0
    """Share of speakers (or files) that validate, where the folder has no validation_list.txt."""
    test_percent: float = 10.0
    """Share of speakers (or files) that test, where the folder has no testing_list.txt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "folder", Path(self.folder).expanduser())
        if self.words is not None:
            object.__setattr__(self, "words", checked_vocabulary(self.source, self.words))
        if not (self.validation_percent > 0 and self.test_percent > 0):
            raise UserError(f"{self.source} validation_percent, test_percent: both must be positive")
        if self.validation_percent + self.test_percent >= 100:
            raise UserError(f"{self.source} validation_percent + test_percent: nothing is left to train on")

    def load(self, *, seed: int) -> Dataset:
        """The folder's dataset, kept in the cache until a file changes; ``seed`` draws the strings.

        Raises :class:`UserError` for a folder that is missing, a word without recordings and a split without any.
        """
        listing = list_recordings(self.folder, self.source)
        words = self.words or checked_vocabulary(self.source, sorted(listing.clips))
        for word in words:
            if word not in listing.clips:
                hint = nearest_hint(word, sorted(listing.clips))
                raise UserError(f"{self.source} words {word!r}: no recordings in {self.folder / word}; {hint}")
        percent = [float(self.validation_percent), float(self.test_percent)]
        return self._load(words, {"percent": percent, "files": listing.fingerprint()}, seed=seed)

    def _chunks(self, words: Sequence[str], rng: np.random.Generator, notes: list[str]) -> Iterator[Chunk]:
        listing = list_recordings(self.folder, self.source)
        splits, split_notes = assign_splits(listing, self.validation_percent, self.test_percent)
        notes += split_notes
        clips, unreadable = self._read([path for word in words for path in listing.clips[word]])
        notes += note_unreadable(unreadable, len(clips) + len(unreadable))
        for split in SPLITS:
            speakers = _by_speaker({path: clip for path, clip in clips.items() if splits[path] == split}, words)
            if not speakers:
                raise UserError(
                    f"{self.source} folder {self.folder}: no speaker of the {split} split has a recording of each word"
                )
            strings = self.strings(words, self.counts()[split], rng)
            for start in range(0, len(strings), UTTERANCES_A_CHUNK):
                part = strings[start : start + UTTERANCES_A_CHUNK]
                yield Chunk(split, part, [self._joined(tokens, speakers, rng) for tokens in part])

    def _read(self, paths: Sequence[Path]) -> tuple[dict[Path, np.ndarray], list[tuple[Path, str]]]:
        """The trimmed waveforms of those files that can be read, and why the others cannot."""
        clips: dict[Path, np.ndarray] = {}
        unreadable: list[tuple[Path, str]] = []
        for path in paths:
            try:
                clips[path] = _trimmed(read_clip(path, self.log_mel.sample_rate_hz))
            except UnreadableAudio as error:
                unreadable.append((path, str(error)))
        return clips, unreadable

    def _joined(
        self, tokens: Tokens, speakers: Sequence[Sequence[Sequence[np.ndarray]]], rng: np.random.Generator
    ) -> np.ndarray:
        speaker = speakers[int(rng.integers(len(speakers)))]
        pieces: list[np.ndarray] = []
        for token in tokens:
            clips = speaker[token - 1]
            if pieces:
                pause = round(rng.uniform(*PAUSE_SECONDS) * self.log_mel.sample_rate_hz)
                pieces.append(np.zeros(pause, np.float32))
            pieces.append(clips[int(rng.integers(len(clips)))])
        return np.concatenate(pieces)


def _by_speaker(clips: Mapping[Path, np.ndarray], words: Sequence[str]) -> list[list[list[np.ndarray]]]:
    """The clips of each word, by speaker, of those who said all words."""
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for path, clip in clips.items():
        named = re.match(r"(.*)_nohash_", path.name)
        found.setdefault(named[1] if named else "", {}).setdefault(path.parent.name, []).append(clip)
    return [[said[word] for word in words] for said in found.values() if len(said) == len(words)]


def _trimmed(clip: np.ndarray) -> np.ndarray:
    loudness = np.abs(clip)
    loud = np.flatnonzero(loudness >= _SILENCE_SHARE * loudness.max())
    return clip[loud[0] : loud[-1] + 1].astype(np.float32)
