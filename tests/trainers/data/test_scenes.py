"""Speech in rooms: nothing but the word may tell where the word is."""

import numpy as np
import pytest

from repareto.trainers.data.dataset import PAUSE
from repareto.trainers.data.scenes import (
    DISTANCE_DB,
    LEVEL_DB,
    Beds,
    in_scenes,
    rooms_around,
    with_fragments,
    with_words,
)
from repareto.trainers.data.spans import speech_level_db
from repareto.trainers.data.streams import Sound

RATE_HZ = 1000


def sound(name: str, seconds: float, level: float = 0.1, word: tuple[int, int] | None = None) -> Sound:
    waveform = np.random.default_rng(len(name)).standard_normal(round(seconds * RATE_HZ)).astype(np.float32)
    return Sound(level * waveform, name, word=word)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_words_stand_among_other_speech_each_in_its_share() -> None:
    others = [sound(f"other {number}", 1.0) for number in range(100)]
    words = [sound(f"word {number}", 0.5) for number in range(10)]
    names = [sound.source for sound in with_words(others, words, 100.0, RATE_HZ, rng())]
    places = [names.index(f"word {number}") - number for number in range(10)]
    assert [name for name in names if name.startswith("other")] == [other.source for other in others]
    assert all(10 * number < place <= 10 * (number + 1) + 1 for number, place in enumerate(places))
    assert len({place % 10 for place in places}) > 3
    # What was thought to be longer than it is: all words are heard.
    assert len(list(with_words(others[:3], words, 1e6, RATE_HZ, rng()))) == 13
    assert list(with_words(others, [], 100.0, RATE_HZ, rng())) == others


def test_levels_and_pauses_of_a_scene_are_not_those_of_its_recordings() -> None:
    sounds = [sound(str(number), 1.0, level) for number, level in enumerate((1e-3, 0.5) * 100)]
    silent = Beds([], [np.full(400, 1e-30, np.float32)])
    silent._kinds = ("room",)
    heard = list(in_scenes(sounds, silent, RATE_HZ, rng()))
    assert [one.source for one in heard] == [name for one in sounds for name in (PAUSE, one.source)]
    levels = np.array([speech_level_db(one.waveform, RATE_HZ) for one in heard[1::2]])
    assert levels.min() >= LEVEL_DB[0] - DISTANCE_DB - 6 and levels.max() <= LEVEL_DB[1] + DISTANCE_DB + 6
    # Recordings of 54 dB apart are as loud, of a large spread each.
    assert abs(levels[::2].mean() - levels[1::2].mean()) < 3 and levels[::2].std() > 3
    pauses = np.array([len(one.waveform) for one in heard[::2]]) / RATE_HZ
    assert 0 <= pauses.min() < 0.1 and 1.4 < pauses.max() <= 1.5


def test_the_noise_of_a_room_goes_on_from_one_sound_to_the_next() -> None:
    # A room that counts: each sample tells its place.
    room = np.linspace(1.0, 2.0, 50_000, dtype=np.float32)
    beds = Beds([], [room])
    beds._kinds = ("room",)
    quiet = [sound(str(number), 1.0, 1e-6) for number in range(3)]
    bed = np.concatenate([one.waveform for one in in_scenes(quiet, beds, RATE_HZ, rng())])
    assert np.abs(np.diff(bed)).max() < 0.2 * np.abs(bed).max()


def test_a_sound_that_is_no_speech_is_not_made_loud() -> None:
    heard = list(in_scenes([sound("hum", 1.0, 1e-7)], Beds([]), RATE_HZ, rng()))
    assert speech_level_db(heard[1].waveform, RATE_HZ) < LEVEL_DB[1]
    assert np.isfinite(heard[1].waveform).all()


def test_rooms_of_the_word_are_noise_for_others() -> None:
    word = sound("word", 2.0, word=(600, 1200))
    word.waveform[:200] = 0.0  # made silence
    rooms = rooms_around([word, sound("all of it", 1.0)], RATE_HZ)
    assert [len(room) for room in rooms] == [400, 800]
    np.testing.assert_array_equal(rooms[1], word.waveform[1200:])


def test_beds_are_of_all_kinds_and_of_any_length() -> None:
    talkers = [np.sin(np.arange(700) * pitch).astype(np.float32) for pitch in (0.1, 0.2, 0.3)]
    beds, generator = Beds(talkers, [np.ones(300, np.float32)]), rng()
    drawn = [beds.drawn(samples, generator) for samples in (10, 1000, 2500) for _ in range(20)]
    assert all(abs(np.sqrt(np.square(bed).mean()) - 1) < 0.6 for bed in drawn)
    assert any((bed == bed[0]).all() for bed in drawn)  # the room
    assert len({bed.tobytes() for bed in drawn if len(bed) == 1000}) > 10
    assert all(len(Beds([]).drawn(100, generator)) == 100 for _ in range(9))


def test_fragments_are_pieces_of_the_sound_before_them() -> None:
    others = [Sound(np.arange(60_000, dtype=np.float32) + 1, "long", 7.0), Sound(np.ones(10, np.float32), "short")]
    found = list(with_fragments(others, 1.5, RATE_HZ, rng()))
    fragments = [one for one in found if one.source == "long"][1:]
    assert 4 < len(fragments) < 20
    for fragment in fragments:
        assert 0.3 * RATE_HZ - 1 <= len(fragment.waveform) <= 1.2 * RATE_HZ + 1
        assert fragment.offset_seconds == pytest.approx(7.0 + (fragment.waveform[0] - 1) / RATE_HZ)
