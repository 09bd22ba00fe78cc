"""Speech as a device hears it: several recordings in one room, then others in another.

What tells the wake word must be the word. So its recordings are levelled, spaced and put into noise by the same draws
as all other speech, amid other speech, and the rooms that it was recorded in are heard where it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from . import noise
from .dataset import PAUSE
from .spans import speech_level_db
from .streams import Sound

SOUNDS_A_SCENE = (3, 8)
PAUSE_SECONDS = (0.0, 1.5)
"""Before each sound."""
LEVEL_DB = (-40.0, -20.0)
"""Of full scale, of the speech of a scene: from across a room to close by."""
DISTANCE_DB = 6.0
"""By which speakers of one scene are louder or softer."""
SNR_DB = (8.0, 40.0)
"""The scene's speech over the noise of its room."""
SHORTEST_ROOM_SECONDS = 0.3
QUIETEST_DB = -60.0
"""What is below is no speech, and not raised as if it were."""
FRAGMENT_EVERY_SECONDS = 6.0
FRAGMENT_OF_A_CLIP = (0.2, 0.8)


class Beds:
    """Noise for speech to stand in: white, pink, babble of other speech, and rooms that were recorded."""

    def __init__(self, talkers: Sequence[np.ndarray], rooms: Sequence[np.ndarray] = ()) -> None:
        """Of waveforms (samples,) of any length; ``talkers`` must not say the wake word."""
        self._talkers, self._rooms = talkers, rooms
        self._kinds = ("white", "pink", *(("babble",) if len(talkers) else ()), *(("room",) if len(rooms) else ()))

    def drawn(self, samples: int, rng: np.random.Generator) -> np.ndarray:
        """One of them, (samples,), RMS 1."""
        kind = self._kinds[int(rng.integers(len(self._kinds)))]
        if kind == "white":
            return noise.white(1, samples, rng)[0]
        if kind == "pink":
            return noise.pink(1, samples, rng)[0]
        if kind == "babble":
            chosen = rng.integers(len(self._talkers), size=noise.TALKERS)
            return noise.babble(np.stack([np.resize(self._talkers[place], samples) for place in chosen]), 1, rng)[0]
        room = self._rooms[int(rng.integers(len(self._rooms)))]
        # There and back again, so that it goes on without a click.
        endless = np.resize(np.concatenate([room, room[::-1]]), samples + len(room))
        start = int(rng.integers(len(room)))
        return noise.at_rms(endless[None, start : start + samples], 1.0)[0]


def rooms_around(words: Iterable[Sound], sample_rate_hz: int) -> list[np.ndarray]:
    """What is heard in recordings of the wake word before it and after it."""
    found = []
    for sound in words:
        start, end = sound.word or (0, len(sound.waveform))
        # Many recordings begin and end in digital silence.
        around = [np.trim_zeros(part) for part in (sound.waveform[:start], sound.waveform[end:])]
        found += [room for room in around if len(room) >= SHORTEST_ROOM_SECONDS * sample_rate_hz]
    return found


def with_words(
    others: Iterable[Sound], words: Sequence[Sound], seconds: float, sample_rate_hz: int, rng: np.random.Generator
) -> Iterator[Sound]:
    """All sounds, each of ``words`` at a random place of its share of the ``seconds`` that ``others`` last about."""
    places = (np.arange(len(words)) + rng.random(len(words))) * seconds * sample_rate_hz / max(1, len(words))
    heard, said = 0, 0
    for sound in others:
        yield sound
        heard += len(sound.waveform)
        if said < len(words) and places[said] <= heard:
            yield words[said]
            said += 1
    yield from words[said:]


def with_fragments(
    others: Iterable[Sound], clip_seconds: float, sample_rate_hz: int, rng: np.random.Generator
) -> Iterator[Sound]:
    """All sounds, and pieces of them as long as a word: else whatever stands alone would pass for the wake word."""
    for sound in others:
        yield sound
        for _ in range(rng.poisson(len(sound.waveform) / sample_rate_hz / FRAGMENT_EVERY_SECONDS)):
            wanted = round(rng.uniform(*FRAGMENT_OF_A_CLIP) * clip_seconds * sample_rate_hz)
            start = int(rng.integers(max(0, len(sound.waveform) - wanted) + 1))
            yield replace(
                sound,
                waveform=sound.waveform[start : start + wanted],
                offset_seconds=sound.offset_seconds + start / sample_rate_hz,
            )


def in_scenes(sounds: Iterable[Sound], beds: Beds, sample_rate_hz: int, rng: np.random.Generator) -> Iterator[Sound]:
    """The sounds in their order, each after a pause; a few at a time share a room, its noise and a level."""
    waiting = iter(sounds)
    while scene := list(islice(waiting, int(rng.integers(*SOUNDS_A_SCENE, endpoint=True)))):
        yield from _in_a_room(scene, beds, sample_rate_hz, rng)


def _in_a_room(scene: Sequence[Sound], beds: Beds, sample_rate_hz: int, rng: np.random.Generator) -> Iterator[Sound]:
    level_db, snr_db = rng.uniform(*LEVEL_DB), rng.uniform(*SNR_DB)
    placed = []
    for sound in scene:
        placed.append(Sound(np.zeros(round(rng.uniform(*PAUSE_SECONDS) * sample_rate_hz), np.float32), PAUSE))
        wanted_db = level_db + rng.uniform(-DISTANCE_DB, DISTANCE_DB)
        gain = 10.0 ** ((wanted_db - max(QUIETEST_DB, speech_level_db(sound.waveform, sample_rate_hz))) / 20.0)
        placed.append(replace(sound, waveform=sound.waveform * np.float32(gain)))
    bed = beds.drawn(sum(len(sound.waveform) for sound in placed), rng) * np.float32(10.0 ** ((level_db - snr_db) / 20))
    for sound in placed:
        here, bed = np.split(bed, [len(sound.waveform)])
        yield replace(sound, waveform=np.clip(sound.waveform + here, -1.0, 1.0))
