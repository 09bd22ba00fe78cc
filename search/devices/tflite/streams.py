"""A network that listens hop by hop as a ``.tflite`` file, and such a file at work in LiteRT.

The file's inputs are the features of a hop and then the states, its outputs the logits and then the new states, in one
order. A state and its new value have one shape, one order of values and one quantisation, so that firmware carries
them by copying bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from ....spaces.errors import UserError
from ....spaces.streaming import Streaming
from ..memory import MemoryRules
from ..shipped import INPUT_NAME, LABELS_KEY, OUTPUT_NAME
from ..stream import NEW_STATE, STATE, WINDOW_KEY, Stream, calibration_streams, refuse_other_samples, state_names
from .convert import Prepared, prepare, write
from .equalize import Observed
from .runtime import Ends, Observer, make_interpreter, quantized, read_metadata, to_file_order

STATES_KEY = "repareto.states"
"""In the metadata: the names of inputs and outputs in the order of the file, and how the states are carried."""
_CARRYING = (
    f"Before the first hop fill each {STATE} with its zero point. After a hop copy all of {NEW_STATE}0, {NEW_STATE}1, "
    f"... out of the arena, and before the next hop into {STATE}0, {STATE}1, ...: the bytes as they are."
)


def convert_stream(
    stream: Streaming,
    input_shape: Sequence[int],
    precision: str,
    samples: np.ndarray | None = None,
    labels: Sequence[str] = (),
    rules: MemoryRules | None = None,
) -> bytes:
    """The ``.tflite`` file of ``stream`` for one stream, as ``convert`` makes that of a network.

    ``input_shape`` (*bands, frames) is of the window; ``samples`` (n, *input_shape) set the ranges of an int8 file,
    each heard from silence and all one after the other.
    """
    prepared = prepare(stream, stream.input_shapes(input_shape), precision, rules)
    seen: dict[str, Observed] = {}
    if precision == "int8" and samples is not None and not prepared.is_made_up:
        refuse_other_samples(samples, input_shape)
        seen = _observe(prepared, stream, samples)
    count = len(prepared.lowered.inputs)
    ends = {"inputs": state_names(INPUT_NAME, STATE, count), "outputs": state_names(OUTPUT_NAME, NEW_STATE, count)}
    metadata = {
        LABELS_KEY: json.dumps(list(labels)),
        WINDOW_KEY: str(stream.window_hops),
        STATES_KEY: json.dumps({**ends, "carrying": _CARRYING}),
    }
    return write(prepared, seen, metadata)


def _observe(prepared: Prepared, stream: Streaming, samples: np.ndarray) -> dict[str, Observed]:
    """What the activations hold hop by hop, as LiteRT computes them in float.

    States are not read, which saves a third of the time: what they are joined to shares their scale and holds them.
    """
    source = prepared.lowered.inputs[0]
    states = {name for pair in prepared.lowered.graph.states for name in pair}
    content, names = prepared.float_file()
    observer = Observer(content, names - states)
    for hops in calibration_streams(samples, stream.hop_frames, stream.window_hops):
        held = observer.silence()
        for frames in to_file_order(np.stack(hops), source.layout, source.shape):
            held = observer.run([frames, *held])
    return observer.seen


class TfliteStream(Stream):
    """A streaming ``.tflite`` file in LiteRT, on one thread.

    Raises ``UserError`` for a file that LiteRT refuses or that is no streaming model.
    """

    def __init__(self, content: bytes) -> None:
        self._interpreter = make_interpreter(content)
        metadata = read_metadata(content)
        if WINDOW_KEY not in metadata:
            raise UserError("TFLite model: is no streaming model (export one from a space with padding: causal)")
        self._ends = Ends(self._interpreter, metadata)
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        super().__init__(
            hop_shape=self._ends.example_shape,
            window_hops=int(metadata[WINDOW_KEY]),
            labels=json.loads(metadata[LABELS_KEY]),
            silence=[quantized(np.zeros(detail["shape"], np.float32), detail) for detail in self._inputs[1:]],
        )

    def _run(self, frames: np.ndarray, states: Sequence[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        (row,) = self._ends.rows(frames[None])
        for detail, values in zip(self._inputs, (row, *states), strict=True):
            self._interpreter.set_tensor(detail["index"], values)
        self._interpreter.invoke()
        logits, *new = (self._interpreter.get_tensor(detail["index"]) for detail in self._outputs)
        return self._ends.logits(logits[None])[0], new
