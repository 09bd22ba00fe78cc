"""The stages of a network with early exits as ONNX files, float32 and int8, and such files in ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..shipped import LABELS_KEY
from ..stages import Stages, stage_ends
from .onnx_quantize import quantise_by_feeds
from .onnx_runtime import BATCH_NAME, exported, make_session

if TYPE_CHECKING:
    from ....spaces.exits.network import MultiExit

_BATCH = 64


def stage_files(network: MultiExit, input_shape: Sequence[int], labels: Sequence[str] | None = None) -> list[bytes]:
    """Return an ONNX file for each stage of a fused network in eval mode on the CPU; each takes any batch."""
    import torch

    properties = {} if labels is None else {LABELS_KEY: json.dumps(list(labels))}
    files = []
    # A batch of one would be taken for a constant.
    example = torch.zeros(2, *input_shape)
    stages = network.stages()
    for number, stage in enumerate(stages, 1):
        batch = ({0: torch.export.Dim(BATCH_NAME)},)
        ends = stage_ends(number, len(stages))
        files.append(exported(stage, (example,), ends, properties, dynamic_shapes=batch))
        if number < len(stages):
            with torch.no_grad():
                example = stage(example)[0]
    return files


def quantise_stages(files: Sequence[bytes], samples: np.ndarray) -> list[bytes]:
    """Return the int8 form of each stage; what goes from stage to stage stays float32.

    ``samples`` (n, *input_shape) set the ranges, of a later stage as the maps that the int8 stages before it give.
    """
    quantised: list[bytes] = []
    batches = _batches(samples)
    for content in files:
        name = make_session(content).get_inputs()[0].name
        quantised.append(quantise_by_feeds(content, iter([{name: batch} for batch in batches]), {}))
        session = make_session(quantised[-1])
        batches = [session.run(None, {name: batch})[0] for batch in batches]
    return quantised


def _batches(features: np.ndarray) -> list[np.ndarray]:
    return np.array_split(features.astype(np.float32), max(1, len(features) // _BATCH))


class OnnxStages(Stages):
    """Stages in ONNX Runtime, on one thread; raises ``UserError`` for files that it refuses."""

    def __init__(self, files: Sequence[bytes]) -> None:
        self._sessions = [make_session(content) for content in files]
        self._inputs = [session.get_inputs()[0].name for session in self._sessions]

    def answers(self, features: np.ndarray) -> Iterator[np.ndarray]:
        return (logits[0] for logits in self._batch_answers(features[None]))

    def all_answers(self, features: np.ndarray) -> np.ndarray:
        parts = [np.stack(list(self._batch_answers(batch)), 1) for batch in _batches(features)]
        return np.concatenate(parts).astype(float)

    def _batch_answers(self, batch: np.ndarray) -> Iterator[np.ndarray]:
        x = batch.astype(np.float32)
        for session, name in zip(self._sessions, self._inputs, strict=True):
            *hidden, logits = session.run(None, {name: x})
            yield logits
            x = hidden[0] if hidden else x
