"""Speech from engines of the Debian archive, to test on voices that no data source speaks with.

flite (package ``flite``) and Festival (packages ``festival``, ``festvox-kallpc16k``) are run as commands, a process a
text: both give the same bytes again.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr

from repareto.spaces.errors import UserError, nearest_hint
from repareto.trainers.data.audio import without_silence


def flite_voices() -> tuple[str, ...]:
    """The names of flite's voices that speak any text; ``awb_time`` says the time only."""
    listed = _run("flite", ["flite", "-lv"]).stdout
    return tuple(name for name in listed.partition(":")[2].split() if name != "awb_time")


def flite_waveforms(
    texts: Sequence[str], voice: str, sample_rate_hz: int, duration_stretch: float = 1.0
) -> list[np.ndarray]:
    """Each text in the ``voice`` of flite, said slower by ``duration_stretch``, int16 (samples,), silence around it cut
    off.

    Raises :class:`UserError` where the command is missing or has no such voice, RuntimeError where it fails.
    """
    voices = flite_voices()
    if voice not in voices:  # flite itself would take its first voice
        raise UserError(f"flite voice {voice!r}: there is none; {nearest_hint(voice, voices)}")

    def speak(text: str, path: Path) -> None:
        stretch = f"duration_stretch={duration_stretch}"
        _run("flite", ["flite", "-voice", voice, "--setf", stretch, "-t", text, "-o", str(path)])

    return _waveforms(speak, texts, sample_rate_hz)


def festival_waveforms(texts: Sequence[str], voice: str, sample_rate_hz: int) -> list[np.ndarray]:
    """Each text in the ``voice`` of Festival, such as ``kal_diphone``; otherwise as :func:`flite_waveforms`."""

    def speak(text: str, path: Path) -> None:
        done = _run("festival", ["text2wave", "-eval", f"(voice_{voice})", "-o", str(path)], text)
        if "unbound variable" in done.stderr:  # which text2wave takes for a success
            raise UserError(f"festival voice {voice!r}: there is none; try kal_diphone")

    return _waveforms(speak, texts, sample_rate_hz)


def _waveforms(speak: Callable[[str, Path], None], texts: Sequence[str], sample_rate_hz: int) -> list[np.ndarray]:
    waveforms = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spoken.wav"
        for text in texts:
            speak(text, path)
            samples, rate_hz = soundfile.read(path, dtype="int16")
            waveforms.append(soxr.resample(without_silence(samples), rate_hz, sample_rate_hz))
    return waveforms


def _run(package: str, command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]}: not installed; add it with `apt-get install {package}` (Debian, Ubuntu)"
        ) from error
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    return done
