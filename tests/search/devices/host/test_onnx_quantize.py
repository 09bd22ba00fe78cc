import numpy as np
import onnx
import pytest
import torch
from torch import nn

from repareto.search.devices.host.onnx_quantize import quantise_onnx, quantised_graph
from repareto.search.devices.host.onnx_runtime import onnx_bytes, run_onnx
from repareto.search.devices.memory import plan_memory
from repareto.search.devices.readers.onnx_reader import read_onnx
from repareto.search.devices.readers.torch_reader import read_module


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(),
        nn.AvgPool2d(6), nn.Flatten(), nn.Linear(8, 3),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((100, 2, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def quantised(model: nn.Module, samples: np.ndarray) -> bytes:
    return quantise_onnx(onnx_bytes(model, torch.zeros(1, 2, 6, 6), ["a", "b", "c"]), samples)


def test_it_answers_nearly_as_the_float_model_but_not_quite(
    model: nn.Module, samples: np.ndarray, quantised: bytes
) -> None:
    with torch.no_grad():
        expected = model(torch.from_numpy(samples)).numpy()
    got = run_onnx(quantised, samples)
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert 0 < error < 0.05


def test_its_weights_are_int8(quantised: bytes) -> None:
    stored = onnx.load_from_string(quantised).graph.initializer
    assert {tensor.data_type for tensor in stored if len(tensor.dims) == 4} == {onnx.TensorProto.INT8}


def test_the_graph_in_int8(model: nn.Module) -> None:
    graph = read_module(model, (1, 2, 6, 6))
    narrow = quantised_graph(graph)
    assert narrow.macs == graph.macs
    assert narrow.parameters == graph.parameters
    biases = 8 + 8 + 3
    assert narrow.weight_bytes == graph.parameters - biases + 4 * biases
    first, last = narrow.operators[0], narrow.operators[-1]
    assert (first.attribute("operator"), last.attribute("operator")) == ("QuantizeLinear", "DequantizeLinear")
    assert narrow.tensors[narrow.inputs[0]].dtype == narrow.tensors[narrow.outputs[0]].dtype == "float32"
    between = {n for op in narrow.operators[:-1] for n in op.outputs}
    assert {narrow.tensors[name].dtype for name in between} == {"int8"}


def test_a_quantised_file_reads_as_the_graph_that_was_planned(model: nn.Module, quantised: bytes) -> None:
    planned, read = quantised_graph(read_module(model, (1, 2, 6, 6))), read_onnx(quantised)
    for name in ("macs", "parameters", "weight_bytes", "unknown"):
        assert getattr(read, name) == getattr(planned, name), name
    assert plan_memory(read).peak_bytes == plan_memory(planned).peak_bytes
    # ReLUs are joined with what is before them when the file is made.
    kinds = [operator.kind for operator in planned.operators if operator.kind != "activation"]
    assert [operator.kind for operator in read.operators] == kinds
    assert quantised_graph(read) is read


class Exponential(nn.Module):
    """With a last operator that the quantiser leaves alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).exp()


def test_what_stays_float32_is_read_as_such(samples: np.ndarray) -> None:
    graph = read_onnx(quantise_onnx(onnx_bytes(Exponential().eval(), torch.zeros(1, 2, 6, 6)), samples))
    names = [op.attribute("operator") for op in graph.operators]
    assert names == ["QuantizeLinear", "Conv", "DequantizeLinear", "Exp"]
    dtypes = [graph.tensors[op.outputs[0]].dtype for op in graph.operators]
    assert dtypes == ["int8", "int8", "float32", "float32"]
