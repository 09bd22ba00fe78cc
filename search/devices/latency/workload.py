"""What a runtime has to do for a graph: the terms that a latency model adds up."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..fusion import Kernel, fuse_kernels
from ..graph import Graph, Operator, pooled_values
from . import nchwc, qlinear, xnnpack


@dataclass(frozen=True)
class Work:
    """One piece of work: ``calls`` starts of a routine of ``kind`` that make ``macs`` and move ``nbytes``.

    ``terms`` are what the routine does in detail, each to be multiplied by a fitted cost; without them, and where their
    costs are not known, a roofline has to do. ``kernel`` is the place of the kernel among ``fuse_kernels(graph)``.
    """

    kind: str
    macs: int
    nbytes: int
    calls: int = 1
    terms: tuple[tuple[str, float], ...] = ()
    kernel: int = -1


Shape = tuple[int, ...]

# Blocked convolutions want both channel counts to be multiples of this.
_CHANNEL_ALIGNMENT = 4
# Of a core's own second cache: with more weights than this, each run fetches some of them from further away, with more
# than the other all of them.
_CACHE_BYTES, _TWICE_OVER_BYTES = 1.7e6, 2.5e6
_SMALL_BYTES, _LARGE_BYTES = 40_000, 1_500_000


def plain_work(graph: Graph) -> tuple[Work, ...]:
    """A piece of work for each kernel that is no view: its MACs, and each byte read or written once."""
    return tuple(
        Work(kernel.head.kind, kernel.macs, _traffic_bytes(graph, kernel), kernel=number)
        for number, kernel in enumerate(fuse_kernels(graph))
        if kernel.head.kind != "view"
    )


def onnx_runtime_work(graph: Graph) -> tuple[Work, ...]:
    """What ONNX Runtime's CPU kernels do, reorderings between layouts included.

    Two-dimensional convolutions of aligned channels run in a blocked layout (see ``nchwc.py``). All others are
    matrix products: a kernel longer than one, or strided, first copies its windows, and groups run one after another.
    A graph of int8 tensors goes to other kernels (see ``qlinear.py``).
    """
    if any(tensor.dtype in ("int8", "uint8") for tensor in graph.tensors.values()):
        return _operator_work(graph, qlinear.terms)
    plan = _BlockedPlan(graph)
    for number, kernel in enumerate(fuse_kernels(graph)):
        plan.add(number, kernel)
    return _with_far_weights(plan.works)


def litert_work(graph: Graph) -> tuple[Work, ...]:
    """What LiteRT's XNNPACK kernels do for a graph lowered to TFLite operators, in float32 or int8."""
    return _operator_work(graph, xnnpack.terms)


def _operator_work(graph: Graph, terms_of: Callable[[Graph, Operator], Mapping[str, float]]) -> tuple[Work, ...]:
    """Works for a runtime whose kernels each cost the same wherever they stand."""
    works = []
    for number, kernel in enumerate(fuse_kernels(graph)):
        terms = terms_of(graph, kernel.head)
        if terms:
            works.append(_work(kernel.head.kind, kernel.macs, _traffic_bytes(graph, kernel), number, terms))
    return _with_far_weights(works)


