"""What does not run well on a target, and what to write instead.

Each rule reads the graph alone: it says where a construct stands, why it is dear there and what computes the same for
less. Nothing here changes a figure. What is dear on which target stands in ``traits.py``.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..fusion import Kernel, fuse_kernels
from ..graph import Graph, Operator
from .layers import kernel_name, type_name
from .traits import ChannelSteps, Traits

_MEANS = frozenset({"mean", "reducemean", "globalaveragepool"})
_LAYER_NORMS = frozenset({"native_layer_norm", "layer_norm", "layernormalization", "native_group_norm"})
# What layer norm is made of in TFLite, which has none of its own; nothing else here computes it.
_LAYER_NORM_PART = "RSQRT"
_CONVOLUTIONS = frozenset({"conv", "depthwise_conv"})
# Less than this share of a network's work is not worth a line.
_SMALLEST_WASTE = 0.1
_MOST_LAYERS_NAMED = 4


@dataclass(frozen=True)
class Advice:
    """One thing to change: the ``layers`` it is about, ``why`` it is dear there, and what to write ``instead``.

    ``cost`` says in words what it costs here, where that is known.
    """

    rule: str
    layers: tuple[str, ...]
    why: str
    instead: str
    cost: str | None = None

    def __str__(self) -> str:
        named = ", ".join(self.layers[:_MOST_LAYERS_NAMED])
        more = len(self.layers) - _MOST_LAYERS_NAMED
        where = f"{named} and {more} more" if more > 0 else named
        cost = f" ({self.cost})" if self.cost else ""
        return f"{where}: {self.why}{cost}; {self.instead}"


@dataclass(frozen=True)
class _Case:
    """What the rules look at."""

    graph: Graph
    kernels: tuple[Kernel, ...]
    times_us: Sequence[float] | None
    traits: Traits
    on_processor: frozenset[str]

    def advice(
        self, rule: str, found: Sequence[Kernel], why: str, instead: str, nbytes: int | None = None
    ) -> list[Advice]:
        if not found:
            return []
        names = tuple(dict.fromkeys(kernel_name(self.graph, kernel) for kernel in found))
        costs = [f"{nbytes} bytes"] if nbytes is not None else []
        if self.times_us is not None and sum(self.times_us) > 0:
            chosen = set(found)
            spent_us = sum(time for kernel, time in zip(self.kernels, self.times_us, strict=True) if kernel in chosen)
            costs.append(f"{spent_us / sum(self.times_us):.0%} of the time")
        return [Advice(rule, names, why, instead, ", ".join(costs) or None)]

    def written_bytes(self, kernel: Kernel) -> int:
        return sum(self.graph.tensors[name].nbytes for name in kernel.outputs)


def advise(
    graph: Graph, traits: Traits, times_us: Sequence[float] | None = None, on_processor: Iterable[str] = ()
) -> tuple[Advice, ...]:
    """What to change in a model for a target, the gravest first.

    ``graph`` is the lowered graph of a device, ``times_us`` the time of each of its kernels where that is known, and
    ``on_processor`` the operators that the target's own tool keeps off the accelerator.
    """
    case = _Case(graph, fuse_kernels(graph), times_us, traits, frozenset(on_processor))
    return tuple(advice for rule in _RULES for advice in rule(case))


def _unknown_operators(case: _Case) -> list[Advice]:
    found = [kernel for kernel in case.kernels if kernel.head.kind == "other"]
    return case.advice(
        "unknown-operator",
        found,
        f"no figure covers {', '.join(case.graph.unknown)}",
        "write it with operators that are known, or trust measured figures only",
    )


def _fallback(case: _Case) -> list[Advice]:
    operators = case.traits.operators
    if operators is None:
        return []
    found = [
        kernel
        for kernel in case.kernels
        if _is_tflite(kernel.head) and kernel.head.kind != "other"
        if type_name(kernel.head) in case.on_processor or type_name(kernel.head) not in operators
    ]
    names = ", ".join(dict.fromkeys(type_name(kernel.head) for kernel in found))
    why = f"{names} runs on the CPU beside the accelerator, which waits for it"
    instead = "keep to the operators, and within the limits, that `vela --supported-ops-report` lists"
    return case.advice("cpu-fallback", found, why, instead)


def _spatial_mean(case: _Case) -> list[Advice]:
    if case.traits.mean is None:
        return []
    found = [kernel for kernel in case.kernels if _is_spatial_mean(case.graph, kernel.head)]
    instead = "write an average pool of fixed size, nn.AvgPool2d((height, width)), and flatten"
    return case.advice("spatial-mean", found, case.traits.mean, instead)


def _pad(case: _Case) -> list[Advice]:
    if case.traits.pad is None:
        return []
    found = [kernel for kernel in case.kernels if kernel.head.kind == "pad"]
    instead = (
        "give the padding to the convolution: half of the kernel at stride 1, and inputs that strides divide evenly"
    )
    if any(_is_tflite(kernel.head) for kernel in found):
        instead = "pad as TFLite's SAME does: half of an odd kernel at stride 1, the odd zero behind at stride 2"
    nbytes = max((case.written_bytes(kernel) for kernel in found), default=0)
    return case.advice("pad-buffer", found, case.traits.pad, instead, nbytes)


def _layer_norm(case: _Case) -> list[Advice]:
    if case.traits.layer_norm is None:
        return []
    found = [
        kernel
        for kernel in case.kernels
        if type_name(kernel.head).lower() in _LAYER_NORMS or type_name(kernel.head) == _LAYER_NORM_PART
    ]
    instead = "write nn.BatchNorm behind a convolution or linear layer, which folds away"
    return case.advice("layer-norm", found, case.traits.layer_norm, instead)


def _one_dimensional(case: _Case) -> list[Advice]:
    if case.traits.one_dimensional is None:
        return []
    found = [
        kernel
        for kernel in case.kernels
        if kernel.head.kind in _CONVOLUTIONS and len(case.graph.tensors[kernel.head.inputs[0]].shape) == 3
    ]
    instead = "write nn.Conv2d of height 1 on (batch, channels, 1, time)"
    return case.advice("one-dimensional", found, case.traits.one_dimensional, instead)


def _transposes(case: _Case) -> list[Advice]:
    if case.traits.transpose is None:
        return []
    found = [kernel for kernel in case.kernels if kernel.head.kind == "transpose"]
    nbytes = sum(case.written_bytes(kernel) for kernel in found)
    return case.advice("transpose", found, case.traits.transpose, "keep one order of axes from input to output", nbytes)


def _channels(case: _Case) -> list[Advice]:
    steps = case.traits.steps
    if case.traits.channels is None:
        return []
    given = _given(case.graph)
    wasted: dict[Kernel, int] = {}
    for kernel in case.kernels:
        if kernel.head.kind in _CONVOLUTIONS and kernel.macs:
            wasted[kernel] = _padded_macs(case.graph, kernel, steps, given) - kernel.macs
    share = sum(wasted.values()) / max(1, case.graph.macs + sum(wasted.values()))
    if share < _SMALLEST_WASTE:
        return []
    worst = sorted((kernel for kernel in wasted if wasted[kernel]), key=lambda kernel: -wasted[kernel])
    why = (
        f"channels are no multiple of {steps.largest}: {case.traits.channels}; up to {share:.0%} of the work is padding"
    )
    return case.advice("channels", worst, why, f"choose widths in steps of {steps.largest}")


_RULES: tuple[Callable[[_Case], list[Advice]], ...] = (
    _unknown_operators,
    _fallback,
    _layer_norm,
    _spatial_mean,
    _pad,
    _one_dimensional,
    _transposes,
    _channels,
)


def _is_tflite(operator: Operator) -> bool:
    """Whether an operator is called as TFLite calls it, and so has its channels last."""
    name = type_name(operator)
    return name.isupper()


def _is_spatial_mean(graph: Graph, operator: Operator) -> bool:
    """Whether a mean leaves of an image or a sequence nothing but its channels."""
    if operator.kind != "reduce" or type_name(operator).lower() not in _MEANS:
        return False
    before = graph.tensors[operator.inputs[0]].shape
    channels = len(before) - 1 if _is_tflite(operator) else 1
    axes = operator.attribute("axes", operator.attribute("dim"))
    if isinstance(axes, tuple) and channels in {axis % len(before) for axis in axes}:
        return False
    return (
        len(before) >= 3
        and math.prod(graph.tensors[operator.outputs[0]].shape) == math.prod(before[:1]) * before[channels]
    )


def _given(graph: Graph) -> frozenset[str]:
    """The inputs of a network, also padded or in another order: nobody chose how many channels those have."""
    given = set(graph.inputs)
    for operator in graph.operators:
        if operator.kind in ("pad", "transpose", "view", "copy") and operator.inputs[0] in given:
            given.update(operator.outputs)
    return frozenset(given)


def _padded_macs(graph: Graph, kernel: Kernel, steps: ChannelSteps, given: frozenset[str]) -> int:
    """The MACs of a convolution with its channels rounded up to whole steps, but for those of the network's input."""
    axis = -1 if _is_tflite(kernel.head) else 1
    source = kernel.head.inputs[0]
    read, written = graph.tensors[source].shape[axis], graph.tensors[kernel.outputs[0]].shape[axis]
    if kernel.head.kind == "depthwise_conv":
        return _scaled(kernel.macs, written, steps.depthwise)
    padded = _scaled(kernel.macs, written, steps.written)
    if source in given:
        return padded
    outputs = math.prod(graph.tensors[kernel.outputs[0]].shape)
    return _scaled(padded, kernel.macs // outputs if steps.joins_windows else read, steps.read)


def _scaled(macs: int, size: int, step: int) -> int:
    """``macs`` for ``size`` rounded up to a multiple of ``step``."""
    return macs * (math.ceil(size / step) * step) // size
