"""Speech of command line engines: skipped where they are not installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import engines
from repareto.spaces.errors import UserError

Speak = Callable[..., list[np.ndarray]]
ENGINES = [
    pytest.param(
        engines.flite_waveforms,
        "slt",
        marks=pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed"),
        id="flite",
    ),
    pytest.param(
        engines.festival_waveforms,
        "kal_diphone",
        marks=pytest.mark.skipif(not shutil.which("text2wave"), reason="festival is not installed"),
        id="festival",
    ),
]


@pytest.mark.parametrize(("speak", "voice"), ENGINES)
def test_words_are_spoken_the_same_again(speak: Speak, voice: str) -> None:
    first, second = (speak(["yes", "-v stop it now"], voice, 16000) for _ in range(2))
    assert all(waveform.dtype == np.int16 and np.abs(waveform.astype(int)).max() > 1000 for waveform in first)
    assert 0.2 * 16000 < len(first[0]) < 16000
    assert len(first[1]) > 1.5 * len(first[0])
    for mine, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("speak", "voice"), ENGINES)
def test_the_sample_rate_is_the_wanted_one(speak: Speak, voice: str) -> None:
    (at_16,), (at_8,) = (speak(["yes"], voice, rate) for rate in (16000, 8000))
    assert len(at_8) == pytest.approx(len(at_16) / 2, abs=2)


@pytest.mark.parametrize(("speak", "voice"), ENGINES)
def test_a_voice_that_is_not_there(speak: Speak, voice: str) -> None:
    with pytest.raises(UserError, match=f"voice '{voice}x': there is none; .*{voice}"):
        speak(["yes"], f"{voice}x", 16000)


@pytest.mark.skipif(not shutil.which("flite"), reason="flite is not installed")
def test_each_voice_of_flite_differs() -> None:
    voices = engines.flite_voices()
    assert "awb_time" not in voices and len(voices) >= 2
    spoken = [engines.flite_waveforms(["yes"], voice, 16000)[0].tobytes() for voice in voices]
    assert len(set(spoken)) == len(voices)


@pytest.mark.parametrize("speak", [engines.flite_waveforms, engines.festival_waveforms])
def test_a_missing_command_is_told(speak: Speak, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="not installed; add it with `apt-get install f"):
        speak(["yes"], "slt", 16000)
