"""Published networks: their published sizes, fused exactly, and turned into what devices run."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.devices.host.onnx_runtime import onnx_bytes, run_onnx
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.runtime import run
from repareto.spaces.branches import Fusable
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.space import SearchSpace, Value, load_space
from tests.spaces.networks import NORMS, randomise_norms

PEERS = ("bc_resnet", "ds_cnn", "matchboxnet", "mixed_kernels", "tc_resnet8")
BANDS, FRAMES, CLASSES = 40, 51, 4


def space(name: str) -> SearchSpace:
    return load_space({"name": name})


def parameters(name: str, input_shape: tuple[int, int], classes: int, **values: Value) -> int:
    network = space(name).build(space(name).candidate(values), input_shape, classes)
    return sum(parameter.numel() for parameter in network.parameters())


def small(name: str) -> nn.Module:
    """A network of the space as after training, in eval mode."""
    torch.manual_seed(0)
    values = {
        "bc_resnet": {"width": 8},
        "ds_cnn": {"width": 16, "blocks": 2},
        "matchboxnet": {"blocks": 2, "repeats": 2, "width": 16},
        "mixed_kernels": {"width": 24, "blocks": 4, "stride": 3},
        "tc_resnet8": {"multiplier": 0.5},
    }[name]
    network = space(name).build(space(name).candidate(values), (BANDS, FRAMES), CLASSES)
    return randomise_norms(network).eval()


@pytest.mark.parametrize(
    ("tau", "published"), [(1, 9_232), (1.5, 17_154), (2, 27_284), (3, 54_168), (6, 187_812), (8, 321_068)]
)
def test_bc_resnet_has_the_published_parameters(tau: float, published: int) -> None:
    assert parameters("bc_resnet", (40, 101), 12, width=int(8 * tau)) == published


@pytest.mark.parametrize(("blocks", "repeats", "published"), [(3, 1, 77_000), (3, 2, 93_000), (6, 2, 140_000)])
def test_matchboxnet_has_the_published_parameters(blocks: int, repeats: int, published: int) -> None:
    """Published in thousands, for the 30 words of Speech Commands v1."""
    found = parameters("matchboxnet", (64, 128), 30, blocks=blocks, repeats=repeats, width=64)
    assert found == pytest.approx(published, rel=0.01)


def test_tc_resnet8_has_the_published_parameters() -> None:
    assert parameters("tc_resnet8", (40, 98), 12, multiplier=1.0) == pytest.approx(66_000, rel=0.02)


def test_ds_cnn_is_that_of_mlperf_tiny() -> None:
    reference = load_space({"name": "mlperf_tiny"})
    published = reference.build(reference.candidate({"model": "ds_cnn"}), (49, 10), 12)
    # Bands first here, frames first there.
    ours = space("ds_cnn").build(space("ds_cnn").candidate({"width": 64, "blocks": 4}), (10, 49), 12)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in published.parameters())
    first = next(module for module in ours.modules() if isinstance(module, nn.Conv2d))
    assert first.kernel_size == (4, 10)
    weights = {name: value.mT if value.dim() == 4 else value for name, value in published.state_dict().items()}
    ours.load_state_dict(weights)
    features = torch.randn(2, 10, 49)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(features), published.eval()(features.mT), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", PEERS)
def test_fusion_is_exact_and_leaves_no_normalisation(name: str) -> None:
    network = small(name).double()
    fused, report = fuse(network, torch.randn(2, BANDS, FRAMES, dtype=torch.float64))
    assert report.ok and report.largest_relative_difference <= 1e-10
    assert not any(isinstance(module, (*NORMS, Fusable)) for module in fused.modules())


@pytest.mark.parametrize("name", PEERS)
def test_every_candidate_gives_logits_and_learns(name: str) -> None:
    one = space(name)
    for candidate in (one.middle(), one.draw(random.Random(1)), one.draw(random.Random(2))):
        network = one.build(candidate, (1, BANDS, FRAMES), CLASSES)
        logits = network(torch.randn(3, 1, BANDS, FRAMES))
        assert logits.shape == (3, CLASSES)
        logits.square().sum().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", PEERS)
def test_the_fused_network_runs_where_it_would_ship(name: str) -> None:
    fused = fused_copy(small(name))
    features = np.random.default_rng(0).standard_normal((24, BANDS, FRAMES)).astype(np.float32)
    with torch.no_grad():
        expected = fused(torch.from_numpy(features)).numpy()
    scale = np.abs(expected).max()
    answers = {
        "onnx": run_onnx(onnx_bytes(fused, torch.from_numpy(features[:1]), ["a", "b", "c", "d"]), features),
        "tflite": run(convert(fused, (1, BANDS, FRAMES), "fp32"), features),
    }
    for found in answers.values():
        assert np.abs(found - expected).max() <= 1e-4 * scale
    int8 = run(convert(fused, (1, BANDS, FRAMES), "int8", features), features)
    assert np.abs(int8 - expected).mean() <= 0.1 * scale


@pytest.mark.parametrize("name", PEERS)
def test_figures_cover_every_operator_of_a_board(name: str) -> None:
    graph = read_module(fused_copy(small(name)), (1, BANDS, FRAMES))
    profile = device("cortex-m4").profile(graph)
    assert profile.unknown_operators == ()
    assert profile.value("latency_us") > 0 and profile.value("peak_memory_bytes") > 0


def test_features_that_do_not_fit_are_refused() -> None:
    one = space("bc_resnet")
    with pytest.raises(UserError, match=r"bc_resnet: 32 bands cannot be split into 5 sub-bands .* multiple of 40"):
        one.build(one.middle(), (32, 51), 3)
    for name in PEERS:
        with pytest.raises(UserError, match=rf"space {name}: takes features .* \(3, 32, 32\)"):
            space(name).build(space(name).middle(), (3, 32, 32), 10)
