"""The stages of a network with early exits as ``.tflite`` files.

The network is lowered, calibrated and quantised as a whole and then cut, so that the map that one stage gives is, byte
for byte, what the next one takes: one layout, one scale. A file a stage, for TensorFlow Lite Micro runs the first
subgraph of a file and Vela compiles no other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from ....spaces.exits.network import MultiExit
from ..graph import Graph
from ..memory import MemoryRules
from ..operator_order import best_order
from ..shipped import LABELS_KEY
from ..stages import stage_ends
from .builder import Value
from .convert import described_ends, in_precision, observe_samples, prepare
from .lower import Lowered
from .runtime import ENDS_KEY
from .write import write_tflite


def convert_stages(
    network: MultiExit,
    input_shape: Sequence[int],
    precision: str,
    samples: np.ndarray | None = None,
    labels: Sequence[str] = (),
    rules: MemoryRules | None = None,
) -> list[bytes]:
    """The ``.tflite`` file of each stage of a fused network, as ``convert`` makes that of a network.

    ``input_shape`` (1, ...) is of the first stage. A file gives the map for the next one and then the logits, the last
    one logits alone.
    """
    prepared = prepare(_EveryEnd(network), input_shape, precision, rules)
    constants, scales = in_precision(prepared, observe_samples(prepared, samples))
    stages = _cut(prepared.lowered, rules)
    notes = {LABELS_KEY: json.dumps(list(labels))}
    return [
        write_tflite(
            graph, constants, scales, {ENDS_KEY: described_ends(*ends), **notes}, stage_ends(number, len(stages))
        )
        for number, (graph, ends) in enumerate(stages, 1)
    ]


class _EveryEnd(nn.Module):
    """Inputs (1, ...) -> what each stage gives, one after the other: its map and its logits, of the last logits."""

    def __init__(self, network: MultiExit) -> None:
        super().__init__()
        self.stages = nn.ModuleList(network.stages())
        self.training = network.training

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        ends: list[Tensor] = []
        *early, last = self.stages
        for stage in early:
            x, logits = stage(x)
            ends += [x, logits]
        return (*ends, last(x))


_Stage = tuple[Graph, tuple[Sequence[Value], Sequence[Value]]]


def _cut(lowered: Lowered, rules: MemoryRules | None) -> list[_Stage]:
    """The graph of each stage, in the order of operators that needs the least memory, with its inputs and outputs."""
    graph, outputs = lowered.graph, lowered.outputs
    sources = [*lowered.inputs, *outputs[:-1:2]]
    stages: list[_Stage] = []
    for number, source in enumerate(sources):
        ends = outputs[2 * number : 2 * number + 2]
        # What makes the source is of the stages before; all else that no end needs goes, too.
        operators = [operator for operator in graph.operators if source.tensor not in operator.outputs]
        names = [value.tensor for value in ends]
        stage = Graph.of(graph.tensors, operators, [source.tensor], names, graph.weights)
        assert stage.constants <= graph.constants, "a stage needs more of those before it than their map"
        stages.append((best_order(stage, rules), ([source], ends)))
    return stages
