"""Spoken words from eSpeak NG (GPL-3, hence the extra ``repareto[speech]``), the same bytes every time.

eSpeak keeps state: what a call returns depends on the calls before it. So each chunk of utterances is rendered by a
fresh process of its own, in order, from a fixed seed. The process is a plain command and not a ``multiprocessing``
child, which would import the caller's main module, and torch with it, once a chunk.
"""

from __future__ import annotations

import ctypes
import io
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ...spaces.errors import UserError
from .audio import without_silence

ENGLISH_ACCENTS = (
    "en",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-gb-x-rp",
    "en-us",
    "en-us-nyc",
)

# From espeak-ng/speak_lib.h (1.52).
_AUDIO_OUTPUT_SYNCHRONOUS, _UTF8, _POSITION_CHARACTER = 2, 1, 1
_TAKES_PHONEMES = 0x100
_SEPARATED = ord("_") << 8
_RATE, _VOLUME, _PITCH, _PITCH_RANGE = 1, 2, 3, 4
_AudioCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Utterance:
    """One text, how it is said and by whom."""

    text: str
    """What is said; between ``[[`` and ``]]`` stand eSpeak's phonemes."""
    accent: str
    """One of :data:`ENGLISH_ACCENTS`."""
    variant: str
    """The speaker, one of :func:`variants`."""
    rate_wpm: int
    """Speed in words a minute, 80 to 450; 175 is usual."""
    pitch: int
    """0 to 99; 50 is the variant's own."""
    pitch_range: int
    """How lively the melody is, 0 to 99; 50 is usual."""
    amplitude: int
    """Loudness, 0 to 200; 100 is usual."""


def drawn_utterance(text: str, speakers: Sequence[str], rng: np.random.Generator) -> Utterance:
    """``text`` as one of ``speakers`` may say it, in any accent, at any usual speed and pitch."""
    return Utterance(
        text=text,
        accent=ENGLISH_ACCENTS[int(rng.integers(len(ENGLISH_ACCENTS)))],
        variant=speakers[int(rng.integers(len(speakers)))],
        rate_wpm=int(rng.integers(110, 231)),
        pitch=int(rng.integers(20, 81)),
        pitch_range=int(rng.integers(20, 81)),
        amplitude=int(rng.integers(30, 101)),
    )


def variants() -> tuple[str, ...]:
    """The names of all speakers, sorted."""
    return tuple(sorted(path.name for path in (_data_folder() / "voices" / "!v").iterdir()))


def version() -> str:
    """eSpeak NG's own version, for instance "1.52.0"."""
    library = _library()
    library.espeak_Info.restype = ctypes.c_char_p
    return str(library.espeak_Info(None).decode())


def phonemes(text: str, accent: str = "en-us") -> tuple[tuple[str, ...], ...]:
    """The phonemes of each word of ``text``, stress marks (' and ,) before them, as eSpeak NG writes them.

    Raises :class:`UserError` without the extra.
    """
    return phonemes_of([text], accent)[0]


def phonemes_of(texts: Sequence[str], accent: str = "en-us") -> list[tuple[tuple[str, ...], ...]]:
    """:func:`phonemes` of each text, said alone."""
    _library()
    spelled = json.loads(_in_a_process({"phonemes_of": list(texts), "accent": accent}))
    return [tuple(tuple(word.split("_")) for word in text.split()) for text in spelled]


def render(
    chunks: Sequence[Sequence[Utterance]], sample_rate_hz: int, *, processes: int | None = None
) -> Generator[list[np.ndarray], None, None]:
    """The waveforms of each chunk in turn, int16 of shape (samples,), silence around the words cut off.

    Runs ``processes`` (default: one a core) at a time; the result does not depend on how many. Raises
    :class:`UserError` without the extra, RuntimeError where eSpeak fails.
    """
    _library()  # fail here and not in a child
    jobs = [
        {"seed": index + 1, "sample_rate_hz": sample_rate_hz, "utterances": [asdict(u) for u in chunk]}
        for index, chunk in enumerate(chunks)
    ]
    at_once = processes or os.cpu_count() or 1
    pool = ThreadPoolExecutor(at_once)
    waiting: deque[Future[list[np.ndarray]]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(_render_in_a_process, job))
            # No further ahead than keeps all busy: who asks may have enough before the end.
            if len(waiting) > at_once:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _render_in_a_process(job: dict[str, Any]) -> list[np.ndarray]:
    stream = io.BytesIO(_in_a_process(job))
    lengths, samples = np.load(stream), np.load(stream)
    return np.split(samples, np.cumsum(lengths)[:-1])


