"""Strings of spoken digits or commands from synthetic speech, speakers disjoint between splits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....spaces.errors import UserError
from ...tokens import Tokens
from .. import espeak
from ..cache import SPLITS
from ..dataset import Dataset
from ..voices import split_voices
from .strings import DIGITS, Chunk, Strings, checked_vocabulary

UTTERANCES_A_CHUNK = 200
"""Rendered by one process: enough to be worth its start, and few enough for all cores to have some."""
_FULL_SCALE = np.float32(32768)


@dataclass(frozen=True, kw_only=True)
class SyntheticStrings(Strings):
    """Random strings of ``words`` as eSpeak NG says them in one breath (extra ``repareto[speech]``)."""

    source: ClassVar[str] = "synthetic_strings"

    words: tuple[str, ...] = DIGITS
    """The vocabulary: each is one token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "words", checked_vocabulary(self.source, self.words))

    def load(self, *, seed: int) -> Dataset:
        """The dataset of this ``seed``: other seeds hold out other speakers. Kept in the cache.

        Raises :class:`UserError` where the extra is missing, the cache cannot be written or a word has no sound.
        """
        return self._load(self.words, {"espeak": espeak.version()}, seed=seed)

    def _chunks(self, words: Sequence[str], rng: np.random.Generator, _notes: list[str]) -> Iterator[Chunk]:
        voices = split_voices(espeak.variants(), rng)
        layout: list[tuple[str, list[Tokens]]] = []
        for split in SPLITS:
            strings = self.strings(words, self.counts()[split], rng)
            layout += [
                (split, strings[start : start + UTTERANCES_A_CHUNK])
                for start in range(0, len(strings), UTTERANCES_A_CHUNK)
            ]
        spoken = [
            [espeak.drawn_utterance(_text(words, tokens), voices[split], rng) for tokens in strings]
            for split, strings in layout
        ]
        rendered = espeak.render(spoken, self.log_mel.sample_rate_hz)
        for (split, strings), waveforms in zip(layout, rendered, strict=True):
            silent = next((place for place, waveform in enumerate(waveforms) if not waveform.any()), None)
            if silent is not None:
                text = _text(words, strings[silent])
                raise UserError(f"{self.source}: eSpeak NG makes no sound of {text!r}; leave those words out")
            yield Chunk(split, strings, [waveform / _FULL_SCALE for waveform in waveforms])


def _text(words: Sequence[str], tokens: Tokens) -> str:
    return " ".join(words[token - 1] for token in tokens)
