"""Sound that comes piece by piece: from a file, or as raw samples from a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from .audio import UnreadableAudio, reason

_BLOCK_SECONDS = 0.5
_FULL_SCALE = 32768.0


def file_blocks(path: Path, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks (samples,) of a WAV, FLAC or other file that libsndfile reads, mono, resampled to ``sample_rate_hz``.

    Raises :class:`UnreadableAudio` where the file cannot be decoded, or not to its end.
    """
    import soundfile

    if not path.is_file():
        raise UnreadableAudio("no such file")
    try:
        with soundfile.SoundFile(path) as file:
            rate_hz, promised, read = file.samplerate, file.frames, 0
            resample = _Resampler(rate_hz, sample_rate_hz)
            for block in file.blocks(round(_BLOCK_SECONDS * rate_hz), dtype="float32", always_2d=True):
                read += len(block)
                if not np.isfinite(block).all():
                    raise UnreadableAudio("holds samples that are no numbers")
                yield resample(block.mean(axis=1))
            if read < promised:
                raise UnreadableAudio(f"ends after {read} of {promised} samples")
            yield resample.rest()
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableAudio(reason(error)) from error
    except TypeError as error:  # the suffix .raw: what it holds is not said in it
        raise UnreadableAudio("raw samples come from a pipe: `repareto stream … - --rate N < FILE`") from error


def pcm_blocks(pipe: BufferedIOBase, rate_hz: int, sample_rate_hz: int) -> Iterator[np.ndarray]:
    """Blocks (samples,) of raw PCM, 16 bit, little-endian, mono, at ``rate_hz``, resampled to ``sample_rate_hz``.

    A pipe that closes within a sample loses that sample.
    """
    resample = _Resampler(rate_hz, sample_rate_hz)
    block_bytes = 2 * round(_BLOCK_SECONDS * rate_hz)
    odd = b""
    # Not all of a block is waited for: a microphone gives some at a time.
    while content := pipe.read1(block_bytes):
        content = odd + content
        whole = len(content) - len(content) % 2
        odd = content[whole:]
        yield resample(np.frombuffer(content[:whole], "<i2").astype(np.float32) / _FULL_SCALE)
    yield resample.rest()


class _Resampler:
    """Resamples block by block; what it holds back comes with :meth:`rest`."""

    def __init__(self, from_hz: int, to_hz: int) -> None:
        import soxr

        self._stream = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")

    def __call__(self, block: np.ndarray) -> np.ndarray:
        return block if self._stream is None else self._stream.resample_chunk(block)

    def rest(self) -> np.ndarray:
        if self._stream is None:
            return np.zeros(0, np.float32)
        return self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
