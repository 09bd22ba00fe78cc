"""The torch operators that compute nothing: they change a shape, or the order of the axes."""

from collections import Counter
from collections.abc import Mapping

from ..graph import Graph, Operator
from .layout import Shape

# Other names for the same values: they only change the torch shape, or the order of its axes.
_VIEW_NAMES = (
    "view _unsafe_view reshape _reshape_copy unsqueeze squeeze detach alias clone lift_fresh _to_copy transpose "
    "permute t expand contiguous"
)
VIEWS = frozenset(_VIEW_NAMES.split())


def torch_name(operator: Operator) -> str:
    """ "relu" for aten.relu and aten.relu_."""
    name = str(operator.attribute("operator", operator.name)).removeprefix("aten.")
    return name if name.startswith("_") else name.rstrip("_")


def permutation(operator: Operator, rank: int) -> Shape | None:
    """The order of the axes after a torch permutation; None for an operator that is none."""
    name = torch_name(operator)
    if name == "permute":
        dims = operator.attribute("dims")
        assert isinstance(dims, tuple)
        return tuple(axis % rank for axis in dims)
    order = list(range(rank))
    if name == "t" and rank == 2:
        return (1, 0)
    if name != "transpose":
        return None
    first, second = (int(str(operator.attribute(key))) % rank for key in ("dim0", "dim1"))
    order[first], order[second] = order[second], order[first]
    return tuple(order)


def roots_of(graph: Graph) -> dict[str, str]:
    """For each view, the tensor whose values it shows."""
    roots: dict[str, str] = {}
    for operator in graph.operators:
        if torch_name(operator) in VIEWS and operator.inputs:
            source = operator.inputs[0]
            roots[operator.outputs[0]] = roots.get(source, source)
    return roots


def count_readers(graph: Graph, roots: Mapping[str, str]) -> Counter[str]:
    """How many operators and ends of the model read each tensor, itself or a view of it."""
    readers: Counter[str] = Counter(roots.get(name, name) for name in graph.outputs)
    for operator in graph.operators:
        if torch_name(operator) not in VIEWS:
            readers.update(roots.get(name, name) for name in operator.inputs)
    return readers
