"""Synthetic speakers as users: a voice of their own each, in a manner, a room and a noise of their own.

Training hears all speeds and pitches that are usual, no rooms and 10 dB of noise or less; a user may speak faster or
slower, higher or lower, in a room, over poor equipment and amid more noise: that is how far users are from the data.

Shape legend: n clips, s samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .. import espeak, noise
from ..channels import BANDS_HZ, DIRECT_DB, band_limited, impulse_response, in_a_room

RATES_WPM, PITCHES = (85, 300), (5, 95)
"""Usual are 110 to 230, and 20 to 80 (:func:`.espeak.drawn_utterance`)."""
ROOM_SHARE, BAND_SHARE = 0.6, 0.5
RT60_SECONDS = (0.2, 0.7)
SNR_DB = (3.0, 20.0)
"""On average, of a user; from clip to clip it varies by ``SNR_SPREAD_DB`` to either side."""
SNR_SPREAD_DB = 3.0


@dataclass(frozen=True)
class Speaker:
    """How one user speaks, and where."""

    manner: espeak.Utterance
    response: np.ndarray | None
    """Of the room (taps,); None in the open."""
    band: str | None
    """Of the equipment, one of ``BANDS_HZ``."""
    noise: str
    """``white``, ``pink`` or ``babble``."""
    snr_db: float

    @classmethod
    def drawn(cls, voice: str, sample_rate_hz: int, rng: np.random.Generator) -> Speaker:
        """Return one who has this voice of eSpeak's."""
        manner = replace(
            espeak.drawn_utterance("", [voice], rng),
            rate_wpm=int(rng.integers(RATES_WPM[0], RATES_WPM[1] + 1)),
            pitch=int(rng.integers(PITCHES[0], PITCHES[1] + 1)),
        )
        in_room, in_band = rng.random(2) < (ROOM_SHARE, BAND_SHARE)
        response = impulse_response(rng.uniform(*RT60_SECONDS), rng.uniform(*DIRECT_DB), sample_rate_hz, rng)
        band = str(rng.choice(list(BANDS_HZ)))
        heard = str(rng.choice(["white", "pink", "babble"]))
        return cls(manner, response if in_room else None, band if in_band else None, heard, float(rng.uniform(*SNR_DB)))

    def utterance(self, text: str, rng: np.random.Generator) -> espeak.Utterance:
        """Return ``text`` as this one says it this time."""
        return replace(
            self.manner,
            text=text,
            rate_wpm=int(np.clip(self.manner.rate_wpm + rng.integers(-10, 11), 80, 450)),
            pitch=int(np.clip(self.manner.pitch + rng.integers(-4, 5), 0, 99)),
        )

    def heard(
        self, clips: np.ndarray, sample_rate_hz: int, talkers: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Return clean clips (n, s) as they arrive: in the room, amid noise, over the equipment."""
        count, samples = clips.shape
        if self.response is not None:
            clips = np.stack([in_a_room(clip, self.response) for clip in clips])
        made: dict[str, Callable[[], np.ndarray]] = {
            "white": lambda: noise.white(count, samples, rng),
            "pink": lambda: noise.pink(count, samples, rng),
            "babble": lambda: noise.babble(talkers, count, rng),
        }
        snr_db = rng.uniform(self.snr_db - SNR_SPREAD_DB, self.snr_db + SNR_SPREAD_DB, (count,))
        mixed = noise.add_at_snr(clips, made[self.noise](), snr_db)
        if self.band is not None:
            mixed = np.stack([band_limited(clip, self.band, sample_rate_hz) for clip in mixed])
        return np.clip(mixed, -1.0, 1.0)


def drawn_speakers(
    count: int, voices: Sequence[str], sample_rate_hz: int, rng: np.random.Generator
) -> tuple[Speaker, ...]:
    """Return speakers of different voices, as far as there are so many."""
    order = rng.permutation(voices)
    return tuple(Speaker.drawn(str(order[number % len(order)]), sample_rate_hz, rng) for number in range(count))
