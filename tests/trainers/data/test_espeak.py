"""eSpeak NG in processes of its own: the same bytes however many run at a time."""

from __future__ import annotations

import sys
from itertools import chain

import numpy as np
import pytest

from repareto.spaces.errors import UserError
from repareto.trainers.data import espeak
from repareto.trainers.data.espeak import Utterance


def say(text: str, **changes: object) -> Utterance:
    usual = {"accent": "en", "variant": "Andy", "rate_wpm": 175, "pitch": 50, "pitch_range": 50, "amplitude": 100}
    return Utterance(text, **{**usual, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def needs_espeak() -> None:
    pytest.importorskip("espeakng_loader")


def test_the_same_bytes_from_any_number_of_processes() -> None:
    chunks = [[say(word, variant=variant) for word in ("yes", "no")] for variant in ("Andy", "whisper", "klatt2")]
    one = list(espeak.render(chunks, 16000, processes=1))
    three = list(espeak.render(chunks, 16000, processes=3))
    assert [len(chunk) for chunk in one] == [2, 2, 2]
    for mine, theirs in zip(chain(*one), chain(*three), strict=True):
        assert mine.dtype == np.int16
        np.testing.assert_array_equal(mine, theirs)


def test_no_more_is_spoken_than_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    spoken: list[int] = []

    def note(job: dict[str, object]) -> list[np.ndarray]:
        spoken.append(int(str(job["seed"])))
        return []

    monkeypatch.setattr(espeak, "_render_in_a_process", note)
    rendered = espeak.render([[say("yes")]] * 50, 16000, processes=2)
    next(rendered)
    rendered.close()
    assert 1 <= len(spoken) <= 3
    assert len(list(espeak.render([[say("yes")]] * 50, 16000, processes=2))) == 50


def test_settings_are_heard() -> None:
    ((usual, slow, soft, high, long, other),) = espeak.render(
        [
            [
                say("yes"),
                say("yes", rate_wpm=90),
                say("yes", amplitude=30),
                say("yes", pitch=99),
                say("yes yes yes"),
                say("yes", variant="f3", accent="en-us"),
            ]
        ],
        16000,
    )
    assert 0.1 * 16000 < len(usual) < 16000
    assert len(slow) > 1.2 * len(usual)
    assert np.abs(soft.astype(int)).max() < 0.5 * np.abs(usual.astype(int)).max()
    assert len(long) > 1.5 * len(usual)
    for heard in (high, other):
        assert len(heard) != len(usual) or (heard != usual).any()


def test_the_sample_rate_is_the_wanted_one() -> None:
    ((at_16,),), ((at_8,),) = (list(espeak.render([[say("yes")]], rate)) for rate in (16000, 8000))
    assert len(at_8) == pytest.approx(len(at_16) / 2, abs=2)


def test_every_variant_and_accent_speaks() -> None:
    accents = espeak.ENGLISH_ACCENTS
    utterances = [
        say("left", variant=variant, accent=accents[index % len(accents)])
        for index, variant in enumerate(espeak.variants())
    ]
    (words,) = espeak.render([utterances], 16000)
    assert len(words) > 90
    assert all(len(word) > 800 and np.abs(word.astype(int)).max() > 300 for word in words)


def test_no_sound_is_an_empty_waveform() -> None:
    ((nothing,),) = espeak.render([[say("")]], 16000)
    assert len(nothing) == 0


def test_a_failure_in_the_process_is_told() -> None:
    with pytest.raises(RuntimeError, match=r"no voice 'nowhere[+]Andy'"):
        list(espeak.render([[say("yes", accent="nowhere")]], 16000))


def test_version_is_read_from_the_library() -> None:
    assert espeak.version().count(".") >= 1


def test_without_the_extra_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(UserError, match=r"pip install 'repareto\[speech\]'"):
        espeak.version()
