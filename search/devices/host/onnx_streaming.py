"""A network that listens hop by hop as an ONNX file with explicit states, and such a file at work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ....spaces.errors import UserError
from ....spaces.streaming import Streaming
from ..shipped import INPUT_NAME, LABELS_KEY, OUTPUT_NAME
from ..stream import NEW_STATE, STATE, WINDOW_KEY, Stream, hear_windows, state_names
from .onnx_runtime import exported, make_session

ZERO_POINTS_KEY = "repareto.state_zero_points"
"""In an int8 file's metadata: what each state is filled with for silence."""


def streaming_onnx(stream: Streaming, input_shape: Sequence[int], labels: Sequence[str]) -> bytes:
    """Return ``stream`` as a self-contained ONNX file for one stream.

    It takes "features" (1, *bands, hop_frames) and "state0", "state1", …, and gives "logits" (1, classes) and
    "new_state0", …: states of the next hop. ``input_shape`` is of the window, without the batch. The metadata has the
    labels, and under "repareto.window_hops" after how many hops from silence the first whole window was heard.
    """
    examples = tuple(torch.zeros(shape) for shape in stream.input_shapes(input_shape))
    names = (state_names(INPUT_NAME, STATE, len(examples)), state_names(OUTPUT_NAME, NEW_STATE, len(examples)))
    properties = {LABELS_KEY: json.dumps(list(labels)), WINDOW_KEY: str(stream.window_hops)}
    return exported(stream, examples, names, properties)


def _silence(states: Sequence[Any], metadata: Mapping[str, str]) -> list[np.ndarray]:
    """Zeros, which in int8 are the zero point of each state."""
    if ZERO_POINTS_KEY not in metadata:
        return [np.zeros(state.shape, np.float32) for state in states]
    zero_points = json.loads(metadata[ZERO_POINTS_KEY])
    return [np.full(state.shape, zero, np.int8) for state, zero in zip(states, zero_points, strict=True)]


class OnnxStream(Stream):
    """A streaming ONNX file in ONNX Runtime, on one thread.

    Raises ``UserError`` for a file that ONNX Runtime refuses or that is no streaming model.
    """

    def __init__(self, content: bytes) -> None:
        self._session = make_session(content)
        features, *states = self._session.get_inputs()
        metadata = self._session.get_modelmeta().custom_metadata_map
        if WINDOW_KEY not in metadata or any(not state.name.startswith(STATE) for state in states):
            raise UserError("ONNX model: is no streaming model (export one from a space with padding: causal)")
        self._names = [state.name for state in states]
        super().__init__(
            hop_shape=tuple(int(size) for size in features.shape[1:]),
            window_hops=int(metadata[WINDOW_KEY]),
            labels=json.loads(metadata[LABELS_KEY]),
            silence=_silence(states, metadata),
        )

    def _run(self, frames: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        feed = {INPUT_NAME: frames[None].astype(np.float32), **dict(zip(self._names, states, strict=True))}
        logits, *new = self._session.run(None, feed)
        return logits[0], new


def largest_stream_difference(content: bytes, module: torch.nn.Module, windows: torch.Tensor) -> float:
    """The largest absolute difference between a streaming ONNX file that hears whole windows and the window's network.

    ``windows`` have shape (n, *bands, frames); before each, the stream has heard nothing.
    """
    with torch.no_grad():
        expected = module(windows).numpy()
    return float(np.abs(hear_windows(OnnxStream(content), windows.numpy()) - expected).max())
