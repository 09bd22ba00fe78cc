"""Strings of words at random places of a window, amid noise: what sources of strings share.

Shape legend: n utterances, s samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ....spaces.errors import UserError
from ...features import LogMel
from ...tokens import BLANK_LABEL, Tokens, TranscriptionTask, padded
from .. import noise
from ..assemble import clip_samples, log_mel_dataset
from ..cache import SPLITS, load_or_make
from ..dataset import Dataset, Split
from ..labels import as_words
from ..voices import HELD_OUT_SHARES

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
FEWEST_UTTERANCES = 20
NOISES_IN_BANK = 192


@dataclass(frozen=True)
class Chunk:
    """Some utterances of one split: their tokens, and their waveforms (s,), float32, full scale 1, of any length."""

    split: str
    tokens: Sequence[Tokens]
    waveforms: Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Strings(ABC):
    """Strings of several words amid white noise, pink noise and babble; a subclass says who speaks them."""

    source: ClassVar[str]

    utterances: int = 6_000
    """Of all splits together."""
    fewest_words: int = 2
    most_words: int = 5
    snr_db: tuple[float, float] = (0.0, 20.0)
    """Range of the ratio of speech to noise, in mean power over the window."""
    window_seconds: float = 2.4
    """What the network hears at once; a string that is longer is left out."""
    log_mel: LogMel = field(default_factory=LogMel)
    """Front end."""
    cache: Path | None = None
    """Folder where the features are kept; None: $REPARETO_CACHE, else ~/.cache/repareto."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "snr_db", tuple(self.snr_db))
        if self.utterances < FEWEST_UTTERANCES:
            raise UserError(f"{self.source} utterances {self.utterances}: must be {FEWEST_UTTERANCES} or more")
        if not 1 <= self.fewest_words <= self.most_words:
            raise UserError(
                f"{self.source} fewest_words {self.fewest_words}, most_words {self.most_words}: must rise from 1"
            )
        low, high = self.snr_db
        if not low <= high:
            raise UserError(f"{self.source} snr_db {low} to {high}: the range is reversed")
        clip_samples(self.source, self.window_seconds, self.log_mel)

    def _load(self, words: Sequence[str], own_key: Mapping[str, Any], *, seed: int) -> Dataset:
        key = {
            "source": self.source,
            "words": words,
            "utterances": self.utterances,
            "string": [self.fewest_words, self.most_words],
            "snr_db": [float(bound) for bound in self.snr_db],
            "window_seconds": float(self.window_seconds),
            "log_mel": self.log_mel.describe(),
            "seed": seed,
            **own_key,
        }
        made = load_or_make(self.source, key, lambda: self._make(words, seed), self.cache)
        return replace(made, transcription=TranscriptionTask("word"))

    @abstractmethod
    def _chunks(self, words: Sequence[str], rng: np.random.Generator, notes: list[str]) -> Iterator[Chunk]:
        """All chunks of train, then of the others; token i is ``words[i - 1]``. May add ``notes`` for the user."""

    def _make(self, words: Sequence[str], seed: int) -> Dataset:
        notes: list[str] = []
        mixing = _Mixing(self, np.random.default_rng([seed, 1]))
        for chunk in self._chunks(words, np.random.default_rng([seed, 0]), notes):
            mixing.add(chunk)
        if mixing.left_out:
            notes.append(
                f"{mixing.left_out:,} of {self.utterances:,} strings are longer than window_seconds "
                f"({self.window_seconds:g}) and were left out"
            )
        labels = (BLANK_LABEL, *words)
        bank = self.log_mel(mixing.noise(NOISES_IN_BANK))
        return log_mel_dataset(
            self.source, labels, mixing.splits(), bank, self.log_mel, self.window_seconds, notes
        )  # fmt: skip

    def strings(self, words: Sequence[str], count: int, rng: np.random.Generator) -> list[Tokens]:
        """Random strings of tokens, all lengths alike often."""
        lengths = rng.integers(self.fewest_words, self.most_words + 1, count)
        return [tuple(int(token) for token in rng.integers(1, len(words) + 1, length)) for length in lengths]

    def counts(self) -> dict[str, int]:
        """How many utterances each split has."""
        held_out = {split: round(share * self.utterances) for split, share in HELD_OUT_SHARES.items()}
        return {"train": self.utterances - sum(held_out.values()), **held_out}


class _Mixing:
    """Chunks on their way to features, one after the other; the first one's speech makes the babble, so it trains."""

    def __init__(self, settings: Strings, rng: np.random.Generator) -> None:
        self.left_out = 0
        self._settings, self._rng = settings, rng
        self._samples = clip_samples(settings.source, settings.window_seconds, settings.log_mel)
        self._talkers = np.zeros((0, self._samples), np.float32)
        self._features: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
        self._tokens: dict[str, list[Tokens]] = {split: [] for split in SPLITS}

    def add(self, chunk: Chunk) -> None:
        fits = [len(waveform) <= self._samples for waveform in chunk.waveforms]
        self.left_out += fits.count(False)
        speech = np.zeros((sum(fits), self._samples), np.float32)
        fitting = (waveform for waveform, does in zip(chunk.waveforms, fits, strict=True) if does)
        for row, waveform in zip(speech, fitting, strict=True):
            start = int(self._rng.integers(self._samples - len(waveform) + 1))
            row[start : start + len(waveform)] = waveform
        if not len(self._talkers):
            assert chunk.split == "train"
            self._talkers = speech
        snr_db = self._rng.uniform(*self._settings.snr_db, len(speech))
        mixed = noise.add_at_snr(speech, self.noise(len(speech)), snr_db)
        self._features[chunk.split].append(self._settings.log_mel(np.clip(mixed, -1.0, 1.0)))
        self._tokens[chunk.split] += [tokens for tokens, does in zip(chunk.tokens, fits, strict=True) if does]

    def noise(self, count: int) -> np.ndarray:
        return noise.generated_with_babble(count, self._samples, self._talkers, self._rng)

    def splits(self) -> dict[str, Split]:
        return {
            split: Split(np.concatenate(self._features[split]), padded(self._tokens[split])) for split in SPLITS
        }  # fmt: skip


def checked_vocabulary(source: str, words: Sequence[str]) -> tuple[str, ...]:
    """``words`` as a tuple; raises :class:`UserError` for fewer than two, one twice, and one of several words."""
    words = as_words(source, words)
    if len(words) < 2 or len(set(words)) < len(words):
        raise UserError(f"{source} words {', '.join(words)}: must be two or more, each once")
    for word in words:
        if word.split() != [word] or word == BLANK_LABEL:
            raise UserError(f"{source} words {word!r}: must be one word, without spaces")
    return words
