"""Where in a recording something is said, and how loud."""

import numpy as np
import pytest

from repareto.trainers.data import noise
from repareto.trainers.data.spans import speech_level_db, spoken_span

RATE_HZ = 16_000


def word(*seconds: float, level: float = 0.3) -> np.ndarray:
    """Syllables of these lengths, each with a soft start and end, a tenth of a second between them."""
    rng, parts = np.random.default_rng(1), []
    for length in seconds:
        samples = round(length * RATE_HZ)
        fade = np.minimum(1.0, np.minimum(np.arange(samples), np.arange(samples)[::-1]) / (0.02 * RATE_HZ))
        parts += [level * fade * noise.pink(1, samples, rng)[0], np.zeros(RATE_HZ // 10)]
    return np.concatenate(parts[:-1]).astype(np.float32)


def placed(said: np.ndarray, before: float, after: float, room_db: float, seed: int = 0) -> np.ndarray:
    """In a room whose noise has this level."""
    waveform = np.pad(said, (round(before * RATE_HZ), round(after * RATE_HZ)))
    room = noise.pink(1, len(waveform), np.random.default_rng(seed))[0]
    return (waveform + room * 10 ** (room_db / 20)).astype(np.float32)


@pytest.mark.parametrize("room_db", [-70.0, -45.0, -28.0])
@pytest.mark.parametrize(("before", "after"), [(0.0, 1.0), (0.4, 0.4), (2.0, 0.5)])
def test_a_word_is_found_in_the_noise_of_its_room(room_db: float, before: float, after: float) -> None:
    said = word(0.25, 0.3)
    start, end = spoken_span(placed(said, before, after, room_db), RATE_HZ)
    # A margin of 50 ms, the smoothing of 50 ms, and soft edges.
    assert start / RATE_HZ == pytest.approx(before, abs=0.1)
    assert end / RATE_HZ == pytest.approx(before + len(said) / RATE_HZ, abs=0.1)


def test_silence_that_was_made_around_a_recording_is_not_its_room() -> None:
    said = word(0.25, 0.3)
    recording = np.pad(placed(said, 0.6, 0.8, -40.0), (RATE_HZ // 2, RATE_HZ))
    start, end = spoken_span(recording, RATE_HZ)
    assert start / RATE_HZ == pytest.approx(1.1, abs=0.1) and end / RATE_HZ == pytest.approx(1.75, abs=0.1)


def test_a_click_is_not_the_word() -> None:
    recording = placed(word(0.25, 0.3), 1.0, 1.0, -50.0)
    recording[RATE_HZ // 4 : RATE_HZ // 4 + 400] += 0.9
    start, end = spoken_span(recording, RATE_HZ)
    assert start / RATE_HZ == pytest.approx(1.0, abs=0.1) and end / RATE_HZ == pytest.approx(1.65, abs=0.1)


def test_where_nothing_stands_out_all_of_it_is_the_word() -> None:
    tone = np.cos(np.arange(RATE_HZ) * 0.2).astype(np.float32)
    for waveform in (tone, np.zeros(RATE_HZ, np.float32), tone[:100], tone[:1]):
        assert spoken_span(waveform, RATE_HZ) == (0, len(waveform))
    assert spoken_span(np.pad(tone, 500), RATE_HZ) == (500, RATE_HZ + 500)


@pytest.mark.parametrize("shift_db", [0.0, -30.0])
def test_how_loud_a_recording_is_makes_no_difference(shift_db: float) -> None:
    recording = placed(word(0.25, 0.3), 0.7, 0.9, -50.0)
    assert spoken_span(recording * np.float32(10 ** (shift_db / 20)), RATE_HZ) == spoken_span(recording, RATE_HZ)


def test_the_level_is_that_of_the_speech_and_not_of_the_pauses() -> None:
    said = word(0.8)
    alone = speech_level_db(said, RATE_HZ)
    assert alone == pytest.approx(20 * np.log10(0.3), abs=3.5)
    assert speech_level_db(placed(said, 1.0, 3.0, -60.0), RATE_HZ) == pytest.approx(alone, abs=3)
    assert speech_level_db(said[:5], RATE_HZ) < 0  # shorter than a frame
