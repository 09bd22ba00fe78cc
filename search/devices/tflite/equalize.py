"""Scaling the channels between two layers so that they share the range of one int8 scale well.

An activation has one scale, so a channel whose values are small keeps few of the 256 steps; networks that were fused
from branches have such channels. Scaling a channel up in the layer that writes it and down in the one that reads it
changes nothing in float (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv 1906.04721, section 4.1). The factors here come from the ranges seen, not from the weights alone.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Operator

_PRODUCTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# What lies between two layers and lets a factor of a channel through; a factor is positive, so a maximum does too.
_PASSING = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD")
_LARGEST_FACTOR = 1024.0


@dataclass(frozen=True)
class Observed:
    """What each channel (the last axis) of a tensor was seen to hold: arrays (channels)."""

    low: np.ndarray
    high: np.ndarray
    mean_square: np.ndarray

    def with_more(self, other: "Observed") -> "Observed":
        """What was seen in both; the mean squares are added up."""
        return Observed(
            np.minimum(self.low, other.low), np.maximum(self.high, other.high), self.mean_square + other.mean_square
        )

    def scaled(self, factors: np.ndarray) -> "Observed":
        """The same channels times ``factors``."""
        return Observed(self.low * factors, self.high * factors, self.mean_square * factors**2)


def equalize(
    graph: Graph, constants: Mapping[str, np.ndarray], observed: Mapping[str, Observed]
) -> tuple[dict[str, np.ndarray], dict[str, Observed]]:
    """The float constants, and what the activations then hold, with the channels between layers equalised.

    Only where one layer alone writes a tensor, by way of no activation but ReLU, and one layer alone reads it.
    """
    constants, observed = dict(constants), dict(observed)
    readers = _readers(graph)
    uses = Counter(name for operator in graph.operators for name in operator.inputs)
    for writer in graph.operators:
        path = _path(graph, writer, readers)
        if path is None or any(uses[name] != 1 for op in (writer, path[-1]) for name in op.inputs[1:]):
            continue
        between, reader = path[:-1], path[-1]
        tensors = [writer.outputs[0], *(op.outputs[0] for op in between)]
        factors = _factors(reader, constants[reader.inputs[1]], observed[tensors[0]])
        if factors is None:
            continue
        _scale(constants, writer.inputs[1], factors, 3 if _is_depthwise(writer) else 0)
        _scale(constants, writer.inputs[2], factors, 0)
        _scale(constants, reader.inputs[1], 1 / factors, constants[reader.inputs[1]].ndim - 1)
        observed |= {name: observed[name].scaled(factors) for name in tensors if name in observed}
    return constants, observed


def _readers(graph: Graph) -> dict[str, list[Operator]]:
    readers: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        for name in operator.inputs:
            readers.setdefault(name, []).append(operator)
    return readers


def _path(graph: Graph, writer: Operator, readers: Mapping[str, list[Operator]]) -> list[Operator] | None:
    """The operators from a layer to the next layer, that one included; None where a factor does not get through."""
    if writer.attribute("operator") not in _PRODUCTS[:2] or writer.attribute("fused_activation") not in (
        "NONE",
        "RELU",
    ):
        return None
    new_states = {new for _, new in graph.states}
    path: list[Operator] = []
    name = writer.outputs[0]
    while name not in graph.outputs:
        following = [operator for operator in readers.get(name, []) if not new_states.intersection(operator.outputs)]
        if len(following) != 1:
            return None
        (operator,) = following
        # What becomes a state comes back in its place.
        cut = {output for reader in readers[name] if reader is not operator for output in reader.outputs}
        if cut != _states_joined(graph, path[-1] if path else writer):
            return None
        path.append(operator)
        if operator.attribute("operator") in _PRODUCTS:
            return path if _reads_by_channel(graph, operator) else None
        passes = operator.attribute("operator") in _PASSING or _states_joined(graph, operator)
        if not passes or operator.attribute("fused_activation", "NONE") != "NONE":
            return None
        name = operator.outputs[0]
    return None


def _states_joined(graph: Graph, operator: Operator) -> set[str]:
    """The new values of the states that an operator joins to one activation along another axis than the channels.

    A factor of a channel gets through: a state starts as zeros, and its values are scaled as those of the activation.
    """
    new = dict(graph.states)
    states = [name for name in operator.inputs if name in new]
    last = len(graph.tensors[operator.outputs[0]].shape) - 1
    if operator.kind != "concat" or len(operator.inputs) != len(states) + 1 or operator.attribute("axis") in (-1, last):
        return set()
    return {new[name] for name in states}


def _reads_by_channel(graph: Graph, reader: Operator) -> bool:
    """Whether the last axis of the weight counts the channels that are read."""
    channels = graph.tensors[reader.inputs[0]].shape[-1]
    return graph.tensors[reader.inputs[1]].shape[-1] == channels and reader.attribute("depth_multiplier", 1) == 1


def _is_depthwise(operator: Operator) -> bool:
    return operator.attribute("operator") == "DEPTHWISE_CONV_2D"


def _factors(reader: Operator, weight: np.ndarray, seen: Observed) -> np.ndarray | None:
    """The factor of each channel, at least 1 and never so large that it would widen the range of the tensor."""
    largest = np.maximum(np.abs(seen.low), np.abs(seen.high)).astype(np.float64)
    if not largest.max() > 0:
        return None
    # Samples do not show all: a channel is left room, the more so the larger its factor would be.
    most = np.minimum((largest.max() / np.where(largest > 0, largest, largest.max())) ** 0.75, _LARGEST_FACTOR)
    if _is_depthwise(reader):
        return most  # each channel has a weight scale of its own: nothing is lost there
    # The error of a result is, for each channel c, that of the activation, step_a**2 * sum(w_c**2) / factor**2, and
    # that of the weight, sum over the outputs of step_w**2 * mean(a_c**2) * factor**2. Where they are equal, their sum
    # is least.
    outputs = weight.reshape(len(weight), -1, weight.shape[-1]).astype(np.float64)
    step_a = largest.max() / 255
    steps_w = np.abs(outputs).max(axis=(1, 2)) / 127
    of_activation = step_a**2 * (outputs**2).sum(axis=(0, 1))
    of_weight = (steps_w**2).sum() * outputs.shape[1] * seen.mean_square
    best = np.where(of_weight > 0, (of_activation / np.where(of_weight > 0, of_weight, 1)) ** 0.25, most)
    return np.clip(best, 1, most)


def _scale(constants: dict[str, np.ndarray], name: str, factors: np.ndarray, axis: int) -> None:
    shape = [-1 if place == axis else 1 for place in range(constants[name].ndim)]
    constants[name] = (constants[name] * factors.reshape(shape)).astype(np.float32)
