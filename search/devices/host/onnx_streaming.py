"""A network that listens hop by hop as an ONNX file with explicit states, and such a file at work."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import torch

from ....spaces.errors import UserError
from ....spaces.streaming import Streaming
from ..latency.timing import Latency, time_single_runs
from ..shipped import INPUT_NAME, LABELS_KEY, OUTPUT_NAME
from .onnx_runtime import exported, make_session

WINDOW_KEY = "repareto.window_hops"
_STATE, _NEW_STATE = "state", "new_state"


def streaming_onnx(stream: Streaming, input_shape: Sequence[int], labels: Sequence[str]) -> bytes:
    """Return ``stream`` as a self-contained ONNX file for one stream.

    It takes "features" (1, *bands, hop_frames) and "state0", "state1", …, and gives "logits" (1, classes) and
    "new_state0", …: states of the next hop. ``input_shape`` is of the window, without the batch. The metadata has the
    labels, and under "repareto.window_hops" after how many hops from silence the first whole window was heard.
    """
    hop = torch.zeros(1, *input_shape[:-1], stream.hop_frames)
    numbers = range(len(stream.state_shapes))
    names = (
        [INPUT_NAME, *(f"{_STATE}{number}" for number in numbers)],
        [OUTPUT_NAME, *(f"{_NEW_STATE}{number}" for number in numbers)],
    )
    properties = {LABELS_KEY: json.dumps(list(labels)), WINDOW_KEY: str(stream.window_hops)}
    return exported(stream, (hop, *stream.silence()), names, properties)


class OnnxStream:
    """A streaming ONNX file that has been heard silence so far; each :meth:`step` takes one hop.

    Raises ``UserError`` for a file that ONNX Runtime refuses or that is no streaming model.
    """

    def __init__(self, content: bytes) -> None:
        self._session = make_session(content)
        features, *states = self._session.get_inputs()
        metadata = self._session.get_modelmeta().custom_metadata_map
        if WINDOW_KEY not in metadata or any(not state.name.startswith(_STATE) for state in states):
            raise UserError("ONNX model: is no streaming model (export one from a space with padding: causal)")
        self.hop_shape = tuple(int(size) for size in features.shape[1:])
        self.window_hops = int(metadata[WINDOW_KEY])
        self.labels: list[str] = json.loads(metadata[LABELS_KEY])
        self._names = [state.name for state in states]
        self._shapes = [tuple(state.shape) for state in states]
        self.reset()

    def reset(self) -> None:
        """Forget what was heard."""
        self.states = [np.zeros(shape, np.float32) for shape in self._shapes]

    @property
    def states(self) -> list[np.ndarray]:
        """What is carried to the next hop."""
        return self._states

    @states.setter
    def states(self, states: Sequence[np.ndarray]) -> None:
        shapes = [state.shape for state in states]
        if shapes != self._shapes:
            raise UserError(f"states of shapes {shapes}: the model carries {self._shapes}")
        self._states = [state.astype(np.float32) for state in states]

    def step(self, frames: np.ndarray) -> np.ndarray:
        """Return the logits (classes,) after one more hop of features, of ``hop_shape``."""
        if frames.shape != self.hop_shape:
            raise UserError(f"a hop of shape {frames.shape}: the model takes {self.hop_shape}")
        logits, *self._states = self._session.run(None, self._feed(frames))
        return logits[0]

    def measure_latency_us(self, repeats: int = 2000, seconds: float = 1.0) -> Latency:
        """Time single hops on one thread; what was heard stays as it was."""
        feed = self._feed(np.zeros(self.hop_shape, np.float32))
        return time_single_runs(lambda: self._session.run(None, feed), repeats, seconds)

    def _feed(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        return {INPUT_NAME: frames[None].astype(np.float32), **dict(zip(self._names, self._states, strict=True))}


def largest_stream_difference(content: bytes, module: torch.nn.Module, windows: torch.Tensor) -> float:
    """The largest absolute difference between a streaming file that hears whole windows and the window's network.

    ``windows`` have shape (n, *bands, frames); before each, the stream has heard nothing.
    """
    stream = OnnxStream(content)
    with torch.no_grad():
        expected = module(windows).numpy()
    # What is beyond the window in its last hop reaches no output of that hop.
    missing = stream.window_hops * stream.hop_shape[-1] - windows.shape[-1]
    padded = torch.nn.functional.pad(windows, (0, missing)).numpy()
    largest = 0.0
    for window, logits in zip(padded, expected, strict=True):
        stream.reset()
        for hop in np.split(window, stream.window_hops, axis=-1):
            heard = stream.step(hop)
        largest = max(largest, float(np.abs(heard - logits).max()))
    return largest
