import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.tflite.constants import read_constants
from repareto.search.devices.tflite.convert import convert, float_twin
from repareto.search.devices.tflite.equalize import Observed, equalize
from repareto.search.devices.tflite.layout import Layout
from repareto.search.devices.tflite.lower import Lowered, lower, lower_with_recipes
from repareto.search.devices.tflite.quantize import MADE_UP_RANGE, quantize, weight_scales
from repareto.search.devices.tflite.runtime import observe, run, to_file_order
from repareto.search.devices.tflite.write import write_tflite
from tests.search.devices.tflite.models import Calls, answers, features, make


def quantized(name: str, ranges: dict[str, tuple[float, float]] | None = None):  # type: ignore[no-untyped-def]
    module, shape = make(name)
    graph = lower(read_module(module, shape), "int8")
    rng = np.random.default_rng(0)
    constants = {
        name: rng.standard_normal(graph.tensors[name].shape).astype(np.float32)
        for name in graph.constants
        if graph.tensors[name].dtype == "int8" or name in graph.weights
    }
    return graph, constants, *quantize(graph, constants, ranges or {})


def test_weights_have_a_scale_each_channel_and_biases_follow() -> None:
    graph, constants, integers, scales = quantized("depthwise with a multiplier")
    weight, bias = scales["0.weight"], scales["0.bias"]
    assert (len(weight.scales), weight.axis, weight.zero_point) == (8, 3, 0)
    assert np.abs(integers["0.weight"]).reshape(-1, 8).max(axis=0).tolist() == [127] * 8
    restored = integers["0.weight"] * np.array(weight.scales)
    assert np.abs(restored - constants["0.weight"]).max() <= max(weight.scales) / 2 * 1.001
    expected = scales["input"].scales[0] * np.array(weight.scales)
    assert bias.scales == pytest.approx(expected.tolist(), rel=1e-6)
    assert integers["0.bias"].dtype == np.int32
    assert len(scales["4.weight"].scales) == 1
    assert graph.tensors["4.weight"].dtype == "int8"


def test_zero_is_an_integer_and_the_range_is_covered() -> None:
    _, _, _, scales = quantized("conv1d", {"input": (-1.0, 3.0), "convolution_0.0": (0.0, 5.1)})
    source = scales["input"]
    assert source.scales[0] == pytest.approx(4 / 255)
    assert source.zero_point == round(-128 + 1 / (4 / 255))
    assert scales["convolution_0.0"].zero_point == -128
    assert scales["convolution_0.0"].scales[0] == pytest.approx(5.1 / 255)


def test_a_range_that_was_not_seen_is_made_up() -> None:
    _, _, _, scales = quantized("conv1d")
    low, high = MADE_UP_RANGE
    assert scales["input"].scales[0] == pytest.approx((high - low) / 255)


def test_operators_that_keep_a_scale_share_it() -> None:
    graph, _, _, scales = quantized("joint", {"convolution_0.0": (-1.0, 1.0), "convolution_1.0": (-2.0, 3.0)})
    joint = graph.operators[2]
    assert len({scales[name] for name in (*joint.inputs, *joint.outputs)}) == 1
    assert scales[joint.outputs[0]].scales[0] == pytest.approx(5 / 255)


@pytest.mark.parametrize(
    ("name", "scale", "zero_point"), [("softmax", 1 / 256, -128), ("logarithm of softmax", 1 / 16, 127)]
)
def test_given_scales(name: str, scale: float, zero_point: int) -> None:
    graph, _, _, scales = quantized(name, {"anything": (0.0, 9.0)})
    result = scales[graph.outputs[0]]
    assert (result.scales, result.zero_point) == ((scale,), zero_point)


@given(
    st.lists(st.sampled_from([0.0, 1e-30, 1e-6, 0.3, 40.0]), min_size=1, max_size=6),
    st.sampled_from([0.0, 1e-6, 2.0, 1e5]),
    st.sampled_from([1e-6, 0.02, 3.0]),
    st.sampled_from([1e-6, 0.02, 3.0]),
)
def test_any_weight_gets_scales_that_kernels_can_use(
    largest: list[float], bias: float, in_scale: float, out_scale: float
) -> None:
    scales = weight_scales(np.array(largest), np.full(len(largest), bias), in_scale, out_scale)
    assert (scales > 0).all()
    assert np.isfinite(scales).all()
    assert (bias / (in_scale * scales) <= 2**31 - 1).all()
    assert (in_scale * scales / out_scale >= 2.0**-32).all()
    assert (np.array(largest) / scales <= 127.001).all()