class _BlockedPlan:
    """Follows which tensors exist in the plain and which in the blocked layout; reorders where a reader needs it."""

    def __init__(self, graph: Graph) -> None:
        self.works: list[Work] = []
        self._graph = graph
        self._plain = set(graph.inputs)
        self._blocked: set[str] = set()
        self._convolved: set[str] = set()
        self._readers = Counter(name for operator in graph.operators for name in operator.inputs)

    def add(self, number: int, kernel: Kernel) -> None:
        head, source = kernel.head, kernel.head.inputs[0]
        shape = self._graph.tensors[source].shape
        if head.kind in ("conv", "depthwise_conv"):
            self._add_convolution(number, kernel)
        elif head.kind == "pool" and len(shape) == 4 and shape[1] % nchwc.BLOCK == 0:
            self._need_blocked(number, source)
            self._emit(number, kernel, "blocked_pool", _pool_terms("blocked_pool", head, self._graph))
            self._blocked.update(kernel.outputs)
        elif self._is_joined_sigmoid(head):
            for layout in (self._plain, self._blocked):
                layout.update(kernel.outputs if source in layout else ())
        elif head.kind == "elementwise" and self._are_blocked_alike(kernel.inputs):
            self._emit(number, kernel, "elementwise", self._value_terms("elementwise", kernel))
            self._blocked.update(kernel.outputs)
        else:
            for name in kernel.inputs:
                self._need_plain(number, name)
            self._plain.update(kernel.outputs)
            self._emit(number, kernel, head.kind, self._plain_terms(kernel))

    def _is_joined_sigmoid(self, head: Operator) -> bool:
        """Whether a convolution that nothing else reads applies this sigmoid itself."""
        source = head.inputs[0]
        name = str(head.attribute("operator")).removeprefix("aten.").lower()
        return name == "sigmoid" and source in self._convolved and self._readers[source] == 1

    def _are_blocked_alike(self, names: Sequence[str]) -> bool:
        return all(name in self._blocked for name in names) and len({self._graph.tensors[n].shape for n in names}) == 1

    def _add_convolution(self, number: int, kernel: Kernel) -> None:
        head = kernel.head
        source, weight = (self._graph.tensors[name].shape for name in head.inputs[:2])
        written = self._graph.tensors[kernel.outputs[0]].shape
        kind = _convolution_kind(head, source, weight, written)
        self._convolved.update(kernel.outputs)
        if kind in ("matrix", "grouped"):
            self._need_plain(number, head.inputs[0])
            self._plain.update(kernel.outputs)
            self._add_product(number, kernel, f"{kind}_conv{len(source) - 2}d")
            return
        if kind == "nchw":
            self._need_plain(number, head.inputs[0])
        else:
            self._need_blocked(number, head.inputs[0])
        rows, columns = convolution_axes(head, source, weight, written)
        if kind == "depthwise":
            terms = nchwc.depthwise_terms(written[1], rows, columns)
        elif kind == "pointwise":
            terms = nchwc.pointwise_terms(source[1], written[1], rows, columns)
        else:
            terms = nchwc.full_terms(source[1], written[1], rows, columns, blocked_input=kind == "nchwc")
        held = nchwc.BLOCK * 4
        moved = held * sum(nchwc.blocks(shape[1]) * math.prod(shape[2:]) for shape in (source, written))
        terms = {**terms, "activations.bytes": moved if moved > _SMALL_BYTES else 0}
        terms["activations.far_bytes"] = moved if moved > _LARGE_BYTES else 0
        self._emit(number, kernel, kind, terms)
        self._blocked.update(kernel.outputs)

    def _add_product(self, number: int, kernel: Kernel, kind: str) -> None:
        source, weight = (self._graph.tensors[name].shape for name in kernel.head.inputs[:2])
        written = self._graph.tensors[kernel.outputs[0]].shape
        window, positions = math.prod(weight[2:]), math.prod(written[2:])
        terms = {f"{kind}.macs": kernel.macs, f"{kind}.weights": math.prod(weight)}
        terms[f"{kind}.groups"] = source[1] // weight[1]
        if window > 1 or positions != math.prod(source[2:]):
            terms[f"{kind}.copied"] = source[1] * window * positions
            terms[f"{kind}.copies"] = source[1] * window * positions // written[-1]
        self._emit(number, kernel, kind, terms)

    def _plain_terms(self, kernel: Kernel) -> Mapping[str, float]:
        head, kind = kernel.head, kernel.head.kind
        if kind == "view":
            return {}
        if kind == "linear":
            source = next(name for name in head.inputs if name not in self._graph.constants)
            count = self._graph.tensors[source].elements // max(1, self._graph.tensors[source].shape[-1])
            written = self._graph.tensors[kernel.outputs[0]].shape[-1]
            many = "rows" if count > 1 else "vector"
            return {f"linear.{many}.macs": kernel.macs, f"linear.{many}.results": count * written}
        if kind == "pool":
            return _pool_terms("pool", head, self._graph)
        return self._value_terms(kind, kernel)

    def _value_terms(self, kind: str, kernel: Kernel) -> Mapping[str, float]:
        terms: dict[str, float] = {f"{kind}.bytes": _traffic_bytes(self._graph, kernel)}
        if kernel.macs:
            terms[f"{kind}.macs"] = kernel.macs
        return terms

    def _need_plain(self, number: int, name: str) -> None:
        if name in self._blocked and name not in self._plain:
            self._plain.add(name)
            self._reorder(number, "reorder_output", name)

    def _need_blocked(self, number: int, name: str) -> None:
        if name not in self._blocked:
            self._blocked.add(name)
            self._reorder(number, "reorder_input", name)

    def _reorder(self, number: int, kind: str, name: str) -> None:
        info = self._graph.tensors[name]
        values = nchwc.BLOCK * nchwc.blocks(info.shape[1]) * math.prod(info.shape[2:])
        self.works.append(_work(kind, 0, 2 * info.nbytes, number, {f"{kind}.values": values}))

    def _emit(self, number: int, kernel: Kernel, kind: str, terms: Mapping[str, float]) -> None:
        self.works.append(_work(kind, kernel.macs, _traffic_bytes(self._graph, kernel), number, terms))