def _in_a_process(job: dict[str, Any]) -> bytes:
    finished = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps(job).encode(),
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    if finished.returncode != 0:
        last_words = finished.stderr.decode(errors="replace").strip()[-500:]
        raise RuntimeError(f"eSpeak NG's process ended with code {finished.returncode}: {last_words}")
    return finished.stdout


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(_loader().get_library_path()))


def _data_folder() -> Path:
    return Path(_loader().get_data_path())


def _loader() -> ModuleType:
    try:
        import espeakng_loader
    except ImportError as error:
        raise UserError(
            "synthetic speech: eSpeak NG is not installed; add it with `pip install 'repareto[speech]'`"
        ) from error
    return espeakng_loader


class _Speaker:
    """The child's side: eSpeak in this process, from a fixed seed."""

    def __init__(self, seed: int) -> None:
        self.library = _library()
        self.sample_rate_hz = self.library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, 0, str(_data_folder()).encode(), 0
        )
        if self.sample_rate_hz <= 0:
            raise RuntimeError(f"espeak_Initialize returned {self.sample_rate_hz}")
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        self._pieces: list[np.ndarray] = []
        self._callback = _AudioCallback(self._take)  # kept: eSpeak holds only the pointer
        self.library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, utterance: Utterance) -> np.ndarray:
        """The utterance at eSpeak's own sample rate, int16; empty where eSpeak has nothing to say."""
        voice = f"{utterance.accent}+{utterance.variant}"
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {voice!r}")
        for parameter, value in (
            (_RATE, utterance.rate_wpm),
            (_VOLUME, utterance.amplitude),
            (_PITCH, utterance.pitch),
            (_PITCH_RANGE, utterance.pitch_range),
        ):
            self.library.espeak_SetParameter(parameter, value, 0)
        text = utterance.text.encode() + b"\0"
        self._pieces.clear()
        flags = _UTF8 | _TAKES_PHONEMES
        self.library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, _POSITION_CHARACTER, 0, flags, None, None)
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)


def _serve_stdin() -> None:
    job = json.load(sys.stdin)
    answer = _spelled(job) if "phonemes_of" in job else _rendered(job)
    sys.stdout.buffer.write(answer)


def _spelled(job: dict[str, Any]) -> bytes:
    library = _Speaker(1).library
    if library.espeak_SetVoiceByName(job["accent"].encode()) != 0:
        raise RuntimeError(f"eSpeak NG has no voice {job['accent']!r}")
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    spelled = []
    for content in job["phonemes_of"]:
        text = ctypes.create_string_buffer(content.encode())
        rest = ctypes.c_void_p(ctypes.addressof(text))
        clauses = []
        while rest.value:  # a clause a call; eSpeak sets the pointer to null at the end
            clauses.append(library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _SEPARATED).decode())
        spelled.append(" ".join(clauses))
    return json.dumps(spelled).encode()


def _rendered(job: dict[str, Any]) -> bytes:
    import soxr

    speaker = _Speaker(job["seed"])
    waveforms = []
    for fields in job["utterances"]:
        waveform = without_silence(speaker.say(Utterance(**fields)))
        waveforms.append(soxr.resample(waveform, speaker.sample_rate_hz, job["sample_rate_hz"]))
    stream = io.BytesIO()
    np.save(stream, np.array([len(waveform) for waveform in waveforms], np.int64))
    np.save(stream, np.concatenate(waveforms))
    return stream.getvalue()


if __name__ == "__main__":
    _serve_stdin()
