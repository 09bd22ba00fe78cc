"""What does not run well on a target: found where it stands, and nowhere else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from repareto.search.devices.boards.board import board_names, load_board
from repareto.search.devices.fusion import fuse_kernels
from repareto.search.devices.graph import Graph, Operator, TensorInfo
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.report.advice import Advice, advise
from repareto.search.devices.report.traits import Traits, traits_of, traits_of_board

CORTEX_M4, CORTEX_M55, ETHOS_U55, ETHOS_U85 = (
    traits_of_board(load_board(name)) for name in ("cortex-m4", "cortex-m55", "ethos-u55-128", "ethos-u85-512")
)
ONNX, LITERT = traits_of("onnxruntime"), traits_of("litert")


class Mean(nn.Module):
    def __init__(self, *axes: int) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.axes)


def found(module: nn.Module, shape: tuple[int, ...], traits: Traits) -> dict[str, Advice]:
    return {advice.rule: advice for advice in advise(read_module(module.eval(), shape), traits)}


def tflite(*operators: Operator, **shapes: tuple[int, ...]) -> Graph:
    """A graph of int8 tensors, whose first is the input and whose last is the output."""
    tensors = {name: TensorInfo(name, shape, "int8", 4) for name, shape in shapes.items()}
    return Graph.of(tensors, operators, [next(iter(shapes))], [list(shapes)[-1]])


def operator(kind: str, name: str, read: str, written: str, macs: int = 0) -> Operator:
    return Operator(kind, name.lower(), tuple(read.split()), (written,), macs, (("operator", name),))


GOOD = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize("traits", [CORTEX_M4, ETHOS_U55, ONNX, LITERT, CORTEX_M55])
def test_a_model_that_runs_well_gets_no_advice(traits: Traits) -> None:
    assert found(GOOD, (1, 1, 8, 8), traits) == {}


def test_a_spatial_mean_is_found_where_it_is_dear() -> None:
    module = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), Mean(2, 3), nn.Linear(16, 3))
    advice = found(module, (1, 1, 8, 8), CORTEX_M4)["spatial-mean"]
    assert advice.layers == ("mean_1",)
    assert "AvgPool2d" in advice.instead
    for traits in (ONNX, ETHOS_U55, LITERT):
        assert found(module, (1, 1, 8, 8), traits) == {}


def test_a_mean_over_channels_or_of_a_row_is_no_spatial_mean() -> None:
    assert found(Mean(1), (1, 4, 8, 8), CORTEX_M4) == {}
    assert found(Mean(1), (1, 8), CORTEX_M4) == {}
    assert found(Mean(2), (1, 8, 8), CORTEX_M4).keys() == {"spatial-mean"}  # of a sequence
    assert found(Mean(1), (1, 8, 8), CORTEX_M4) == {}
    for axes, rules in (((1, 2), ["spatial-mean"]), ((3,), [])):
        attributes = (("operator", "MEAN"), ("axes", axes))
        mean = Operator("reduce", "mean", ("x",), ("y",), attributes=attributes)
        lowered = tflite(mean, x=(1, 4, 4, 16), y=(1, 1, 1, 16))
        assert [advice.rule for advice in advise(lowered, CORTEX_M4)] == rules


def test_a_pad_of_its_own_says_what_its_buffer_takes() -> None:
    module = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 16, 3, stride=2))
    advice = found(module, (1, 1, 8, 8), CORTEX_M4)["pad-buffer"]
    assert advice.cost == f"{4 * 9 * 9} bytes"
    assert "pad-buffer" in found(module, (1, 1, 8, 8), ONNX)
    assert "pad-buffer" not in found(module, (1, 1, 8, 8), ETHOS_U55)  # Vela hands it to the convolution


def test_layer_norm_is_found_whole_and_in_pieces() -> None:
    module = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16))
    assert found(module, (1, 8), CORTEX_M4)["layer-norm"].layers == ("1",)
    assert found(module, (1, 8), ONNX) == {}
    lowered = tflite(operator("elementwise", "RSQRT", "x", "y"), x=(1, 8), y=(1, 8))
    (advice,) = advise(lowered, CORTEX_M4)
    assert advice.rule == "layer-norm" and "BatchNorm" in advice.instead


def test_one_dimensional_convolutions_on_onnx_runtime() -> None:
    module = nn.Sequential(nn.Conv1d(4, 16, 3), nn.ReLU(), nn.Conv1d(16, 16, 3))
    advice = found(module, (1, 4, 20), ONNX)["one-dimensional"]
    assert advice.layers == ("0", "2")
    assert "height 1" in advice.instead
    assert "one-dimensional" not in found(module, (1, 4, 20), CORTEX_M4)


def test_operators_that_fall_back_to_the_processor() -> None:
    lowered = tflite(
        operator("elementwise", "DIV", "x", "y"), operator("elementwise", "ADD", "y x", "z"),
        x=(1, 8), y=(1, 8), z=(1, 8),
    )  # fmt: skip
    (advice,) = advise(lowered, ETHOS_U55)
    assert (advice.rule, advice.layers) == ("cpu-fallback", ("div",))
    assert advise(lowered, ETHOS_U85) == ()
    assert advise(lowered, CORTEX_M4) == ()
    # What Vela itself keeps off the accelerator, for its shape or its type.
    (advice,) = advise(lowered, ETHOS_U85, None, ["ADD"])
    assert advice.layers == ("add",) and "ADD runs on the CPU" in advice.why
    assert advise(lowered, CORTEX_M4, None, ["ADD"]) == ()


def test_unknown_operators_come_first() -> None:
    lowered = tflite(
        operator("transpose", "TRANSPOSE", "x", "y"), operator("other", "MYSTERY", "y", "z"),
        x=(1, 2, 4), y=(1, 4, 2), z=(1, 8),
    )  # fmt: skip
    assert [advice.rule for advice in advise(lowered, CORTEX_M4)] == ["unknown-operator", "transpose"]
    (advice,) = advise(lowered, traits_of("something else"))
    assert str(advice).startswith("mystery: no figure covers MYSTERY; ")


def test_widths_that_a_target_pads() -> None:
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 9, 3), nn.ReLU(), nn.Conv2d(9, 16, 1))
    advice = found(module, (1, 3, 9, 9), CORTEX_M4)["channels"]
    macs = [7 * 7 * 5 * 27, 5 * 5 * 9 * 45, 5 * 5 * 16 * 9]
    # Windows to multiples of 4, but for that of the input, and outputs to pairs.
    padded = [7 * 7 * 6 * 27, 5 * 5 * 10 * 48, 5 * 5 * 16 * 12]
    assert f"up to {1 - sum(macs) / sum(padded):.0%} of the work is padding" in advice.why
    assert advice.layers == ("2", "0", "4")  # the worst first
    assert advice.instead == "choose widths in steps of 4"
    # ONNX Runtime rounds the channels themselves.
    padded = [7 * 7 * 8 * 27, 5 * 5 * 12 * 72, 5 * 5 * 16 * 12]
    advice = found(module, (1, 3, 9, 9), ONNX)["channels"]
    assert f"up to {1 - sum(macs) / sum(padded):.0%} of the work is padding" in advice.why


def test_the_channels_of_the_input_are_nobodys_choice() -> None:
    module = nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(1, 16, 3), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten())
    assert found(module, (1, 1, 8, 8), ETHOS_U55) == {}


def test_channels_are_last_in_tflite() -> None:
    shapes = {"x": (1, 8, 8, 3), "w": (5, 3, 3, 3), "y": (1, 6, 6, 5)}
    convolution = operator("conv", "CONV_2D", "x w", "y", 36 * 5 * 27)
    (advice,) = advise(tflite(convolution, **shapes), ETHOS_U55)
    assert f"{1 - 5 / 16:.0%} of the work" in advice.why


@given(st.integers(1, 12), st.integers(1, 12))
def test_widths_in_steps_of_the_multiple_are_never_blamed(first: int, second: int) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4 * first, 1), nn.Conv2d(4 * first, 4 * first, 3, groups=4 * first),
                           nn.Conv2d(4 * first, 4 * second, 1))  # fmt: skip
    assert found(module, (1, 3, 5, 5), CORTEX_M4) == {}


def test_the_share_of_the_time_is_told_where_it_is_known() -> None:
    graph = read_module(
        nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), Mean(2, 3), nn.Linear(16, 3)).eval(), (1, 1, 8, 8)
    )
    assert len(fuse_kernels(graph)) == 3
    (advice,) = advise(graph, CORTEX_M4, (6.0, 3.0, 3.0))
    assert advice.cost == "25% of the time"
    assert "(25% of the time)" in str(advice)
    (without,) = advise(graph, CORTEX_M4, (0.0, 0.0, 0.0))
    assert without.cost is None


def test_many_layers_are_counted_not_listed() -> None:
    advice = Advice("rule", tuple("abcdef"), "why", "instead")
    assert str(advice) == "a, b, c, d and 2 more: why; instead"


@pytest.mark.parametrize(
    ("name", "multiple"), [("cortex-m4", 4), ("cortex-m7", 4), ("cortex-m55", 16), ("ethos-u65-256", 16)]
)
def test_channels_of_a_board(name: str, multiple: int) -> None:
    assert traits_of_board(load_board(name)).steps.largest == multiple


@pytest.mark.parametrize(("runtime", "multiple"), [("litert", 8), ("onnxruntime", 4), ("none", 1)])
def test_channels_of_a_runtime(runtime: str, multiple: int) -> None:
    assert traits_of(runtime).steps.largest == multiple


def test_a_board_has_the_traits_of_its_kernels_whatever_it_is_called() -> None:
    for name in board_names():
        board = load_board(name)
        for other in ("mine", "ethos-u85", "cortex-m55"):
            assert traits_of_board(replace(board, name=other)) == traits_of_board(board)
    plain = traits_of_board(replace(load_board("cortex-m4"), kernels="reference"))
    assert plain.mean == CORTEX_M4.mean and plain.channels is None
