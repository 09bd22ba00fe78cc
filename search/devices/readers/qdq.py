"""Quantised ONNX models in QDQ form: which operators run on integers."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from ..graph import Operator

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def join_quantised(
    operators: Sequence[Operator], constants: Collection[str], outputs: Collection[str]
) -> Iterator[Operator]:
    """The operators as a runtime joins them: integers in and out where pairs of conversions stand around.

    An operator between DequantizeLinear and QuantizeLinear reads and writes what these do, and they go. Conversions at
    the model's ends and around what stays float32 are left; those that nothing reads are for ``Graph.of`` to drop.
    """
    readers = Counter(name for operator in operators for name in operator.inputs)
    before = {op.outputs[0]: op.inputs[0] for op in operators if _is(op, DEQUANTIZE)}
    after = {op.inputs[0]: op.outputs[0] for op in operators if _is(op, QUANTIZE) and readers[op.inputs[0]] == 1}
    joined: set[str] = set()
    for operator in operators:
        activations = [name for name in operator.inputs if name not in constants]
        if _is(operator, DEQUANTIZE) or (_is(operator, QUANTIZE) and operator.inputs[0] not in joined):
            yield operator
        elif _is(operator, QUANTIZE):
            continue
        elif all(name in before for name in activations) and all(
            name in after and name not in outputs for name in operator.outputs
        ):
            joined.update(operator.outputs)
            inputs = tuple(before.get(name, name) for name in operator.inputs)
            yield replace(operator, inputs=inputs, outputs=tuple(after[name] for name in operator.outputs))
        else:
            yield operator


def _is(operator: Operator, name: str) -> bool:
    return operator.attribute("operator") == name
