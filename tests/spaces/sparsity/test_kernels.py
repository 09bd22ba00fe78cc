"""A mask on the fused kernel: shared by all branches, kept through training and fusion."""

import copy

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from repareto.spaces.branches import BranchedConv, ConvShape, Topology
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.layers import Normed, normed_conv
from repareto.spaces.sparsity.kernels import BranchedSite, kernel_sites
from tests.spaces.networks import randomise_norms

topologies = st.tuples(st.integers(1, 3), *[st.booleans()] * 5).map(lambda drawn: Topology(*drawn))
shapes = st.sampled_from(
    [
        ConvShape(4, 4, (3,)),
        ConvShape(4, 6, (5,), stride=2, padding="causal"),
        ConvShape(4, 4, (1, 1)),
        ConvShape(3, 5, (4, 3), dilation=2),
    ]
)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


def block_and_mask(shape: ConvShape, topology: Topology, seed: int) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(seed)
    block = randomise_norms(BranchedConv(shape, topology), seed).double()
    return block, torch.rand(shape.out_channels, shape.in_channels, *shape.kernel_size) > 0.6


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(shape=shapes, topology=topologies, seed=st.integers(0, 2**16))
def test_masked_elements_are_zero_after_fusion_and_the_outputs_agree(shape, topology, seed) -> None:
    block, mask = block_and_mask(shape, topology, seed)
    site = BranchedSite(block, 0.0)
    site.set_mask(mask)
    inputs = torch.randn(2, shape.in_channels, *[9] * shape.spatial_dims, dtype=torch.double)
    for step in range(2):
        fused, report = fuse(block.eval(), inputs)
        kernel = next(m for m in fused.modules() if isinstance(m, nn.Conv1d | nn.Conv2d)).weight
        assert torch.equal(kernel == 0, ~mask)
        assert report.largest_relative_difference <= 1e-10
        # A step of training, whose statistics and weights then are others.
        optimizer = torch.optim.AdamW(block.parameters(), lr=0.1)
        block.train()(inputs * (step + 2)).square().sum().backward()
        optimizer.step()
        site.project()


@settings(max_examples=30, deadline=None, phases=PHASES)
@given(shape=shapes, topology=topologies, seed=st.integers(0, 2**16))
def test_a_mask_of_ones_changes_nothing_gradients_and_statistics_neither(shape, topology, seed) -> None:
    block, _ = block_and_mask(shape, topology, seed)
    ready = copy.deepcopy(block)
    BranchedSite(ready, 0.0)
    inputs = torch.randn(3, shape.in_channels, *[9] * shape.spatial_dims, dtype=torch.double)
    for one in (block, ready):
        one.train()(inputs).square().mean().backward()
    for left, right in zip(block.parameters(), ready.parameters(), strict=True):
        torch.testing.assert_close(left.grad, right.grad, atol=1e-9, rtol=1e-7)
    torch.testing.assert_close(block.eval()(inputs), ready.eval()(inputs), atol=1e-10, rtol=1e-10)


def sites_of(shape: tuple[int, ...]):
    torch.manual_seed(0)
    conv = ConvShape(4, 4, (1, 3))
    network = nn.Sequential(
        BranchedConv(conv, Topology(2, pointwise=True, identity=True)), nn.ReLU(),
        normed_conv(4, 4, (1, 3), groups=4), nn.ReLU(), normed_conv(4, 6, (1, 3), stride=(1, 2)), nn.ReLU(),
        nn.Conv2d(6, 5, (1, 3), padding=(0, 1), dilation=(1, 1)), nn.Flatten(), nn.Linear(25, 3),
    )  # fmt: skip
    network = randomise_norms(network)
    return network, kernel_sites(network, shape)


def test_dense_kernels_are_found_in_order() -> None:
    network, sites = sites_of((4, 1, 9))
    assert [site.module for site in sites] == [network[0], network[4], network[6], network[8]]
    assert [site.depth for site in sites] == [0, 2 / 5, 3 / 5, 4 / 5]


def test_a_kernel_is_that_after_fusion_and_changes_as_asked() -> None:
    network, sites = sites_of((4, 1, 9))
    changes = [torch.randn_like(site.kernel()) for site in sites]
    expected = [site.kernel() + change for site, change in zip(sites, changes, strict=True)]
    for site, change in zip(sites, changes, strict=True):
        site.add(change)
    fused = fused_copy(network.eval())
    for site, kernel, name in zip(sites, expected, (0, 4, 6, 8), strict=True):
        torch.testing.assert_close(site.kernel(), kernel, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(fused[name].weight, kernel, atol=1e-4, rtol=1e-4)


def test_columns_times_the_kernel_is_what_the_layer_computes() -> None:
    network, sites = sites_of((4, 1, 9))
    seen = {}
    for site in sites:
        site.module.register_forward_pre_hook(lambda module, given: seen.update({module: given[0]}))
    x = torch.randn(2, 4, 1, 9)
    with torch.no_grad():
        network.eval()(x)
    for site in sites:
        fused = site.module.fused() if isinstance(site.module, BranchedConv | Normed) else site.module
        with torch.no_grad():
            expected = fused(seen[site.module]) - fused.bias.reshape(1, -1, *[1] * (site.kernel().dim() - 2))
            found = site.columns(seen[site.module]) @ site.kernel().flatten(1).T
        if expected.dim() == 4:
            expected = expected.movedim(1, 3).flatten(0, 2)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dims", [1, 2])
def test_columns_of_a_strided_dilated_block(dims: int) -> None:
    shape = ConvShape(3, 5, (3,) * dims, stride=2, dilation=2, padding="causal")
    site = BranchedSite(BranchedConv(shape, Topology()).eval(), 0.0)
    x = torch.randn(2, 3, *[11] * dims)
    convolve = F.conv1d if dims == 1 else F.conv2d
    expected = convolve(F.pad(x, shape.pad_amounts), site.kernel(), stride=2, dilation=2)
    found = site.columns(x) @ site.kernel().flatten(1).T
    torch.testing.assert_close(found, expected.flatten(2).movedim(1, 2).flatten(0, 1), atol=1e-5, rtol=1e-5)
