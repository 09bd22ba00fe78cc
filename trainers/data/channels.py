"""What lies between a mouth and a model: the room, the band of the equipment, the codec of the transmission.

Shape legend: n clips, s samples.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cache

import numpy as np

from ...spaces.errors import UserError

DIRECT_DB = (-3.0, 9.0)
"""Range of the energy of the direct sound over that of the room: from across a living room to an arm's length."""
BANDS_HZ = {
    "telephone": (300.0, 3400.0),  # ITU-T G.712
    "loudspeaker": (500.0, 6500.0),  # of a telephone or a toy, a few centimetres wide
    "8 kHz sampling": (0.0, 4000.0),
}


@dataclass(frozen=True)
class Codec:
    """A format in which libsndfile writes and reads what it loses something in."""

    container: str
    subtype: str
    sample_rate_hz: int | None = None
    """The only rate that the codec is made for; None: that of the clip."""
    compression_level: float | None = None
    """libsndfile's, 0 to 1 (the smallest file)."""


CODECS = {
    "mu-law": Codec("WAV", "ULAW"),
    "A-law": Codec("WAV", "ALAW"),
    "G.721": Codec("AU", "G721_32"),
    "GSM": Codec("WAV", "GSM610", 8000),
    "Opus, 11 kbit/s": Codec("OGG", "OPUS", 16000, 0.98),
    "Opus, 16 kbit/s": Codec("OGG", "OPUS", 16000, 0.96),
    "MP3, 8 kbit/s": Codec("MP3", "MPEG_LAYER_III", 16000, 0.999),
    "MP3, 16 kbit/s": Codec("MP3", "MPEG_LAYER_III", 16000, 0.95),
    "Vorbis": Codec("OGG", "VORBIS", 16000, 1.0),
}
_TAIL_SECONDS = 0.15  # more than the delay of any of them
_HEADROOM = 0.5  # decoders go beyond the peaks that were encoded, and libsndfile's G.721 wraps at full scale