def _convolution_kind(head: Operator, source: Shape, weight: Shape, written: Shape) -> str:
    grouped = weight[1] != source[1]
    if len(source) != 4 or written[1] % _CHANNEL_ALIGNMENT:
        return "grouped" if grouped else "matrix"
    if grouped:
        return "depthwise" if head.kind == "depthwise_conv" and written[1] == source[1] else "grouped"
    if source[1] < nchwc.BLOCK:
        return "nchw"
    if source[1] % _CHANNEL_ALIGNMENT:
        return "matrix"
    return "pointwise" if math.prod(weight[2:]) == 1 else "nchwc"


def convolution_axes(head: Operator, source: Shape, weight: Shape, written: Shape) -> tuple[nchwc.Axis, nchwc.Axis]:
    """Rows and columns of a convolution of channels-first tensors; attributes are named as in torch or in ONNX."""

    def pair(*names: str, default: int) -> tuple[int, int]:
        value = next((v for v in (head.attribute(name) for name in names) if isinstance(v, tuple)), (default, default))
        return value[0], value[1]

    strides, dilations = pair("stride", "strides", default=1), pair("dilation", "dilations", default=1)
    before = pair("padding", "pads", default=0)
    rows, columns = (
        nchwc.Axis(source[2 + i], weight[2 + i], strides[i], dilations[i], before[i], written[2 + i]) for i in (0, 1)
    )
    return rows, columns


def _pool_terms(kind: str, pool: Operator, graph: Graph) -> dict[str, float]:
    shape = graph.tensors[pool.inputs[0]].shape
    return {
        f"{kind}.values": pooled_values(pool, graph),
        f"{kind}.rows": math.prod(shape[1:-1]),
        f"{kind}.channels": shape[1],
    }


def _work(kind: str, macs: int, nbytes: int, number: int, terms: Mapping[str, float]) -> Work:
    kept = tuple((name, float(value)) for name, value in sorted(terms.items()) if value)
    return Work(kind, macs, nbytes, terms=((f"{kind}.calls", 1.0), *kept), kernel=number)


def _with_far_weights(works: list[Work]) -> tuple[Work, ...]:
    """The network-level correction: weights that do not fit the core's cache together are fetched in each run."""
    total = sum(_weight_bytes(work) for work in works)
    share = min(1.0, max(0.0, (total - _CACHE_BYTES) / (_TWICE_OVER_BYTES - _CACHE_BYTES)))
    if share == 0:
        return tuple(works)
    far = (("weights.far_bytes", share * _weight_bytes(work)) for work in works)
    return tuple(replace(work, terms=(*work.terms, term)) for work, term in zip(works, far, strict=True))


def _weight_bytes(work: Work) -> float:
    return dict(work.terms).get("weights.bytes", 0.0)


def total_terms(works: Sequence[Work]) -> dict[str, float]:
    """The sum of each term over the works of a network."""
    totals: defaultdict[str, float] = defaultdict(float)
    for work in works:
        for name, value in work.terms:
            totals[name] += value
    return dict(totals)


def _traffic_bytes(graph: Graph, kernel: Kernel) -> int:
    return sum(graph.tensors[name].nbytes for name in (*kernel.inputs, *kernel.outputs))
