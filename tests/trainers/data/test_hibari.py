"""hibari speaks English: the same bytes every time, at any rate, pitch and speed, without a network."""

from __future__ import annotations

import socket
import sys
from itertools import chain

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import hibari
from repareto.trainers.data.hibari import Utterance
from repareto.trainers.data.synthetic import OTHER_WORDS, SPEECH_COMMANDS_WORDS

RATE_HZ = 16000


@pytest.fixture(scope="module", autouse=True)
def needs_hibari() -> None:
    pytest.importorskip("hibari")


def say(text: str, **changes: object) -> Utterance:
    usual = {"speed": 1.0, "pitch": 1.0, "gain_db": 0.0, "seed": 0}
    return Utterance(text, **{**usual, **changes})  # type: ignore[arg-type]


def fundamental_hz(waveform: np.ndarray) -> float:
    """By the autocorrelation of the loudest tenth of a second, between 80 and 400 Hz."""
    wave = waveform / 32768
    window = RATE_HZ // 10
    start = np.argmax(np.convolve(wave**2, np.ones(window), "valid"))
    part = wave[start : start + window]
    correlation = np.correlate(part, part, "full")[window - 1 :]
    shortest, longest = RATE_HZ // 400, RATE_HZ // 80
    return float(RATE_HZ / (shortest + np.argmax(correlation[shortest:longest])))


def test_chunks_come_back_in_order_and_the_same_again() -> None:
    chunks = [[say("yes"), say("no", seed=1)], [say("stop", pitch=0.8, speed=0.9, gain_db=6.0)]]
    first, second = (list(hibari.render(chunks, RATE_HZ)) for _ in range(2))
    assert [len(chunk) for chunk in first] == [2, 1]
    for mine, theirs in zip(chain(*first), chain(*second), strict=True):
        assert mine.dtype == np.int16
        np.testing.assert_array_equal(mine, theirs)


def test_what_an_utterance_is_depends_on_nothing_before_it() -> None:
    ((alone,),) = hibari.render([[say("yes")]], RATE_HZ)
    ((_, after),) = hibari.render([[say("no"), say("yes")]], RATE_HZ)
    np.testing.assert_array_equal(alone, after)


def test_settings_are_heard() -> None:
    utterances = [say("go"), say("go", speed=0.6), say("go", gain_db=6.0), say("go", seed=1), say("go", pitch=0.75)]
    ((usual, slow, loud, other, low),) = hibari.render([utterances], RATE_HZ)
    assert 0.15 * RATE_HZ < len(usual) < 0.8 * RATE_HZ
    assert len(slow) > 1.3 * len(usual)
    assert np.abs(loud.astype(int)).max() == pytest.approx(2 * np.abs(usual.astype(int)).max(), rel=0.02)
    assert len(other) != len(usual) or (other != usual).any()
    assert fundamental_hz(low) < 0.85 * fundamental_hz(usual)
    assert 150 < fundamental_hz(usual) < 300  # a woman's voice


def test_the_sample_rate_is_the_wanted_one() -> None:
    ((at_16,),), ((at_8,),) = (list(hibari.render([[say("yes")]], rate)) for rate in (16000, 8000))
    assert len(at_8) == pytest.approx(len(at_16) / 2, abs=2)


def test_each_word_of_the_keyword_task_is_said_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The marks must not make another word of it, and nothing is fetched."""

    def refuse(*_: object) -> None:
        raise AssertionError("hibari opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    speaker = hibari._speaker.__wrapped__()
    for word in (*SPEECH_COMMANDS_WORDS, *OTHER_WORDS):
        sounds = {"".join(speaker.phonemize(word + mark)).rstrip(",!?") for mark in hibari.MARKS}
        assert len(sounds) == 1, (word, sounds)
    assert speaker.phonemize("no.") != speaker.phonemize("no!")  # why the full stop is no mark
    assert len(speaker("stop", seed=0)) > 0


def test_no_sound_is_an_empty_waveform() -> None:
    ((nothing,),) = hibari.render([[say("\u200b")]], RATE_HZ)
    assert len(nothing) == 0


def test_version_is_read_from_the_package() -> None:
    assert hibari.version().count(".") >= 1


def test_without_the_extra_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hibari", None)
    hibari._speaker.cache_clear()
    with pytest.raises(UserError, match=r"hibari is not installed; add it with `pip install 'repareto\[speech\]'`"):
        hibari.version()
