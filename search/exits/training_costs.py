"""What training would take on a device, counted on the graph of a network: what backward needs is kept until then."""

from __future__ import annotations

from ..devices.graph import Graph

_INPUTS_KEPT = ("conv", "depthwise_conv", "linear", "matmul", "normalization")
"""Kinds of operators whose gradients need what they read; those of sums, averages and changes of form need nothing."""
_OUTPUTS_KEPT = ("activation", "softmax")
COPIES = 4
"""Of each weight: itself, its gradient and the two moments of Adam."""


def fine_tuning_memory_bytes(graph: Graph, batch: int) -> int:
    """Return the memory of training all weights with Adam on batches of an example that ``graph`` is of, in float32.

    The least: what backward reads of all layers, weights and what the optimiser keeps of them. Gradients of maps, of
    which two are alive at a time, come on top.
    """
    kept = {name for operator in graph.operators if operator.kind in _INPUTS_KEPT for name in operator.inputs}
    kept |= {name for operator in graph.operators if operator.kind in _OUTPUTS_KEPT for name in operator.outputs}
    kept -= set(graph.weights)
    maps = sum(graph.tensors[name].nbytes for name in kept if name in graph.tensors)
    return batch * maps + COPIES * sum(graph.tensors[name].nbytes for name in graph.weights)
