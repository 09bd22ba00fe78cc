import pytest
import torch
from torch import nn

from repareto.search.devices.graph import Graph, Operator, TensorInfo, pooled_values
from repareto.search.devices.host.onnx_runtime import onnx_bytes
from repareto.search.devices.readers.onnx_reader import read_onnx
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.tflite.lower import lower


def tensor(name: str, *shape: int, dtype: str = "float32") -> TensorInfo:
    count = 1
    for size in shape:
        count *= size
    return TensorInfo(name, shape, dtype, 4 * count)


def chain(names: tuple[str, str, str] = ("x", "w", "y"), stride: int = 1, width: int = 8) -> Graph:
    x, w, y = names
    tensors = {x: tensor(x, 1, 4, 10), w: tensor(w, width, 4, 1), y: tensor(y, 1, width, 10)}
    conv = Operator("conv", f"conv of {x}", (x, w), (y,), macs=320, attributes=(("stride", stride),))
    return Graph.of(tensors, [conv], [x], [y], [w])


def test_sums() -> None:
    graph = chain()
    assert (graph.macs, graph.parameters, graph.weight_bytes, graph.unknown) == (320, 32, 128, ())
    assert graph.constants == {"w"}


def test_digest_is_blind_to_names_and_sees_shapes_attributes_and_wiring() -> None:
    digest = chain().digest
    assert chain(("features", "kernel", "logits")).digest == digest
    assert chain(stride=2).digest != digest
    assert chain(width=9).digest != digest
    tensors = {name: tensor(name, 1, 4) for name in "abcd"}
    first = [Operator("elementwise", "s", ("a", "b"), ("c",)), Operator("elementwise", "t", ("c", "b"), ("d",))]
    other = [Operator("elementwise", "s", ("a", "b"), ("c",)), Operator("elementwise", "t", ("c", "a"), ("d",))]
    assert Graph.of(tensors, first, "ab", "d").digest != Graph.of(tensors, other, "ab", "d").digest


def test_digest_ignores_the_order_in_which_attributes_were_given() -> None:
    tensors = {name: tensor(name, 1, 4) for name in "ab"}
    graphs = [
        Graph.of(tensors, [Operator("pool", "p", ("a",), ("b",), attributes=pairs)], "a", "b")
        for pairs in ((("kernel", 2), ("stride", 1)), (("stride", 1), ("kernel", 2)))
    ]
    assert graphs[0].digest == graphs[1].digest


def test_what_no_output_needs_is_left_out() -> None:
    tensors = {name: tensor(name, 2, 2) for name in ("x", "w", "v", "y", "indices", "dead")}
    operators = [
        Operator("pool", "pool", ("x",), ("y", "indices")),
        Operator("linear", "unused", ("x", "v"), ("dead",), macs=8),
    ]
    graph = Graph.of(tensors, operators, ["x"], ["y"], ["w", "v"])
    assert [op.outputs for op in graph.operators] == [("y",)]
    assert (graph.macs, graph.weights) == (0, ())
    assert set(graph.tensors) == {"x", "y"}


def test_scalars_and_shapes_are_no_weights() -> None:
    tensors = {
        "x": tensor("x", 1, 4),
        "half": tensor("half"),
        "shape": tensor("shape", 2, dtype="int64"),
        "y": tensor("y", 4, 1),
    }
    graph = Graph.of(
        tensors, [Operator("elementwise", "m", ("x", "half", "shape"), ("y",))], "x", "y", ["half", "shape"]
    )
    assert graph.parameters == 0


def test_unknown_operators_are_listed_once_by_type() -> None:
    tensors = {name: tensor(name, 1) for name in "abc"}
    kind = (("operator", "aten.erfinv"),)
    operators = [
        Operator("other", "n0", ("a",), ("b",), attributes=kind),
        Operator("other", "n1", ("b",), ("c",), attributes=kind),
    ]
    assert Graph.of(tensors, operators, "a", "c").unknown == ("aten.erfinv",)


@pytest.mark.parametrize(
    ("pool", "values"),
    [
        (nn.AvgPool2d((1, 12)), 4 * 12),
        (nn.AvgPool2d((1, 5), stride=(1, 1)), 4 * 8 * 5),
        (nn.MaxPool2d((1, 3), stride=(1, 2)), 4 * 5 * 3),
        (nn.AdaptiveAvgPool2d(1), 4 * 12),
    ],
)
def test_a_pool_takes_a_value_in_as_often_as_a_window_holds_it(pool: nn.Module, values: int) -> None:
    shape = (1, 4, 1, 12)
    graph = read_module(pool.eval(), shape)
    for read in (graph, lower(graph, "fp32"), read_onnx(onnx_bytes(pool, torch.zeros(shape)))):
        (operator,) = (operator for operator in read.operators if operator.kind in ("pool", "reduce"))
        assert pooled_values(operator, read) == values
