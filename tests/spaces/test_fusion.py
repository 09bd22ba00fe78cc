"""Fusion is exact for every topology that a space can draw."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repareto.spaces.branches import BranchedConv, ConvShape, Topology
from repareto.spaces.fusion import fuse, fused_copy

SIZE = (11, 12)
topologies = st.tuples(st.integers(0, 4), *[st.booleans()] * 5).filter(any).map(lambda drawn: Topology(*drawn))


@st.composite
def shapes(draw):
    dims = draw(st.integers(1, 2))
    form = draw(st.sampled_from(["full", "grouped", "depthwise", "depthwise multiplier"]))
    width = draw(st.sampled_from([2, 4, 6]))
    in_channels, out_channels, groups = {
        "full": (width, draw(st.sampled_from([width, 3, 5])), 1),
        "grouped": (width, draw(st.sampled_from([width, 2 * width])), 2),
        "depthwise": (width, width, width),
        "depthwise multiplier": (width, 2 * width, width),
    }[form]
    return ConvShape(
        in_channels,
        out_channels,
        kernel_size=tuple(draw(st.integers(1, 6)) for _ in range(dims)),
        stride=draw(st.integers(1, 3)),
        dilation=draw(st.integers(1, 3)),
        groups=groups,
        padding=draw(st.sampled_from(["same", "causal"])),
        input_size=draw(st.sampled_from([None, SIZE[:dims]])),
    )


def randomise(model: nn.Module, seed: int) -> None:
    """Give every parameter and batch statistic a value that a lucky default would not have."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                tensor.data.normal_(generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)


@settings(max_examples=300, deadline=None)
@given(shape=shapes(), topology=topologies, seed=st.integers(0, 2**16))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_fused_equals_branched(shape, topology, seed, dtype, tolerance):
    torch.manual_seed(seed)
    block = BranchedConv(shape, topology).to(dtype).eval()
    randomise(block, seed)
    inputs = torch.randn(2, shape.in_channels, *SIZE[: shape.spatial_dims], dtype=dtype)
    fused, report = fuse(block, inputs)
    assert report.largest_relative_difference <= tolerance
    assert report.ok
    assert report.fused_blocks == 1
    assert sum(isinstance(module, nn.Conv1d | nn.Conv2d) for module in fused.modules()) == 1
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in fused.modules())
    assert fused(inputs).shape[2:] == tuple(-(-size // shape.stride) for size in inputs.shape[2:])


def small_network() -> nn.Module:
    shape = ConvShape(3, 4, (3,))
    return nn.Sequential(BranchedConv(shape, Topology(2, pointwise=True)), nn.ReLU())


def test_fusion_refuses_training_mode():
    with pytest.raises(ValueError, match=r"training mode.*model\.eval\(\)"):
        fuse(small_network().train(), torch.randn(1, 3, 8))


def test_fusion_refuses_a_training_submodule():
    model = small_network().eval()
    model[0].branches[0].norm.train()
    with pytest.raises(ValueError, match="training mode"):
        fused_copy(model)


def test_fusion_leaves_the_trained_model_alone():
    model = small_network().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fuse(model, torch.randn(1, 3, 8))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert isinstance(model[0], BranchedConv)


def test_report_says_when_fusion_is_wrong():
    class Wrong(BranchedConv):
        def kernel_and_bias(self):
            kernel, bias = super().kernel_and_bias()
            return type(super().kernel_and_bias())(kernel, bias + 1)

    _, report = fuse(Wrong(ConvShape(3, 4, (3,)), Topology()).eval(), torch.randn(1, 3, 8))
    assert not report.ok
    assert report.largest_absolute_difference == pytest.approx(1, abs=1e-4)


def test_nan_is_not_ok():
    model = small_network().eval()
    model[0].branches[0].norm.weight.data.fill_(float("nan"))
    _, report = fuse(model, torch.randn(1, 3, 8))
    assert not report.ok


def test_skeleton_fuses_on_meta():
    with torch.device("meta"):
        model = small_network().eval()
        assert fused_copy(model)(torch.empty(1, 3, 8)).shape == (1, 4, 8)


def test_symmetric_padding_needs_no_pad_operator():
    assert isinstance(BranchedConv(ConvShape(3, 4, (5,)), Topology()).eval().fused(), nn.Conv1d)
    causal = BranchedConv(ConvShape(3, 4, (5,), padding="causal"), Topology()).eval().fused()
    assert isinstance(causal[0], nn.ConstantPad1d)


@pytest.mark.parametrize(
    ("side", "kernel", "dilation", "amounts"),
    [(20, 5, 1, [1, 2]), (21, 5, 1, [2, 2]), (20, 3, 2, [1, 2]), (20, 1, 1, [0, 0]), (1, 5, 1, [2, 2])],
)
def test_a_strided_convolution_of_a_known_size_is_padded_as_tensorflow_does(side, kernel, dilation, amounts):
    shape = ConvShape(3, 4, (kernel,), stride=2, dilation=dilation, input_size=(side,))
    assert shape.pad_amounts == amounts
    # In time a causal one stays causal, and without a stride centred kernels are what TensorFlow has.
    reach = (kernel - 1) * dilation
    assert replace(shape, padding="causal").pad_amounts == [reach, 0]
    assert replace(shape, stride=1).pad_amounts == [reach // 2, reach // 2]


def test_parallel_copies_equal_separate_branches():
    """One wide convolution computes what the sum of single branches does, gradients and batch statistics too."""
    torch.manual_seed(0)
    shape = ConvShape(4, 6, (3,), groups=2)
    merged = BranchedConv(shape, Topology(3)).branches[0]
    single = [BranchedConv(shape, Topology(1)).branches[0] for _ in range(3)]
    weights = merged._by_copy(merged.conv.weight.detach())
    for copy, branch in enumerate(single):
        branch.conv.weight.data.copy_(weights[:, copy].flatten(0, 1))
    padded = torch.randn(5, 4, 12)
    expected = sum(branch(padded) for branch in single)
    actual = merged(padded)
    torch.testing.assert_close(actual, expected)
    actual.square().sum().backward()
    expected.square().sum().backward()
    gradients = merged._by_copy(merged.conv.weight.grad)
    for copy, branch in enumerate(single):
        torch.testing.assert_close(gradients[:, copy].flatten(0, 1), branch.conv.weight.grad)


@pytest.mark.parametrize("topology", [Topology(0, identity=True), Topology(1, identity=True)])
def test_identity_only_where_the_shape_admits_it(topology):
    block = BranchedConv(ConvShape(4, 8, (3,), stride=2), topology)
    assert len(block.branches) == 1


def test_a_block_needs_a_branch():
    with pytest.raises(ValueError, match="at least one branch"):
        Topology(0)
