"""From the graph of torch operators to the graph of TFLite operators that would ship."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ....spaces.errors import UserError
from ..graph import Graph, Operator, TensorInfo
from ..memory import MemoryRules
from ..operator_order import best_order
from . import layout as layouts
from . import moves, pointwise, pools, products
from .builder import Builder, Recipe, Value
from .builtins import make_operator
from .layout import Layout, Shape
from .views import torch_name

PRECISIONS = ("fp32", "int8")

_Lowering = Callable[[Builder, Operator], None]
_LOWERINGS: dict[str, _Lowering] = {"convolution": products.convolution, "bmm": products.matmul}


def _register(lowering: _Lowering, names: str) -> None:
    _LOWERINGS.update(dict.fromkeys(names.split(), lowering))


_register(products.linear, "addmm mm")
_register(pools.pool, "avg_pool2d max_pool2d_with_indices max_pool2d _adaptive_avg_pool2d adaptive_max_pool2d")
_register(pointwise.binary, "add sub rsub mul div maximum minimum")
_register(
    pointwise.activation,
    "relu relu6 hardtanh clamp clamp_min clamp_max sigmoid tanh hardswish hardsigmoid silu gelu leaky_relu elu "
    "_prelu_kernel rsqrt sqrt exp log abs neg",
)
_register(pointwise.power, "pow")
_register(pointwise.softmax, "_softmax _safe_softmax _log_softmax")
_register(pointwise.layer_norm, "native_layer_norm")
_register(pointwise.batch_norm, "native_batch_norm _native_batch_norm_legit_no_training")
_register(moves.reduce, "mean amax")
_register(moves.pad, "constant_pad_nd")
_register(moves.concat, "cat")
_register(moves.cut, "slice select split split_with_sizes")
_register(moves.upsample, "upsample_nearest2d upsample_bilinear2d")


@dataclass(frozen=True)
class Lowered:
    """A TFLite graph, how its constants are made, and how its ends lie in memory.

    ``recipes`` are in float, by the names of the constants. ``inputs`` and ``outputs`` hold the TFLite tensor, its
    shape, its layout and its shape in torch.
    """

    graph: Graph
    recipes: dict[str, Recipe]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def lower(graph: Graph, precision: str, rules: MemoryRules | None = None) -> Graph:
    """The TFLite operators that compute what ``graph``, read by ``torch_reader``, computes.

    Channels last, activations of the ``precision`` ("fp32" or "int8"; int8 weights, int32 biases), activations fused
    where TFLite fuses them, views left out where they move nothing, in the order that needs the least memory by the
    ``rules`` of the target. Weights keep their names in torch. A state (see ``Graph.states``) lies in memory as its new
    value does, so that whoever runs the model copies bytes from one to the other.
    Raises ``UserError`` that names the operator for one that has no lowering, and for a batch other than one.
    """
    return lower_with_recipes(graph, precision, rules).graph


def lower_with_recipes(graph: Graph, precision: str, rules: MemoryRules | None = None) -> Lowered:
    """``lower``, with what is needed to write the file."""
    if precision not in PRECISIONS:
        raise UserError(f'precision "{precision}": TFLite files are written in fp32 or int8')
    if len(graph.inputs) != 1 and not graph.states:
        raise UserError(
            f"the model has {len(graph.inputs)} inputs; one is lowered to TFLite, and others only as states, whose new "
            "values are the outputs after the first"
        )
    for source in graph.inputs:
        shape = graph.tensors[source].shape
        if not shape or shape[0] != 1:
            raise UserError(f"input of shape {shape}: a batch other than one is not lowered (first axis of 1)")
    best = _best_attempt(graph, precision)
    graph = to_int8(best.graph) if precision == "int8" else best.graph
    # TFLite runs operators in the order of the file.
    return replace(best, graph=best_order(graph, rules))


def _best_attempt(graph: Graph, precision: str) -> Lowered:
    """The lowering with the forms of the inputs that cost least, one input after the other."""
    forms = [_input_forms(graph.tensors[name].shape) for name in graph.inputs]
    chosen = [candidates[0] for candidates in forms]
    best = _attempt(graph, precision, chosen)
    for place, candidates in enumerate(forms):
        for candidate in candidates[1:]:
            if _cost(best) == 0:
                return best
            other = [*chosen[:place], candidate, *chosen[place + 1 :]]
            lowered = _attempt(graph, precision, other)
            if _cost(lowered) < _cost(best):
                best, chosen = lowered, other
    return best


def _cost(lowered: Lowered) -> int:
    return sum(4 * (op.kind == "transpose") + (op.kind == "view") for op in lowered.graph.operators)


def _input_forms(shape: Shape) -> list[tuple[Layout, Shape]]:
    """How an input may lie: channels last as an image, or as torch has it. The one that costs least is taken."""
    forms = [(layouts.plain(shape), shape)]
    if len(shape) == 3:
        forms.insert(0, (layouts.of_axes(shape, (0, 2, 1)), (1, 1, shape[2], shape[1])))
        forms.append((layouts.plain(shape), (*shape, 1)))
    elif len(shape) == 4:
        forms.insert(0, (layouts.of_axes(shape, (0, 2, 3, 1)), (1, shape[2], shape[3], shape[1])))
    return forms


def _attempt(graph: Graph, precision: str, forms: Sequence[tuple[Layout, Shape]]) -> Lowered:
    builder = Builder(graph, precision, forms)
    starts = tuple(builder.value(name) for name in graph.inputs)
    for operator in graph.operators:
        if builder.view(operator):
            continue
        lowering = _LOWERINGS.get(torch_name(operator))
        if lowering is None or not operator.inputs:
            title = operator.attribute("operator", operator.name)
            raise UserError(f"{title} ({operator.name}) has no lowering to TFLite; write the model without it")
        lowering(builder, operator)
    outputs = [builder.value(name) for name in graph.outputs]
    if graph.states:
        outputs[1:] = [
            builder.moved(value, start.layout, start.shape, f"{name}.state")
            for name, value, start in zip(graph.outputs[1:], outputs[1:], starts[1:], strict=True)
        ]
    made = Graph.of(
        builder.tensors,
        builder.operators,
        [value.tensor for value in starts],
        [value.tensor for value in outputs],
        builder.weights,
    )
    recipes = {name: recipe for name, recipe in builder.recipes.items() if name in made.tensors}
    return Lowered(made, recipes, starts, tuple(outputs))


# Where TFLite's integer kernels want one scale for what they read and write, and where the scale of a result is given.
_SAME_SCALE_NAMES = (
    "AVERAGE_POOL_2D MAX_POOL_2D RESHAPE PAD PADV2 TRANSPOSE CONCATENATION SLICE MAXIMUM MINIMUM RELU6 REDUCE_MAX "
    "RESIZE_NEAREST_NEIGHBOR RESIZE_BILINEAR"
)
SAME_SCALE = frozenset(_SAME_SCALE_NAMES.split())
FIXED_SCALE = {
    "LOGISTIC": (1 / 256, -128),
    "SOFTMAX": (1 / 256, -128),
    "TANH": (1 / 128, 0),
    "LOG_SOFTMAX": (1 / 16, 127),
}


def to_int8(graph: Graph) -> Graph:
    """The float32 graph as int8: the same operators, and a QUANTIZE where parts of fixed scale are joined to others."""
    biases = {
        op.inputs[2]
        for op in graph.operators
        if op.attribute("operator") in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") and len(op.inputs) > 2
    }
    tensors = {name: _retyped(info, "int32" if name in biases else "int8") for name, info in graph.tensors.items()}
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.kind == "concat":
            operator = _with_one_scale(operator, operators, tensors)
        operators.append(operator)
    return Graph.of(tensors, operators, graph.inputs, graph.outputs, graph.weights)


def _retyped(info: TensorInfo, dtype: str) -> TensorInfo:
    if info.dtype != "float32":
        return info
    return replace(info, dtype=dtype, nbytes=info.elements * (1 if dtype == "int8" else 4))


def _with_one_scale(concat: Operator, before: list[Operator], tensors: dict[str, TensorInfo]) -> Operator:
    fixed = [fixed_scale_of(name, before) for name in concat.inputs]
    if len(set(fixed)) == 1:
        return concat
    inputs = list(concat.inputs)
    for place, (name, scale) in enumerate(zip(concat.inputs, fixed, strict=True)):
        if scale is not None:
            inputs[place] = f"{concat.name}.part{place}"
            tensors[inputs[place]] = replace(tensors[name], name=inputs[place])
            before.append(make_operator("QUANTIZE", inputs[place], [name], [inputs[place]], tensors, {}))
    return replace(concat, inputs=tuple(inputs))


def fixed_scale_of(name: str, operators: Iterable[Operator]) -> tuple[float, int] | None:
    """The given scale and zero point of a tensor, through the operators that keep a scale; None where it is free."""
    makers = {output: operator for operator in operators for output in operator.outputs}
    while name in makers:
        builtin = str(makers[name].attribute("operator"))
        if builtin in FIXED_SCALE:
            return FIXED_SCALE[builtin]
        if builtin not in SAME_SCALE:
            return None
        name = makers[name].inputs[0]
    return None
