"""What a runtime runs as one kernel: an operator and the simple activation that follows it."""

from collections import Counter
from dataclasses import dataclass, replace

from .graph import Graph, Operator

_HEADS = frozenset({"conv", "depthwise_conv", "linear", "matmul", "elementwise", "normalization"})
# One value in, one value out, no table: what runtimes apply while a result is still in a register.
_SIMPLE_ACTIVATIONS = frozenset(
    ("relu", "relu6", "hardtanh", "clip", "clamp", "clamp_min", "clamp_max", "leaky_relu", "leakyrelu")
)
_BATCH_NORMALIZATIONS = frozenset(("native_batch_norm", "_native_batch_norm_legit_no_training", "batchnormalization"))


@dataclass(frozen=True)
class Kernel:
    """One or more operators that run as one. ``inputs`` and ``outputs`` name what it reads and writes in memory."""

    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def head(self) -> Operator:
        """The operator that does the work."""
        return self.operators[0]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(operator.macs for operator in self.operators)


def fuse_kernels(graph: Graph) -> tuple[Kernel, ...]:
    """The kernels of a graph in the order they run, views among them.

    A simple activation joins the convolution, product, sum or normalisation before it, and a batch
    normalisation the convolution or product before it, when nothing else reads what stands between.
    """
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    readers.update(graph.outputs)
    kernels: list[list[Operator]] = []
    maker: dict[str, int] = {}  # tensor -> the kernel whose last operator wrote it
    for operator in graph.operators:
        # Of two results the other may come later than the kernel that would be joined.
        computed = [name for name in operator.inputs if name not in graph.constants]
        before = maker.get(computed[0]) if len(computed) == 1 else None
        joined = kernels[before] if before is not None else None
        if before is not None and joined and readers[joined[-1].outputs[0]] == 1 and _joins(operator, joined):
            joined.append(operator)
        else:
            before = len(kernels)
            kernels.append([operator])
        maker.update(dict.fromkeys(operator.outputs, before))
    return tuple(_kernel(operators) for operators in kernels)


def with_joined_pads(graph: Graph) -> Graph:
    """The graph with zeros around what one convolution alone reads as that convolution's own padding.

    So ONNX files have them and XNNPACK runs them; torch has to make a copy where there are more on one side.
    """
    readers = Counter(name for operator in graph.operators for name in operator.inputs)
    readers.update(graph.outputs)
    pads = {
        operator.outputs[0]: operator
        for operator in graph.operators
        if _is_zero_pad(operator, graph) and readers[operator.outputs[0]] == 1
    }
    if not pads:
        return graph
    operators = [
        _with_pad(operator, pads[operator.inputs[0]])
        if operator.kind in ("conv", "depthwise_conv") and operator.inputs[0] in pads
        else operator
        for operator in graph.operators
    ]
    return Graph.of(graph.tensors, operators, graph.inputs, graph.outputs, graph.weights)


def _is_zero_pad(operator: Operator, graph: Graph) -> bool:
    amounts = operator.attribute("pad")
    if operator.attribute("operator") != "aten.constant_pad_nd" or not isinstance(amounts, tuple):
        return False
    spatial = len(graph.tensors[operator.outputs[0]].shape) - 2
    return not operator.attribute("value", 0) and min(amounts) >= 0 and len(amounts) <= 2 * spatial


def _with_pad(convolution: Operator, pad: Operator) -> Operator:
    own, amounts = convolution.attribute("padding"), pad.attribute("pad")
    assert isinstance(own, tuple) and isinstance(amounts, tuple)
    # The last axis is padded first; what is behind follows from the size of the output.
    before = (*amounts[::2], *[0] * len(own))[: len(own)][::-1]
    padding = tuple(mine + more for mine, more in zip(own, before, strict=True))
    attributes = {**dict(convolution.attributes), "padding": padding}
    return replace(convolution, inputs=(pad.inputs[0], *convolution.inputs[1:]), attributes=tuple(attributes.items()))


def _joins(operator: Operator, kernel: list[Operator]) -> bool:
    name = _type_name(operator)
    if kernel[0].kind not in _HEADS or len(kernel[-1].outputs) != 1:
        return False
    if operator.kind == "activation":
        return name in _SIMPLE_ACTIVATIONS
    convolves = kernel[-1].kind in ("conv", "depthwise_conv", "linear")
    return convolves and operator.kind == "normalization" and name in _BATCH_NORMALIZATIONS


def _type_name(operator: Operator) -> str:
    """ "relu" for aten.relu, aten.relu_ and Relu."""
    return str(operator.attribute("operator", operator.name)).removeprefix("aten.").rstrip("_").lower()


def _kernel(operators: list[Operator]) -> Kernel:
    between = {name for operator in operators[:-1] for name in operator.outputs}
    inputs = dict.fromkeys(name for op in operators for name in op.inputs if name not in between)
    return Kernel(tuple(operators), tuple(inputs), operators[-1].outputs)
