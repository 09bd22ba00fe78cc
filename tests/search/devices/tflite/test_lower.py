import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repareto.search.devices.graph import Graph
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.lower import lower, lower_with_recipes
from repareto.search.devices.tflite.runtime import run
from repareto.spaces.errors import UserError
from tests.search.devices.tflite.models import MODELS, Calls, answers, features, flat, make


def builtins(graph: Graph) -> str:
    return " ".join(str(operator.attribute("operator")) for operator in graph.operators)


@pytest.mark.parametrize("name", MODELS)
def test_the_operators_that_ship(name: str) -> None:
    module, shape = make(name)
    graph = read_module(module, shape)
    for precision in ("fp32", "int8"):
        lowered = lower(graph, precision)
        assert builtins(lowered) == MODELS[name][2]
        assert lowered.macs == graph.macs
        assert not lowered.unknown


def test_weights_keep_their_names_and_lie_channels_last() -> None:
    module, shape = make("depthwise with a multiplier")
    lowered = lower(read_module(module, shape), "int8")
    shapes = {name: lowered.tensors[name].shape for name in lowered.weights}
    assert shapes == {
        "0.weight": (1, 3, 3, 8), "0.bias": (8,), "2.weight": (2, 1, 1, 8), "2.bias": (2,),
        "4.weight": (3, 162), "4.bias": (3,),
    }  # fmt: skip
    assert set(shapes) == set(module.state_dict())
    depthwise = lowered.operators[0]
    assert depthwise.kind == "depthwise_conv"
    assert dict(depthwise.attributes) == {
        "operator": "DEPTHWISE_CONV_2D", "kernel": (3, 3), "stride": (1, 1), "dilation": (1, 1), "padding": "SAME",
        "fused_activation": "RELU", "depth_multiplier": 2,
    }  # fmt: skip


def test_types_and_bytes_of_each_precision() -> None:
    module, shape = make("residual")
    graph = read_module(module, shape)
    floats, integers = (lower(graph, precision).tensors for precision in ("fp32", "int8"))
    assert {info.dtype for info in floats.values()} == {"float32"}
    assert (integers["input"].shape, integers["input"].dtype, integers["input"].nbytes) == ((1, 9, 9, 4), "int8", 324)
    assert (integers["parts.0.bias"].dtype, integers["parts.0.bias"].nbytes) == ("int32", 32)
    assert floats["input"].nbytes == 4 * 324


def test_a_sequence_is_an_image_of_height_one() -> None:
    module, shape = make("conv1d")
    lowered = lower(read_module(module, shape), "int8")
    assert lowered.tensors["input"].shape == (1, 1, 20, 4)
    assert lowered.operators[0].attribute("kernel") == (1, 3)


def test_a_model_without_images_reads_its_input_as_it_is() -> None:
    module, shape = make("rows")
    assert lower(read_module(module, shape), "fp32").tensors["input"].shape == (1, 6, 8)


def test_padding_modes() -> None:
    def first(layer: nn.Module, size: int) -> list[object]:
        graph = lower(read_module(layer.eval(), (1, 4, size, size)), "fp32")
        return [op.attribute("paddings") or op.attribute("padding") for op in graph.operators]

    assert first(nn.Conv2d(4, 4, 3, padding=1), 8) == ["SAME"]
    assert first(nn.Conv2d(4, 4, 3), 8) == ["VALID"]
    assert first(nn.Conv2d(4, 4, 3, stride=2, padding=1), 9) == ["SAME"]
    # Of the zeros on the right, torch never reads the last.
    assert first(nn.Conv2d(4, 4, 3, stride=2, padding=1), 8) == [(0, 0, 1, 0, 1, 0, 0, 0), "VALID"]
    assert first(nn.Conv2d(4, 4, 5, padding=1), 8) == [(0, 0, 1, 1, 1, 1, 0, 0), "VALID"]
    assert first(nn.MaxPool2d(3, 2, 1), 9) == ["SAME"]


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(5, 11), st.integers(5, 11)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.integers(1, 2),
    depthwise=st.booleans(),
)
def test_any_convolution_answers_as_torch(
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: int,
    depthwise: bool,
) -> None:
    reach = [(k - 1) * dilation + 1 for k in kernel]
    if any(r > n + 2 * p for r, n, p in zip(reach, size, padding, strict=True)):
        return
    torch.manual_seed(0)
    module = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups=4 if depthwise else 1).eval()
    shape = (1, 4, *size)
    inputs = features(shape, 2)
    got = run(convert(module, shape, "fp32"), inputs.numpy())
    assert torch.allclose(torch.from_numpy(got), answers(module, inputs), atol=1e-5)


