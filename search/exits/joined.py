"""The stages of a network with early exits joined into one ONNX file, which stops early by itself.

What an exit is not sure of goes on into a branch of an ``If`` that holds the next stage and all after it; a branch
that is not taken is not computed. Scores are those of ``trainers/exits/policies.py``, in float64 as there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ...trainers.exits.thresholds import Threshold
from ..devices.host.onnx_runtime import make_session
from ..devices.latency.timing import time_single_runs
from ..devices.shipped import INPUT_NAME, LABELS_KEY, OUTPUT_NAME
from ..devices.stages import HIDDEN_NAME, Stages
from .runner import EarlyStopping

JOINED_FILE = "exits.onnx"
TEMPERATURES, THRESHOLDS = "temperatures", "thresholds"
PROBABILITIES, EXIT = "probabilities", "exit"


def joined_onnx(
    files: Sequence[bytes],
    temperatures: Sequence[float],
    policy: str,
    thresholds: Sequence[Threshold],
    labels: Sequence[str],
) -> bytes:
    """Return the file that runs stages, each an ONNX file, on one example until an exit is sure.

    It takes "features" (1, *input_shape) and gives "probabilities" (1, *steps, classes) and the "exit" that they are
    of, counted from 1. Two more inputs, float64, may be left out, for what is given here is their default:
    "temperatures" (exits,) and "thresholds" (exits - 1,), of which infinity switches an exit off. The policy is built
    in.
    """
    models = [_renamed(content, number) for number, content in enumerate(files, 1)]
    features = models[0].graph.input[0]
    features.type.tensor_type.shape.dim[0].dim_value = 1
    bars = [math.inf if bar is None else bar for bar in thresholds]
    # An initialiser that is an input as well is that input's default.
    defaults = [
        numpy_helper.from_array(np.array(values, np.float64), name)
        for name, values in ((TEMPERATURES, temperatures), (THRESHOLDS, bars))
    ]
    settings = [helper.make_tensor_value_info(value.name, onnx.TensorProto.DOUBLE, value.dims) for value in defaults]
    graph = _from_stage(models, 1, policy, "", None)
    graph.input.extend([features, *settings])
    graph.initializer.extend(defaults)
    joined = helper.make_model(graph, opset_imports=models[0].opset_import, ir_version=models[0].ir_version)
    helper.set_model_props(joined, {LABELS_KEY: json.dumps(list(labels))})
    return bytes(joined.SerializeToString())


def joined_latencies_us(content: bytes) -> list[float]:
    """Return the time of one run that leaves at each exit, the least of many on one thread of this host."""
    session = make_session(content)
    (features,) = session.get_inputs()
    rng = np.random.default_rng(0)
    feed = {features.name: rng.standard_normal(features.shape).astype(np.float32)}
    early = next(value.shape[0] for value in session.get_overridable_initializers() if value.name == THRESHOLDS)
    times = []
    for exit in range(early + 1):
        bars = np.full(early, np.inf)
        bars[exit:] = -np.inf
        times.append(time_single_runs(partial(session.run, None, {**feed, THRESHOLDS: bars})).min_us)
    return times


def joined_difference(
    content: bytes,
    stages: Stages,
    temperatures: Sequence[float],
    point: Mapping[str, Any],
    inputs: np.ndarray,
) -> float:
    """Return the largest absolute difference of probabilities between the file and its stages run one by one.

    Each of ``inputs`` (n, *input_shape) leaves at the operating ``point`` that was built in. Infinity where the exits
    differ.
    """
    session = make_session(content)
    one_by_one = EarlyStopping(stages, temperatures, point["policy"], point["thresholds"])
    largest = 0.0
    for features in inputs.astype(np.float32):
        probabilities, exit = session.run([PROBABILITIES, EXIT], {INPUT_NAME: features[None]})
        expected, place = one_by_one(features)
        if exit != place:
            return math.inf
        largest = max(largest, float(np.abs(probabilities[0] - expected).max()))
    return largest


def _renamed(content: bytes, number: int) -> Any:
    """A stage whose names no other stage has; it takes what the one before calls its hidden map."""
    model = onnx.compose.add_prefix(onnx.load_from_string(content), _of_stage(number))
    source = model.graph.input[0]
    takes = INPUT_NAME if number == 1 else _of_stage(number - 1, HIDDEN_NAME)
    for node in model.graph.node:
        node.input[:] = [takes if name == source.name else name for name in node.input]
    source.name = takes
    return model


def _of_stage(number: int, name: str = "") -> str:
    return f"stage{number}.{name}"


class _Nodes:
    """Operators as they are collected; names begin with a prefix, so that no branch hides what another has."""

    def __init__(self, prefix: str, answer_shape: Sequence[int], nodes: Sequence[Any] = ()) -> None:
        self.prefix, self.answer_shape = prefix, answer_shape
        self.nodes = list(nodes)

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [self.prefix + name], **attributes))
        return self.prefix + name

    def constant(self, value: float | Sequence[float], dtype: type, name: str) -> str:
        return self.add("Constant", [], name, value=numpy_helper.from_array(np.array(value, dtype)))

    def last_axis(self) -> str:
        return self.constant([-1], np.int64, "last_axis")

    def answer(self, probabilities: str, number: int) -> None:
        self.add("Identity", [probabilities], PROBABILITIES)
        self.constant(number, np.int64, EXIT)

    def graph(self, initializers: Sequence[Any] = ()) -> Any:
        types = {PROBABILITIES: onnx.TensorProto.DOUBLE, EXIT: onnx.TensorProto.INT64}
        ends = [
            helper.make_tensor_value_info(self.prefix + name, kind, self.answer_shape if name == PROBABILITIES else [])
            for name, kind in types.items()
        ]
        return helper.make_graph(self.nodes, f"{self.prefix}graph", [], ends, list(initializers))


Scored = tuple[str, tuple[str, str] | None]
"""A score, and what the next exit's score needs of this one."""