@dataclass(frozen=True)
class Channels:
    """How often a clip goes through each part of a channel; parts are drawn independently."""

    room: float = 0.5
    """Probability of reverberation, 0 to 1."""
    band: float = 0.5
    """Probability of one of the bands of ``BANDS_HZ``, 0 to 1."""
    codec: float = 0.5
    """Probability of one of the codecs of ``CODECS`` that are installed, 0 to 1."""
    rt60_seconds: tuple[float, float] = (0.1, 0.6)
    """Range of the time in which the sound of a room falls by 60 dB: from a car to a bare office."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "rt60_seconds", tuple(self.rt60_seconds))
        for part in ("room", "band", "codec"):
            probability = getattr(self, part)
            if not 0.0 <= probability <= 1.0:
                raise UserError(f"channels {part} {probability}: is a probability; it must be from 0 to 1")
        low, high = self.rt60_seconds
        if not 0.0 < low <= high:
            raise UserError(
                f"channels rt60_seconds {low} to {high}: must be positive and not reversed (try 0.1 to 0.6)"
            )


def through_channels(
    waveforms: np.ndarray, sample_rate_hz: int, rng: np.random.Generator, channels: Channels | None = None
) -> np.ndarray:
    """``waveforms`` (n, s), full scale 1, each through a channel of its own: (n, s) float32, words where they were.

    What is drawn for a clip depends on ``rng`` and on the clips before it in number only.
    """
    settings = channels or Channels()
    codecs = installed_codecs()
    heard = np.array(waveforms, np.float32)
    for clip in heard:
        in_room, in_band, coded = rng.random(3) < (settings.room, settings.band, settings.codec)
        rt60_seconds, direct_db = rng.uniform(*settings.rt60_seconds), rng.uniform(*DIRECT_DB)
        band, codec = str(rng.choice(list(BANDS_HZ))), str(rng.choice(codecs))
        (room_rng,) = rng.spawn(1)
        if in_room:
            clip[:] = in_a_room(clip, impulse_response(rt60_seconds, direct_db, sample_rate_hz, room_rng))
        if in_band:
            clip[:] = band_limited(clip, band, sample_rate_hz)
        if coded:
            clip[:] = through_codec(clip, codec, sample_rate_hz)
    return heard


def impulse_response(
    rt60_seconds: float, direct_db: float, sample_rate_hz: int, rng: np.random.Generator
) -> np.ndarray:
    """Of a room: the direct sound, then white noise that falls by 60 dB in ``rt60_seconds``; energy 1, (taps,).

    ``direct_db`` is the energy of the direct sound over that of all echoes. Model: J.-D. Polack's, as in J. A. Moorer,
    "About this reverberation business", 1979.
    """
    taps = max(2, round(rt60_seconds * sample_rate_hz))
    seconds = np.arange(1, taps) / sample_rate_hz
    echoes = rng.standard_normal(taps - 1) * 10.0 ** (-3.0 * seconds / rt60_seconds)
    echoes *= 10.0 ** (-direct_db / 20.0) / np.linalg.norm(echoes)
    response = np.concatenate([[1.0], echoes])
    return response / np.linalg.norm(response)


def in_a_room(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """``waveform`` (s,) convolved with ``response``, whose first tap is the direct sound; what rings on is cut off."""
    from scipy.signal import fftconvolve

    return fftconvolve(waveform, response)[: len(waveform)].astype(np.float32)


def band_limited(waveform: np.ndarray, band: str, sample_rate_hz: int) -> np.ndarray:
    """``waveform`` (s,) within one of ``BANDS_HZ``, without delay; edges above half the sample rate change nothing."""
    from scipy.signal import butter, sosfiltfilt

    low_hz, high_hz = BANDS_HZ[band]
    filtered = np.asarray(waveform, np.float64)
    for edge_hz, kind in ((low_hz, "highpass"), (high_hz, "lowpass")):
        if 0.0 < edge_hz < 0.49 * sample_rate_hz:
            # Forth and back again: no delay, and twice the slope.
            sections = butter(4, edge_hz, kind, fs=sample_rate_hz, output="sos")
            filtered = sosfiltfilt(sections, filtered, padlen=min(len(filtered) - 1, 64))
    return filtered.astype(np.float32)


@cache
def installed_codecs() -> tuple[str, ...]:
    """The names in ``CODECS`` of what this libsndfile can write and read."""
    import soundfile

    containers = soundfile.available_formats()
    return tuple(
        name
        for name, codec in CODECS.items()
        if codec.container in containers and codec.subtype in soundfile.available_subtypes(codec.container)
    )


def libsndfile_version() -> str:
    """Of the library that encodes and decodes, for instance "1.2.2"."""
    import soundfile

    return str(soundfile.__libsndfile_version__)


def through_codec(waveform: np.ndarray, codec: str, sample_rate_hz: int) -> np.ndarray:
    """``waveform`` (s,) encoded and decoded by one of ``CODECS``, as long as it was and without the codec's delay.

    What is beyond full scale is clipped.
    """
    import soxr

    kind = CODECS[codec]
    rate_hz = kind.sample_rate_hz or sample_rate_hz
    # Room for what the delay pushes out at the end.
    padded = np.pad(_HEADROOM * np.clip(waveform, -1.0, 1.0), (0, round(_TAIL_SECONDS * sample_rate_hz)))
    decoded = _coded(soxr.resample(padded, sample_rate_hz, rate_hz), kind, rate_hz)
    undelayed = decoded[_delay_samples(codec, rate_hz) :]
    heard = soxr.resample(undelayed, rate_hz, sample_rate_hz)[: len(waveform)] / np.float32(_HEADROOM)
    return np.pad(heard, (0, len(waveform) - len(heard)))


def _coded(waveform: np.ndarray, codec: Codec, rate_hz: int) -> np.ndarray:
    """At least as many samples as ``waveform`` has, float32: encoders fill up their last block."""
    import soundfile

    stream = io.BytesIO()
    level = {} if codec.compression_level is None else {"compression_level": codec.compression_level}
    soundfile.write(stream, np.clip(waveform, -1.0, 1.0), rate_hz, codec.subtype, format=codec.container, **level)
    stream.seek(0)
    decoded: np.ndarray = soundfile.read(stream, dtype="float32")[0]
    return decoded


@cache
def _delay_samples(codec: str, rate_hz: int) -> int:
    """How much later than its input a codec's output is, at ``rate_hz``.

    Measured, because it depends on the container: some MP3 files say how much their reader should cut off, others
    do not.
    """
    # Noise within the band that codecs of speech keep, half a second of it.
    noise = np.random.default_rng(0).standard_normal(rate_hz // 2)
    probe = np.pad(0.1 * band_limited(noise, "telephone", rate_hz), (0, rate_hz // 2))
    decoded = _coded(probe, CODECS[codec], rate_hz)
    size = len(probe) + len(decoded)
    correlation = np.fft.irfft(np.fft.rfft(decoded, size) * np.fft.rfft(probe, size).conj(), size)
    return int(np.argmax(correlation[: rate_hz // 4]))
