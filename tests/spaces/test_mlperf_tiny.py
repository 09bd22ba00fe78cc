"""The reference models of MLPerf Tiny: equal to what is published of them, and fused exactly."""

import pytest
import torch
from torch import nn

from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.layers import Normed
from repareto.spaces.mlperf_tiny import PUBLISHED, MLPerfTiny
from repareto.spaces.space import load_space
from tests.spaces.networks import NORMS, randomise_norms

SPACE = MLPerfTiny()


def built(model: str, shape: tuple[int, ...] | None = None, classes: int | None = None) -> nn.Module:
    published = PUBLISHED[model]
    candidate = SPACE.candidate({"model": model})
    return SPACE.build(candidate, shape or published.input_shape, classes or published.classes).eval()


@pytest.mark.parametrize("model", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(model: str) -> None:
    published = PUBLISHED[model]
    trained = built(model)
    # Keras counts the running mean and variance of a normalisation, torch its count of batches.
    statistics = [tensor for name, tensor in trained.named_buffers() if not name.endswith("num_batches_tracked")]
    assert sum(tensor.numel() for tensor in [*trained.parameters(), *statistics]) == published.keras_parameters
    graph = read_module(fused_copy(trained), (1, *published.input_shape))
    assert graph.parameters == published.fused_parameters
    assert graph.macs == published.macs
    assert graph.unknown == ()


@pytest.mark.parametrize("model", PUBLISHED)
def test_fusion_is_exact_and_leaves_no_normalisation(model: str) -> None:
    torch.manual_seed(0)
    network = randomise_norms(built(model).double())
    published = PUBLISHED[model]
    inputs = torch.randn(2, *published.input_shape, dtype=torch.float64)
    fused, report = fuse(network, inputs)
    assert report.ok and report.largest_relative_difference <= 1e-10
    assert report.fused_blocks == sum(isinstance(module, Normed) for module in network.modules()) > 0
    assert not any(isinstance(module, (*NORMS, Normed)) for module in fused.modules())
    assert fused(inputs).shape == (2, published.classes)


@pytest.mark.parametrize("model", PUBLISHED)
def test_the_skeleton_is_the_fused_model(model: str) -> None:
    published = PUBLISHED[model]
    with torch.device("meta"):
        skeleton = fused_copy(
            SPACE.build(SPACE.candidate({"model": model}), published.input_shape, published.classes).eval()
        )
    fused = fused_copy(built(model))
    assert all(parameter.is_meta for parameter in skeleton.parameters())
    assert {n: t.shape for n, t in skeleton.state_dict().items()} == {n: t.shape for n, t in fused.state_dict().items()}
    batch = (1, *published.input_shape)
    assert read_module(skeleton, batch).digest == read_module(fused, batch).digest


def test_strided_convolutions_are_padded_as_tensorflow_pads_them() -> None:
    first = built("mobilenet_v1")[0]
    assert first.padding == (0, 1, 0, 1)  # 96 to 48 by a kernel of 3: one zero, behind
    assert built("ds_cnn")[0].padding == (1, 1, 4, 5)
    # Symmetric padding is the convolution's own and needs no buffer.
    assert fused_copy(built("resnet8"))[0].padding == (1, 1)


@pytest.mark.parametrize("model", PUBLISHED)
def test_other_inputs_and_classes(model: str) -> None:
    assert built(model, (20, 31), 7)(torch.zeros(2, 20, 31)).shape == (2, 7)
    assert built(model, (2, 5, 4), 3)(torch.zeros(2, 2, 5, 4)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(640,), (1, 3, 40), (1, 2, 30, 30)])
def test_inputs_that_a_model_cannot_take(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"space mlperf_tiny: resnet8 cannot take inputs of shape \("):
        built("resnet8", shape)


def test_the_space_is_built_in_and_narrowed_to_one_model() -> None:
    assert load_space({"name": "mlperf_tiny"}) == SPACE
    space = load_space({"name": "mlperf_tiny", "model": "ds_cnn"})
    assert space.middle() == SPACE.candidate({"model": "ds_cnn"})
    with pytest.raises(UserError, match=r"space.model: 'vgg' is not among"):
        load_space({"name": "mlperf_tiny", "model": "vgg"})
