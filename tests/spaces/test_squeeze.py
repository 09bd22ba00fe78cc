"""Squeeze and excitation: its formula, what a causal one hears, and that a squeezed RepCNN runs wherever one ships."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from repareto.search.devices.host.onnx_runtime import onnx_bytes, run_onnx
from repareto.search.devices.host.onnx_streaming import OnnxStream, streaming_onnx
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.runtime import run
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Choice, Int, load_space
from repareto.spaces.squeeze import PAST_FRAMES, Squeeze
from repareto.spaces.streaming import streaming
from tests.spaces.networks import randomise_norms

BANDS, FRAMES, CLASSES = 8, 40, 3


def factors_by_hand(layer: Squeeze, mean: Tensor) -> Tensor:
    """sigmoid(W2 relu(W1 mean + b1) + b2) of one mean (channels,)."""
    first, _, second, _ = layer.gate
    hidden = torch.relu(first.weight[:, :, 0, 0] @ mean + first.bias)
    return torch.sigmoid(second.weight[:, :, 0, 0] @ hidden + second.bias)


@torch.no_grad()
def test_all_of_a_window_is_scaled_by_what_its_means_tell() -> None:
    layer, x = Squeeze(24, (5, 7), causal=False).double(), torch.randn(2, 24, 5, 7, dtype=torch.float64)
    for found, image in zip(layer(x), x, strict=True):
        expected = image * factors_by_hand(layer, image.mean((1, 2)))[:, None, None]
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_a_causal_one_hears_the_last_frames_alone() -> None:
    layer, x = Squeeze(8, (2, FRAMES), causal=True).double(), torch.randn(1, 8, 2, FRAMES, dtype=torch.float64)
    found = layer(x)[0]
    for frame in (0, 5, PAST_FRAMES - 1, PAST_FRAMES, FRAMES - 1):
        past = x[0, ..., max(0, frame + 1 - PAST_FRAMES) : frame + 1]
        # Before the window are zeros.
        mean = past.sum((1, 2)) / (2 * PAST_FRAMES)
        torch.testing.assert_close(found[..., frame], x[0, ..., frame] * factors_by_hand(layer, mean)[:, None])


@pytest.mark.parametrize(("channels", "reduced"), [(4, 4), (16, 4), (20, 8), (32, 8), (96, 24)])
def test_the_inner_width_is_a_quarter_in_steps_of_four(channels: int, reduced: int) -> None:
    assert Squeeze(channels, (1, 9), causal=False).gate[0].out_channels == reduced


def network(form: str, padding: str = "same", shape: tuple[int, ...] = (BANDS, FRAMES)) -> nn.Module:
    """A RepCNN of two stages, the second squeezed, as after training."""
    space = RepCNN(
        form=Choice((form,)), stages=Int(2, 2), width=Int(16, 16), blocks=Int(1, 1), kernel=Choice((5,)),
        stride=Int(2, 2), squeeze=Choice((True,)), padding=padding,
    )  # type: ignore[arg-type]  # fmt: skip
    torch.manual_seed(0)
    candidate = space.candidate(dict(space.middle()) | {"stage1.squeeze": True, "stage2.squeeze": True})
    return randomise_norms(space.build(candidate, shape, CLASSES)).eval()


@pytest.mark.parametrize("padding", ["same", "causal"])
@pytest.mark.parametrize("shape", [(BANDS, FRAMES), (1, BANDS, FRAMES)])
def test_a_squeezed_network_learns_and_fuses(shape: tuple[int, ...], padding: str) -> None:
    trained = network("full", padding, shape).double()
    features = torch.randn(3, *shape, dtype=torch.float64)
    fused, report = fuse(trained, features)
    assert report.ok and report.largest_relative_difference <= 1e-10
    assert sum(isinstance(module, Squeeze) for module in fused.modules()) == 2
    trained.train()(features).square().sum().backward()
    assert all(parameter.grad is not None for parameter in trained.parameters())


@pytest.mark.parametrize(("form", "padding"), [("separable", "same"), ("full", "causal")])
def test_it_runs_where_it_would_ship(form: str, padding: str) -> None:
    fused = fused_copy(network(form, padding))
    features = np.random.default_rng(0).standard_normal((24, BANDS, FRAMES)).astype(np.float32)
    with torch.no_grad():
        expected = fused(torch.from_numpy(features)).numpy()
    scale = np.abs(expected).max()
    onnx = onnx_bytes(fused, torch.from_numpy(features[:1]), ["a", "b", "c"])
    for found in (run_onnx(onnx, features), run(convert(fused, (1, BANDS, FRAMES), "fp32"), features)):
        assert np.abs(found - expected).max() <= 1e-4 * scale
    for name in ("host-onnxruntime-int8", "host-litert-int8"):
        target = device(name)
        content = target.convert(fused, (BANDS, FRAMES), features, ["a", "b", "c"])
        assert np.abs(target.run(content, features) - expected).mean() <= 0.05 * scale


@pytest.mark.parametrize("name", ["cortex-m4", "ethos-u55-128"])
def test_figures_cover_every_operator_of_a_board(name: str) -> None:
    graph = read_module(fused_copy(network("separable")), (1, BANDS, FRAMES))
    profile = device(name).profile(graph)
    assert profile.unknown_operators == ()
    assert profile.value("latency_us") > 0 and profile.value("peak_memory_bytes") > 0


def test_its_cost_is_in_the_figures() -> None:
    squeezed = read_module(Squeeze(16, (1, FRAMES), causal=False).eval(), (1, 16, 1, FRAMES))
    assert squeezed.macs == 2 * 16 * 4
    assert squeezed.parameters == 2 * 16 * 4 + 4 + 16


def test_the_streaming_file_answers_what_the_window_does() -> None:
    fused = fused_copy(network("separable", "causal"))
    stream = streaming(fused, (BANDS, FRAMES))
    # Each squeeze carries the frames that it averages, but the newest one.
    carried = [shape for shape in stream.state_shapes if shape[-1] == PAST_FRAMES - 1]
    assert carried[0] == (16, 1, PAST_FRAMES - 1)
    heard = OnnxStream(streaming_onnx(stream, (BANDS, FRAMES), ["a", "b", "c"]))
    window = np.random.default_rng(0).standard_normal((BANDS, FRAMES)).astype(np.float32)
    with torch.no_grad():
        expected = fused(torch.from_numpy(window)[None])[0].numpy()
    answers = [heard.step(hop) for hop in np.split(window, heard.window_hops, axis=-1)]
    assert np.abs(answers[-1] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_a_mean_over_later_frames_is_refused_in_a_stream() -> None:
    layers = nn.Sequential(nn.Conv2d(4, 4, 1), Squeeze(4, (1, 20), causal=False), nn.AvgPool2d((1, 20)), nn.Flatten())
    with pytest.raises(
        UserError, match=r"Squeeze\(window=\(1, 20\), past_frames=0\) .* \(build it with padding: causal"
    ):
        streaming(layers.eval(), (4, 1, 20))


def test_it_is_narrowed_like_any_other_dimension() -> None:
    space = load_space({"name": "repcnn", "stages": 2, "squeeze": False})
    assert [p.dimension for p in space.parameters() if p.name.endswith(".squeeze")] == [Choice((False,))] * 2
    with pytest.raises(UserError, match=r"space.squeeze: 'maybe' is not among"):
        load_space({"name": "repcnn", "squeeze": "maybe"})
