"""A file that listens hop by hop at work, whatever runs it, and the hops that set the ranges of a quantised one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np

from ...spaces.errors import UserError
from .latency.timing import Latency, time_single_runs

WINDOW_KEY = "repareto.window_hops"
"""In a file's metadata: after how many hops from silence the first whole window was heard."""
STATE, NEW_STATE = "state", "new_state"
"""What a file calls what it carries: "state0" comes in where "new_state0" went out."""

MOST_WINDOWS = 200
"""That set the ranges of an int8 file: hop by hop they take some seconds."""


def state_names(first: str, state: str, count: int) -> list[str]:
    """The names of ``count`` inputs or outputs in the order of the file: features or logits, then the states."""
    return [first, *(f"{state}{number}" for number in range(count - 1))]


class Stream(ABC):
    """A streaming file that has heard silence so far; each :meth:`step` takes one hop.

    ``hop_shape`` (*bands, frames) is what a hop takes, ``window_hops`` make the window of training, ``labels`` name the
    logits. The states are as the file has them: in an int8 file their bytes.
    """

    def __init__(
        self, hop_shape: tuple[int, ...], window_hops: int, labels: list[str], silence: Sequence[np.ndarray]
    ) -> None:
        self.hop_shape, self.window_hops, self.labels = hop_shape, window_hops, labels
        self._silence = list(silence)
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self._states = [state.copy() for state in self._silence]

    @property
    def states(self) -> list[np.ndarray]:
        """What is carried to the next hop."""
        return self._states

    @states.setter
    def states(self, states: Sequence[np.ndarray]) -> None:
        given = [state.shape for state in states]
        carried = [state.shape for state in self._silence]
        if given != carried:
            raise UserError(f"states of shapes {given}: the model carries {carried}")
        types = {str(state.dtype) for state in states} | {str(state.dtype) for state in self._silence}
        if len(types) > 1:
            raise UserError(f"states of types {sorted(types)}: give those that this model gave")
        self._states = [state.copy() for state in states]

    @property
    def state_bytes(self) -> int:
        """What is carried to the next hop, in bytes."""
        return sum(state.nbytes for state in self._silence)

    def step(self, frames: np.ndarray) -> np.ndarray:
        """Return the float32 logits (classes,) after one more hop of features, of ``hop_shape``."""
        if frames.shape != self.hop_shape:
            raise UserError(f"a hop of shape {frames.shape}: the model takes {self.hop_shape}")
        logits, self._states = self._run(frames, self._states)
        return logits

    def measure_latency_us(self, repeats: int = 2000, seconds: float = 1.0) -> Latency:
        """Time single hops on one thread, as time_single_runs does; what was heard stays as it was."""
        frames = np.zeros(self.hop_shape, np.float32)
        return time_single_runs(lambda: self._run(frames, self._silence), repeats, seconds)

    @abstractmethod
    def _run(self, frames: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        """The logits and the new states."""


def hear_windows(stream: Stream, windows: np.ndarray) -> np.ndarray:
    """The logits (n, classes) after each of ``windows`` (n, *bands, frames), each from silence."""
    heard = []
    for hops in _windows_in_hops(windows, stream.hop_shape[-1], stream.window_hops):
        stream.reset()
        heard.append([stream.step(hop) for hop in hops][-1])
    return np.stack(heard)


def calibration_streams(samples: np.ndarray, hop_frames: int, window_hops: int) -> Iterator[list[np.ndarray]]:
    """What a stream hears to set its ranges, from silence each time: hops (*bands, hop_frames).

    Each of the windows ``samples`` (n, *bands, frames) alone, and then all of them one after the other, so that the
    states are those of a stream which has run for long. Of more than ``MOST_WINDOWS`` so many are taken, evenly.
    """
    taken = np.linspace(0, len(samples) - 1, min(len(samples), MOST_WINDOWS)).round().astype(int)
    samples = samples[taken]
    yield from _windows_in_hops(samples, hop_frames, window_hops)
    sound = np.concatenate(list(samples), axis=-1)
    hops = sound.shape[-1] // hop_frames
    yield np.split(sound[..., : hops * hop_frames], hops, axis=-1)


def _windows_in_hops(windows: np.ndarray, hop_frames: int, window_hops: int) -> Iterator[list[np.ndarray]]:
    # What is beyond the window in its last hop reaches no output of that hop.
    missing = window_hops * hop_frames - windows.shape[-1]
    padded = np.pad(windows, [(0, 0)] * (windows.ndim - 1) + [(0, missing)])
    return (np.split(window, window_hops, axis=-1) for window in padded)


def refuse_other_samples(samples: np.ndarray, input_shape: Sequence[int]) -> None:
    """Raise ``UserError`` for samples that are not (n, *input_shape), n > 0, or not finite."""
    if samples.ndim == 0 or len(samples) == 0 or samples.shape[1:] != tuple(input_shape):
        raise UserError(f"samples of shape {samples.shape}: the model takes (n, {str(tuple(input_shape))[1:]}")
    if not np.isfinite(samples).all():
        raise UserError("samples: hold values that are not finite (leave those examples out)")
