from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from repareto.search.devices.host.onnx_runtime import export_onnx
from repareto.search.devices.memory import plan_memory
from repareto.search.devices.readers.onnx_reader import read_onnx
from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.errors import UserError


class Narrow(nn.Module):
    """One-dimensional, residual, strided, depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv1d(8, 12, 3, padding=1), nn.Conv1d(12, 12, 9, padding=4, groups=12)
        self.point, self.down = nn.Conv1d(12, 12, 1), nn.Conv1d(12, 16, 5, stride=2, padding=2)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (self.point(self.deep(x).relu()) + x).relu()
        return self.head(self.down(x).relu().mean(-1))


class Wide(nn.Module):
    """Two-dimensional, with padding (not of zeros, which the exporter would fold), pools and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(1, 6, (10, 4), stride=2), nn.Conv2d(6, 5, 3, dilation=2, padding=2)
        self.head = nn.Linear(11, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.one(F.pad(x, (1, 2, 3, 4), value=1.0)).relu(), 2)
        x = torch.cat([x, self.two(x).relu()], 1)
        return self.head(x.transpose(1, 2).mean((1, 3))).softmax(-1)


@pytest.mark.parametrize(("module", "shape"), [(Narrow(), (1, 8, 30)), (Wide(), (1, 1, 40, 20))], ids=["1d", "2d"])
def test_torch_and_onnx_agree(module: nn.Module, shape: tuple[int, ...], tmp_path: Path) -> None:
    module.eval()
    export_onnx(module, torch.randn(shape), tmp_path / "model.onnx")
    from_onnx, from_torch = read_onnx(tmp_path / "model.onnx"), read_module(module, shape)
    assert from_onnx.unknown == from_torch.unknown == ()
    assert (from_onnx.macs, from_onnx.parameters) == (from_torch.macs, from_torch.parameters)
    assert plan_memory(from_onnx).peak_bytes == plan_memory(from_torch).peak_bytes


def model(
    nodes: list[Any],
    weights: dict[str, np.ndarray] | None = None,
    shape: Sequence[int | str] = ("batch", 4, 6),
    out: Sequence[int | str] = ("batch", "channels", "time"),
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.example", 1)]
    made: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    return made


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("node", "weights", "shape", "kind", "macs"),
    [
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), {"w": zeros(5, 4)}, (1, 4), "linear", 4 * 5),
        (helper.make_node("MatMul", ["x", "w"], ["y"]), {"w": zeros(6, 5)}, (1, 4, 6), "linear", 4 * 6 * 5),
        (helper.make_node("MatMul", ["x", "x"], ["y"]), {}, (1, 4, 4), "matmul", 4 * 4 * 4),
        (helper.make_node("Conv", ["x", "w"], ["y"], group=4), {"w": zeros(8, 1, 3)}, (1, 4, 6), "depthwise_conv", 96),
        (helper.make_node("ConvTranspose", ["x", "w"], ["y"]), {"w": zeros(4, 5, 3)}, (1, 4, 6), "conv", 24 * 15),
        (helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0, 2]), {}, (1, 4, 6), "view", 0),
        (helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 1]), {}, (1, 4, 6), "transpose", 0),
    ],
    ids=["gemm", "matmul", "product", "depthwise", "transposed", "moves nothing", "moves"],
)
def test_kinds_and_macs(
    node: Any, weights: dict[str, np.ndarray], shape: tuple[int, ...], kind: str, macs: int
) -> None:
    graph = read_onnx(model([node], weights, shape, out=[f"axis_{i}" for i in range(len(shape))]))
    (operator,) = graph.operators
    assert (operator.kind, operator.macs) == (kind, macs)
    assert graph.parameters == sum(array.size for array in weights.values())


def test_a_dynamic_batch_is_one_and_computed_shapes_are_folded() -> None:
    """The way exporters flatten: Shape, Gather, Concat, Reshape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["size"]),
        helper.make_node("Concat", ["size", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    weights = {"zero": np.array([0]), "rest": np.array([-1]), "w": zeros(24, 3)}
    graph = read_onnx(model(nodes, weights, out=["batch", 3]))
    assert [op.kind for op in graph.operators] == ["view", "linear"]
    assert (graph.macs, graph.parameters) == (72, 72)


def test_weights_from_constant_nodes_and_folded_ones_count() -> None:
    nodes = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(zeros(5, 6))),
        helper.make_node("Transpose", ["c"], ["w"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    graph = read_onnx(model(nodes, out=["batch", 4, 5]))
    assert [op.kind for op in graph.operators] == ["linear"]
    assert (graph.macs, graph.parameters) == (4 * 6 * 5, 30)


def test_an_unknown_operator_of_known_shape_is_listed() -> None:
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    graph = read_onnx(model(nodes, shape=[1, 4, 4], out=[1]))
    assert graph.unknown == ("Det",)


def test_digest_sees_constant_attributes() -> None:
    digests = set()
    for end in (2, 3):
        weights = {"start": np.array([0]), "end": np.array([end]), "axis": np.array([2])}
        slicing = helper.make_node("Slice", ["x", "start", "end", "axis"], ["y"])
        digests.add(read_onnx(model([slicing], weights)).digest)
    assert len(digests) == 2


def test_a_missing_and_a_corrupt_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.onnx: no such file"):
        read_onnx(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"model\.onnx: not a valid ONNX model"):
        read_onnx(tmp_path / "model.onnx")


def test_dynamic_axes_and_unknown_shapes_are_refused() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(UserError, match=r"input x: axis 2 \(time\) is dynamic"):
        read_onnx(model([relu], shape=["batch", 4, "time"]))
    strange = [helper.make_node("Strange", ["x"], ["z"], domain="com.example"), helper.make_node("Relu", ["z"], ["y"])]
    with pytest.raises(UserError, match="its shape cannot be inferred"):
        read_onnx(model(strange))
    picks = [helper.make_node("NonZero", ["x"], ["n"]), helper.make_node("Cast", ["n"], ["y"], to=TensorProto.FLOAT)]
    with pytest.raises(UserError, match="its shape cannot be inferred"):
        read_onnx(model(picks, out=[3, "found"]))


def test_a_fixed_batch_other_than_one_is_refused() -> None:
    relu = helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(UserError, match=r"input x: a fixed batch of 8: .* \(export it with a dynamic batch"):
        read_onnx(model([relu], shape=[8, 4, 6]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    with pytest.raises(UserError, match="shapes do not fit together"):
        read_onnx(model([product], {"w": zeros(7, 5)}))
