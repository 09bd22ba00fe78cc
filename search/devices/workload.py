"""What a runtime has to do for a graph: the terms that a latency model adds up."""

import math
from dataclasses import dataclass

from .fusion import Kernel, fuse_kernels
from .graph import Graph


@dataclass(frozen=True)
class Work:
    """One piece of work: ``calls`` starts of a routine of ``kind`` that make ``macs`` and move ``nbytes``."""

    kind: str
    macs: int
    nbytes: int
    calls: int = 1


# Output channels of a blocked convolution are padded to a full vector register of AVX-512.
_BLOCK_CHANNELS = 16
# Blocked convolutions want both channel counts to be multiples of this.
_CHANNEL_ALIGNMENT = 4


def plain_work(graph: Graph) -> tuple[Work, ...]:
    """A piece of work for each kernel that is no view: its MACs, and each byte read or written once."""
    kernels = (kernel for kernel in fuse_kernels(graph) if kernel.head.kind != "view")
    return tuple(Work(k.head.kind, k.macs, _traffic_bytes(graph, k)) for k in kernels)


def onnx_runtime_work(graph: Graph) -> tuple[Work, ...]:
    """What ONNX Runtime's CPU kernels do (inferred from timings: the rules with the least held-out error).

    Two-dimensional convolutions of aligned channels run in a blocked layout, padded to full blocks. All others are
    matrix products: a kernel longer than one, or strided, first copies its windows, and groups run one after another.
    """
    works: list[Work] = []
    for kernel in fuse_kernels(graph):
        if kernel.head.kind in ("conv", "depthwise_conv"):
            works.extend(_convolution_work(graph, kernel))
        elif kernel.head.kind != "view":
            works.append(Work(kernel.head.kind, kernel.macs, _traffic_bytes(graph, kernel)))
    return tuple(works)


def _convolution_work(graph: Graph, kernel: Kernel) -> list[Work]:
    source, weight = (graph.tensors[name].shape for name in kernel.head.inputs[:2])
    read, written = source[1], graph.tensors[kernel.outputs[0]].shape[1]
    positions = math.prod(graph.tensors[kernel.outputs[0]].shape[2:])
    window = math.prod(weight[2:])
    nbytes = _traffic_bytes(graph, kernel)
    depthwise = kernel.head.kind == "depthwise_conv"
    aligned = written % _CHANNEL_ALIGNMENT == 0 and (read % _CHANNEL_ALIGNMENT == 0 or read < _BLOCK_CHANNELS)
    if len(source) == 4 and aligned:
        padded = _rounded_up(written, _BLOCK_CHANNELS) * kernel.macs // written
        kind = "depthwise_conv2d" if depthwise else "pointwise_conv2d" if window == 1 else "conv2d"
        return [Work(kind, padded, nbytes)]
    rank = len(source) - 2
    product = f"grouped_conv{rank}d" if depthwise else f"product_conv{rank}d"
    works = [Work(product, kernel.macs, nbytes, calls=read if depthwise else 1)]
    if window > 1 or positions != math.prod(source[2:]):
        rows = positions // graph.tensors[kernel.outputs[0]].shape[-1]
        works.append(Work(f"windows{rank}d", 0, 4 * positions * window * read, calls=read * rows * window))
    return works


def _traffic_bytes(graph: Graph, kernel: Kernel) -> int:
    return sum(graph.tensors[name].nbytes for name in (*kernel.inputs, *kernel.outputs))


def _rounded_up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