def test_dead_channels_keep_their_bias() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)).eval()
    with torch.no_grad():
        module[0].weight[2:4] = 0  # type: ignore[index, union-attr]
        module[0].weight[4] = 1e-20  # type: ignore[index, union-attr]
        module[0].bias[2:5] = torch.tensor([1.5, -1.0, 0.7])  # type: ignore[index, union-attr]
    inputs = features((1, 4, 6, 6))
    expected = answers(module, inputs).numpy()
    got = run(convert(module, (1, 4, 6, 6), "int8", inputs.numpy()), inputs.numpy())
    assert np.abs(got - expected).max() <= 0.05 * np.abs(expected).max()


def test_inputs_that_are_all_zero() -> None:
    module, shape = make("residual")
    inputs = np.zeros((2, *shape[1:]), np.float32)
    got = run(convert(module, shape, "int8", inputs), inputs)
    expected = answers(module, torch.from_numpy(inputs)).numpy()
    assert np.abs(got - expected).max() <= 0.05 * np.abs(expected).max()


def uneven() -> nn.Module:
    """Two layers between which one channel holds a hundred times what the others hold."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(4, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv2d(8, 3, 1)
    )
    with torch.no_grad():
        module[0].weight[0] *= 100  # type: ignore[index, union-attr, operator]
        module[2].weight[0] /= 100  # type: ignore[index, union-attr, operator]
    return module.eval()


def test_equalised_channels_answer_closer_and_in_float_the_same() -> None:
    module, shape = uneven(), (1, 4, 6, 6)
    inputs = features(shape, 64)
    rows, expected = inputs.numpy(), answers(module, inputs).numpy()
    lowered = lower_with_recipes(read_module(module, shape), "int8")
    twin = float_twin(lowered.graph)
    values = read_constants(module, shape)
    plain = {name: np.ascontiguousarray(recipe(values)) for name, recipe in lowered.recipes.items()}
    names = {"input", *(name for operator in twin.operators for name in operator.outputs)}
    seen = observe(write_tflite(twin, plain, {}, {}), to_file_order(rows, *file_ends(lowered)), names)

    def errors(constants: dict[str, np.ndarray], observed: dict[str, Observed]) -> tuple[float, float]:
        ranges = {name: (float(o.low.min()), float(o.high.max())) for name, o in observed.items()}
        floats = write_tflite(twin, constants, {}, {})
        integers = write_tflite(lowered.graph, *quantize(lowered.graph, constants, ranges), {})
        return tuple(
            np.abs(as_torch(run(c, rows)) - expected).max() / np.abs(expected).max() for c in (floats, integers)
        )

    def as_torch(flat: np.ndarray) -> np.ndarray:  # a file without our metadata answers channels last
        return flat.reshape(-1, 6, 6, 3).transpose(0, 3, 1, 2)

    before, after = errors(plain, seen), errors(*equalize(lowered.graph, plain, seen))
    assert max(before[0], after[0]) < 1e-5
    assert after[1] < before[1] / 2


def file_ends(lowered: Lowered) -> tuple[Layout, tuple[int, ...]]:
    return lowered.inputs[0].layout, lowered.inputs[0].shape


def test_a_tensor_that_two_layers_read_is_left_as_it_is() -> None:
    module = Calls(
        lambda x, a, b, c: b(a(x)) + c(a(x)), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    ).eval()
    graph = lower(read_module(module, (1, 4, 6, 6)), "fp32")
    constants = {name: np.ones(graph.tensors[name].shape, np.float32) for name in graph.weights}
    seen = {op.outputs[0]: Observed(np.zeros(4), np.arange(1.0, 5), np.ones(4)) for op in graph.operators}
    scaled, _ = equalize(graph, constants, seen)
    assert all((scaled[name] == constants[name]).all() for name in constants)