def test_a_bias_is_of_one_operator_and_a_weight_of_both() -> None:
    module, shape = make("a weight that is used twice")
    first, second, _ = lower(read_module(module, shape), "int8").operators
    assert first.inputs[1] == second.inputs[1]
    assert first.inputs[2] != second.inputs[2]


def test_a_joint_of_given_scales_is_requantised_in_int8_only() -> None:
    module = Calls(lambda x, a: torch.cat([torch.sigmoid(a(x)), a(x)], 1), nn.Conv2d(4, 3, 1)).eval()
    graph = read_module(module, (1, 4, 5, 5))
    assert builtins(lower(graph, "fp32")) == "CONV_2D LOGISTIC CONV_2D CONCATENATION"
    assert builtins(lower(graph, "int8")) == "CONV_2D LOGISTIC CONV_2D QUANTIZE CONCATENATION"


def test_gelu_is_one_operator_in_float_and_what_microcontrollers_have_in_int8() -> None:
    graph = read_module(flat(nn.GELU(), features=12).eval(), (1, 3, 4))
    assert builtins(lower(graph, "fp32")) == "GELU FULLY_CONNECTED"
    assert builtins(lower(graph, "int8")) == "MUL LOGISTIC MUL FULLY_CONNECTED"


def test_lowering_is_deterministic_and_needs_no_weights() -> None:
    module, shape = make("attention")
    real = lower(read_module(module, shape), "int8")
    assert lower(read_module(module.to("meta"), shape), "int8").digest == real.digest


def test_the_recipes_are_those_of_the_constants_that_are_left() -> None:
    module, shape = make("causal")
    lowered = lower_with_recipes(read_module(module, shape), "fp32")
    assert set(lowered.recipes) == {"1.weight", "1.bias", "4.weight", "4.bias"} == set(lowered.graph.weights)


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (Calls(lambda x: x.cumsum(1)), (1, 4), r"aten\.cumsum \(cumsum_0\) has no lowering to TFLite"),
        (nn.Conv2d(4, 4, 3), (2, 4, 8, 8), r"input of shape \(2, 4, 8, 8\): a batch other than one"),
        (nn.ConvTranspose2d(4, 4, 3), (1, 4, 8, 8), "convolution_0: a transposed convolution has no lowering"),
        (nn.Conv3d(4, 4, 3), (1, 4, 8, 8, 8), r"convolution_0: takes \(1, channels, height, width\)"),
        (nn.AdaptiveAvgPool2d(3), (1, 4, 8, 8), "windows of unequal size"),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (1, 4, 8, 8), "ceil_mode"),
        (nn.ELU(0.5), (1, 4), "ELU with other factors"),
        (Calls(lambda x: x**3), (1, 4), "the power 3 has no lowering"),
        (Calls(lambda x: x[:, ::2]), (1, 4), "a slice with a step"),
        (Calls(lambda x: x / (x + 9)), (1, 4), "has no int8 kernel"),
        (Calls(lambda x: torch.add(x, x, alpha=2)), (1, 4), "a factor alpha"),
    ],
)
def test_what_has_no_lowering_is_named(module: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        lower(read_module(module.eval(), shape), "int8")
    assert "\n" not in str(caught.value)


def test_an_unknown_precision() -> None:
    with pytest.raises(UserError, match='precision "fp16"'):
        lower(read_module(nn.ReLU().eval(), (1, 4)), "fp16")


class Wide(nn.Module):
    """Two branches, written so that the large result of the first waits for the second."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Conv2d(4, 64, 1), nn.Conv2d(4, 8, 1)
        self.squeeze = nn.Conv2d(64, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = self.large(x)
        small = self.small(x) * torch.sigmoid(self.small(x))
        return self.squeeze(large) + small


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_file_has_the_order_that_needs_the_least_memory(precision: str) -> None:
    graph = lower(read_module(Wide().eval(), (1, 4, 8, 8)), precision)
    used = [name for operator in graph.operators for name in operator.inputs if name.endswith(".weight")]
    # The large result is squeezed at once.
    assert used.index("squeeze.weight") == used.index("large.weight") + 1