def _from_stage(models: Sequence[Any], number: int, policy: str, prefix: str, before: tuple[str, str] | None) -> Any:
    """The graph of a stage and of all after it."""
    stage = models[number - 1].graph
    _, *answer = (size.dim_value for size in stage.output[-1].type.tensor_type.shape.dim)
    nodes = _Nodes(prefix, (1, *answer), stage.node)
    logits = nodes.add("Cast", [_of_stage(number, OUTPUT_NAME)], "logits64", to=onnx.TensorProto.DOUBLE)
    place = nodes.constant(number - 1, np.int64, "place")
    temperature = nodes.add("Gather", [TEMPERATURES, place], "temperature")
    scaled = nodes.add("Div", [logits, temperature], "scaled")
    probabilities = nodes.add("Softmax", [scaled], "softmax", axis=-1)
    if number == len(models):
        nodes.answer(probabilities, number)
        return nodes.graph(stage.initializer)
    score, before = _SCORES[policy](nodes, probabilities, before)
    threshold = nodes.add("Gather", [THRESHOLDS, place], "threshold")
    sure = nodes.add("GreaterOrEqual", [score, threshold], "sure")
    stop = _Nodes(f"{prefix}stop.", nodes.answer_shape)
    stop.answer(probabilities, number)
    go_on = _from_stage(models, number + 1, policy, f"{prefix}on.", before)
    ends = [prefix + PROBABILITIES, prefix + EXIT]
    nodes.nodes.append(helper.make_node("If", [sure], ends, then_branch=stop.graph(), else_branch=go_on))
    return nodes.graph(stage.initializer)


def _confidence(nodes: _Nodes, probabilities: str, _before: tuple[str, str] | None) -> Scored:
    largest = nodes.add("ReduceMax", [probabilities, nodes.last_axis()], "largest", keepdims=0)
    return nodes.add("ReduceMean", [largest], "score", keepdims=0), None


def _certainty(nodes: _Nodes, probabilities: str, _before: tuple[str, str] | None) -> Scored:
    """``1 - H / ln c``."""
    least = nodes.constant(np.finfo(float).tiny, np.float64, "tiny")
    logarithms = nodes.add("Log", [nodes.add("Max", [probabilities, least], "positive")], "logarithms")
    products = nodes.add("Mul", [probabilities, logarithms], "products")
    negative = nodes.add("ReduceSum", [products, nodes.last_axis()], "negative_entropy", keepdims=0)
    most = nodes.constant(math.log(nodes.answer_shape[-1]), np.float64, "most")
    share = nodes.add("ReduceMean", [nodes.add("Div", [negative, most], "shares")], "share", keepdims=0)
    return nodes.add("Add", [nodes.constant(1.0, np.float64, "one"), share], "score"), None


def _agreement(nodes: _Nodes, probabilities: str, before: tuple[str, str] | None) -> Scored:
    """How many exits in a row name the same class."""
    named = nodes.add("ArgMax", [probabilities], "named", axis=1, keepdims=0)
    one = nodes.constant([1.0], np.float64, "one")
    run = one
    if before is not None:
        same = nodes.add("Equal", [named, before[0]], "same")
        kept = nodes.add("Mul", [before[1], nodes.add("Cast", [same], "agrees", to=onnx.TensorProto.DOUBLE)], "kept")
        run = nodes.add("Add", [one, kept], "run")
    return nodes.add("Squeeze", [run], "score"), (named, run)


_SCORES: Mapping[str, Callable[[_Nodes, str, tuple[str, str] | None], Scored]] = {
    "confidence": _confidence,
    "entropy": _certainty,
    "patience": _agreement,
}
