"""What is heard in the streams of a wake word: recordings, or engines that speak, of the word and of all else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...spaces.errors import UserError
from . import espeak, hibari
from .audio import UnreadableAudio, read_clip
from .cache import SPLITS
from .dataset import SYNTHETIC_SPEECH
from .negatives import Part
from .other_speech import JUDGES, TRAINS, sentences
from .recordings import note_unreadable
from .spans import spoken_span
from .streams import Sound
from .synthetic import ENGINES, Engine, Utterance
from .voices import split_voices

SPOKEN_WORDS = {"train": 1050, "validation": 225, "test": 225}
"""Of a synthetic wake word."""
TRAIN_HOURS_SHARE = 2.0
"""Hours of synthetic speech that train, for each that calibrates and each that tests."""
_SILENT_LEVEL = 1e-4
_CHUNK = 100


@dataclass(frozen=True)
class Assigned:
    """The recordings of one split."""

    words: Sequence[Path] = ()
    """Of the wake word."""
    others: Sequence[Part] = ()
    """Of other speech."""


class WakeSounds:
    """The sounds of each split; all that is drawn follows from the seed. What cannot be read is left out and told."""

    def __init__(
        self,
        word: str,
        recordings: Mapping[str, Assigned],
        sample_rate_hz: int,
        *,
        speaks_word: bool,
        hours: float,
        test_engine: Engine,
        seed: int,
    ) -> None:
        self._word, self._recordings, self._rate_hz, self._seed = word, recordings, sample_rate_hz, seed
        self._speaks_word, self._hours, self._test_engine = speaks_word, hours, test_engine
        self._voices = split_voices(espeak.variants(), self._rng(0)) if speaks_word or hours else {}
        self._read: set[Path] = set()
        self._unreadable: list[tuple[Path, str]] = []

    def words(self, split: str) -> list[Sound]:
        """The wake word, each time it is said in the split. Raises :class:`UserError` where it is not at all."""
        said = list(self._spoken_words(split) if self._speaks_word else self._recorded_words(split))
        if not said:
            raise UserError(
                f"data.word {self._word!r}: no readable recording of it in the {split} split; "
                "add recordings or change the lists"
            )
        return said

    def others(self, split: str) -> Iterator[Sound]:
        """Other speech, in pieces of some seconds: recorded, then synthetic."""
        for part in self._recordings[split].others:
            yield from self._pieces(part)
        if self._synthetic_seconds(split):
            spoken = sentences(
                self._word, self._voices[split], self._synthetic_seconds(split), self._rate_hz,
                self._rng(2, split), self._engine(split), TRAINS if split == "train" else JUDGES,
            )  # fmt: skip
            yield from (Sound(sentence, SYNTHETIC_SPEECH) for sentence in spoken if len(sentence))

    def other_seconds(self, split: str) -> float:
        """How long other speech lasts, as its files say."""
        return sum(part.seconds for part in self._recordings[split].others) + self._synthetic_seconds(split)

    def notes(self) -> list[str]:
        """What could not be read, of what has been asked for."""
        return note_unreadable(self._unreadable, len(self._read))

    def _recorded_words(self, split: str) -> Iterator[Sound]:
        for path in self._recordings[split].words:
            self._read.add(path)
            try:
                waveform = _audible(read_clip(path, self._rate_hz))
            except UnreadableAudio as error:
                self._unreadable.append((path, str(error)))
                continue
            yield Sound(waveform, f"{path.parent.name}/{path.name}", word=spoken_span(waveform, self._rate_hz))

    def _spoken_words(self, split: str) -> Iterator[Sound]:
        rng = self._rng(1, split)
        drawn = [self._utterance(split, rng) for _ in range(SPOKEN_WORDS[split])]
        chunks = [drawn[start : start + _CHUNK] for start in range(0, len(drawn), _CHUNK)]
        for chunk in ENGINES[self._engine(split)].render(chunks, self._rate_hz):
            for spoken in chunk:
                if not spoken.any():
                    raise UserError(f"data.word {self._word!r}: the voice makes no sound of it; write it out")
                yield Sound(spoken / np.float32(32768), SYNTHETIC_SPEECH, word=(0, len(spoken)))

    def _pieces(self, part: Part) -> Iterator[Sound]:
        self._read.add(part.path)
        for stretch in part.stretches():
            try:
                pieces = list(stretch.pieces(self._rate_hz))
                _audible(np.concatenate([piece.waveform for piece in pieces]))
            except UnreadableAudio as error:
                self._unreadable.append((part.path, str(error)))
                continue
            yield from pieces

    def _synthetic_seconds(self, split: str) -> float:
        return 3600 * self._hours * (TRAIN_HOURS_SHARE if split == "train" else 1.0)

    def _engine(self, split: str) -> Engine:
        return self._test_engine if split == "test" else "espeak"

    def _utterance(self, split: str, rng: np.random.Generator) -> Utterance:
        if self._engine(split) == "hibari":
            return hibari.drawn_utterance(self._word, rng)
        return espeak.drawn_utterance(self._word, self._voices[split], rng)

    def _rng(self, purpose: int, split: str = "train") -> np.random.Generator:
        return np.random.default_rng([self._seed, purpose, SPLITS.index(split)])


def _audible(waveform: np.ndarray) -> np.ndarray:
    if np.abs(waveform).max() < _SILENT_LEVEL:
        raise UnreadableAudio("is silent")
    return waveform
