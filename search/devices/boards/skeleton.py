"""The file of a model that has no weights yet: what its size and structure cost is known before it is trained."""

import math

import numpy as np

from ....spaces.errors import UserError
from ..graph import Graph
from ..tflite.quantize import quantize
from ..tflite.write import write_tflite

_SEED = 0


def skeleton(graph: Graph) -> bytes:
    """The ``.tflite`` file of an int8 graph of TFLite operators with seeded random weights and made-up scales.

    The weights are uniform, which compresses worst: a trained model's need as much flash or less, to the chance in a
    draw. Raises ``UserError`` for a graph that is not int8, and for operators that are not known here.
    """
    types = {info.dtype for info in graph.tensors.values()}
    if not types <= {"int8", "int32"}:
        raise UserError(f"a skeleton is made of int8 graphs; this one holds {', '.join(sorted(types))}")
    if graph.unknown:
        raise UserError(f"a skeleton cannot be made with {graph.unknown[0]}; profile the .tflite file itself")
    rng = np.random.default_rng(_SEED)
    # The other constants are axes and shapes, which the operators' attributes hold.
    constants = {}
    for name in graph.weights:
        shape = graph.tensors[name].shape
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 1
        constants[name] = (rng.uniform(-1, 1, shape) / math.sqrt(fan_in)).astype(np.float32)
    integers, scales = quantize(graph, constants, {})
    return write_tflite(graph, integers, scales, {})
