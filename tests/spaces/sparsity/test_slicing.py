"""A sliced network computes what the masked one does, whatever it is made of."""

import random

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from repareto.spaces.exits.network import AllAnswers
from repareto.spaces.fusion import fused_copy
from repareto.spaces.layers import Grouped
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.places import inner_axes
from repareto.spaces.sparsity.slicing import kept_at, slice_zeros, sliced_to_levels
from repareto.spaces.sparsity.walk import flow_of
from repareto.spaces.sparsity.widths import widths_of
from tests.spaces.networks import randomise_norms

NAMES = ("repcnn", "bc_resnet", "ds_cnn", "matchboxnet", "mixed_kernels", "tc_resnet8")
WITH_EXITS = {f"{name} with exits": name for name in ("repcnn", "ds_cnn", "mixed_kernels")}
BANDS, FRAMES = 40, 13
# A network that fails does so at any size; making it smaller would take minutes.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}


def fused_network(name: str, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    narrow = {"repcnn": {"width": [4, 16], "stages": [1, 2]}, "bc_resnet": {"width": 8}, "matchboxnet": {"blocks": 2}}
    exits = {"exits": {"count": [1, 3]}} if name in WITH_EXITS else {}
    name = WITH_EXITS.get(name, name)
    space = load_space({"name": name, **narrow.get(name, {}), **exits})
    network = space.build(space.draw(random.Random(seed)), (BANDS, FRAMES), 4).eval()
    return fused_copy(randomise_norms(network, seed).to(dtype))


def masked(fused: nn.Module, shape: tuple[int, ...], share: float, seed: int, *, biases_too: bool) -> nn.Module:
    """Set to zero what makes a share of the channels of each width, in place."""
    flow = flow_of(fused, shape)
    labels, gone = flow.labels(), torch.zeros(flow.count, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    for width in widths_of(flow):
        order = torch.randperm(len(width.labels), generator=generator)
        gone[width.labels[order[width.kept(share) :]]] = True
    weights = {**dict(fused.named_parameters()), **dict(fused.named_buffers())}
    for name, roles in flow.owners.items():
        numbers = roles.get("writes", roles.get("tied"))
        is_kernel = weights[name].dim() > 1 and "writes" in roles
        if numbers is not None and (is_kernel or biases_too):
            weights[name].data.flatten()[gone[labels[numbers]]] = 0
    return fused


def difference(one: nn.Module, other: nn.Module, shape: tuple[int, ...]) -> float:
    inputs = torch.randn(3, *shape, dtype=next(one.parameters()).dtype)
    with torch.no_grad():
        left, right = AllAnswers(one)(inputs), AllAnswers(other)(inputs)
    return float((left - right).abs().max() / left.abs().max())


@pytest.mark.parametrize("name", [*NAMES, *WITH_EXITS])
@settings(max_examples=6, deadline=None, phases=PHASES)
@given(seed=st.integers(0, 2**16), share=st.sampled_from([0.3, 0.7, 0.95]), dtype=st.sampled_from(list(TOLERANCES)))
def test_sliced_equals_masked(name: str, seed: int, share: float, dtype: torch.dtype) -> None:
    shape = (BANDS, FRAMES)
    network = masked(fused_network(name, seed, dtype), shape, share, seed, biases_too=True)
    sliced, report = slice_zeros(network, shape)
    assert difference(network, sliced, shape) <= TOLERANCES[dtype]
    widths = widths_of(flow_of(network, shape))
    assert report.removed == report.channels - sum(kept_at(widths, (share,)))
    assert report.unknown_operators == ()
    # The skeleton that was profiled before training has the same shapes.
    skeleton, _ = sliced_to_levels(network.to("meta"), shape, (share,))
    assert [p.shape for p in skeleton.state_dict().values()] == [p.shape for p in sliced.state_dict().values()]


@pytest.mark.parametrize("name", [*NAMES, *WITH_EXITS])
@settings(max_examples=4, deadline=None, phases=PHASES)
@given(seed=st.integers(0, 2**16))
def test_what_a_silent_channel_still_gives_is_not_lost(name: str, seed: int) -> None:
    """A kernel of zeros has a bias, which goes through activations into the layers that read it."""
    shape = (BANDS, FRAMES)
    network = masked(fused_network(name, seed), shape, 0.5, seed, biases_too=False)
    sliced, _ = slice_zeros(network, shape)
    assert difference(network, sliced, shape) <= 1e-10


class SqueezeExcite(nn.Module):
    """A gate for each channel, made of the means of all."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


class Gated(nn.Module):
    """Two halves of a convolution, one the gate of the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.both = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.glu(self.both(x), dim=1)


class Sum(nn.Module):
    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return sum((part(x) for part in self.parts), start=torch.zeros(()))


def conv(read: int, written: int, kernel: int = 3, groups: int = 1, **settings) -> nn.Conv2d:
    return nn.Conv2d(read, written, kernel, padding=kernel // 2, groups=groups, **settings)


BLOCKS = {
    "squeeze and excitation": lambda: [conv(3, 8), nn.ReLU(), SqueezeExcite(8, 4), conv(8, 6)],
    "glu": lambda: [conv(3, 8), nn.ReLU(), Gated(8), conv(8, 6)],
    "residual of a depthwise": lambda: [conv(3, 8), Sum(nn.Identity(), conv(8, 8, 5, 8)), nn.ReLU(), conv(8, 6)],
    "three summands": lambda: [Sum(conv(3, 6), nn.Sequential(conv(3, 4), nn.SiLU(), conv(4, 6)), conv(3, 6, 1))],
    "grouped": lambda: [conv(3, 8), nn.ReLU(), conv(8, 12, groups=2), nn.ReLU(), conv(12, 6)],
    "depthwise multiplier": lambda: [conv(3, 4), nn.ReLU(), conv(4, 8, groups=4), nn.ReLU(), conv(8, 6)],
    "groups side by side": lambda: [conv(3, 8), Grouped([3, 5], [conv(3, 3, 3, 3), conv(5, 4)]), nn.ReLU(), conv(7, 6)],
    "norm of its own": lambda: [conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 6)],
    "sigmoid": lambda: [conv(3, 8), nn.Sigmoid(), nn.Conv2d(8, 6, 1)],
    "max pool": lambda: [conv(3, 8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 6)],
}


def around(block: list[nn.Module]) -> nn.Module:
    network = nn.Sequential(*block, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 3))
    return randomise_norms(network).eval().double()


@pytest.mark.parametrize("biases_too", [True, False])
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_that_others_build(name: str, biases_too: bool) -> None:
    torch.manual_seed(1)
    shape = (3, 9, 8)
    network = masked(around(BLOCKS[name]()), shape, 0.5, 0, biases_too=biases_too)
    sliced, report = slice_zeros(network, shape)
    assert difference(network, sliced, shape) <= 1e-10
    if biases_too or name == "sigmoid":
        assert report.removed > 0
        assert sum(p.numel() for p in sliced.parameters()) < sum(p.numel() for p in network.parameters())


def test_what_padding_makes_inexact_stays() -> None:
    """A channel that is one everywhere is not so at the border of a padded convolution."""
    network = nn.Sequential(conv(3, 4), nn.ReLU(), conv(4, 2), nn.Flatten(), nn.Linear(2 * 25, 2)).eval()
    network[0].weight.data[1:3] = 0
    network[0].bias.data[1:3] = torch.tensor([-1.0, 1.0])
    sliced, report = slice_zeros(network, (3, 5, 5))
    assert (report.removed, sliced[0].out_channels) == (1, 3)
    assert difference(network, sliced, (3, 5, 5)) <= 1e-5


def test_an_unknown_operator_is_named_and_left_whole() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cumsum(x, 1)

    network = nn.Sequential(conv(3, 4), Odd(), conv(4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, 2)).eval()
    sliced, report = sliced_to_levels(network, (3, 5, 5), (0.5,))
    assert report.unknown_operators == ("aten.cumsum",)
    assert (sliced[0].out_channels, sliced[2].out_channels) == (4, 2)
    assert sliced(torch.zeros(1, 3, 5, 5)).shape == (1, 2)


def test_no_layer_loses_its_last_channel() -> None:
    network = fused_network("mixed_kernels", 3)
    sliced, _ = sliced_to_levels(network, (BANDS, FRAMES), (1.0,))
    channels = [module.out_channels for module in sliced.modules() if isinstance(module, nn.Conv2d)]
    assert min(channels) == 1
    assert sliced(torch.zeros(1, BANDS, FRAMES, dtype=torch.double)).shape == (1, 4)
    nothing = network
    for parameter in nothing.parameters():
        parameter.data.zero_()
    sliced, _ = slice_zeros(nothing, (BANDS, FRAMES))
    assert min(module.out_channels for module in sliced.modules() if isinstance(module, nn.Conv2d)) == 1


def test_a_layer_that_is_used_twice_stays_one() -> None:
    shared = conv(4, 4)
    network = nn.Sequential(conv(3, 4), shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(100, 2)).eval().double()
    sliced, _ = sliced_to_levels(network, (3, 5, 5), (0.5,))
    assert sliced[1] is sliced[3]
    assert sliced[1].weight.shape[:2] == (2, 2)
    assert sliced(torch.zeros(1, 3, 5, 5).double()).shape == (1, 2)


def test_the_network_is_left_as_it_was() -> None:
    network = fused_network("tc_resnet8", 0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    sliced_to_levels(network, (BANDS, FRAMES), (0.5,))
    slice_zeros(network, (BANDS, FRAMES))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_levels_are_of_equal_parts_of_the_depth() -> None:
    network = nn.Sequential(
        *[layer for _ in range(5) for layer in (conv(8, 8), nn.ReLU())], nn.Flatten(), nn.Linear(200, 2)
    )
    sliced, _ = sliced_to_levels(network.eval(), (8, 5, 5), (0.0, 0.5, 0.75))
    assert [sliced[index].out_channels for index in range(0, 10, 2)] == [8, 8, 4, 4, 2]


def attention() -> nn.Module:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value, self.out = (nn.Linear(8, 8) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (layer(x) for layer in (self.query, self.key, self.value))
            return x + self.out(torch.softmax(q @ k.mT, -1) @ v)

    return nn.Sequential(
        nn.Linear(5, 8), Attention(), nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8), nn.Flatten(), nn.Linear(48, 2)
    )


def test_attention_of_one_head() -> None:
    torch.manual_seed(0)
    network = masked(attention().eval().double(), (6, 5), 0.5, 0, biases_too=True)
    sliced, report = slice_zeros(network, (6, 5))
    assert report.unknown_operators == ()
    assert difference(network, sliced, (6, 5)) <= 1e-10
    assert (sliced[1].query.out_features, sliced[1].key.out_features) == (4, 4)
    assert sliced[2].out_features == 8


def test_heads_go_as_a_whole_through_a_conformer() -> None:
    space = load_space({"name": "conformer_ctc"})
    shape = (40, 48)
    torch.manual_seed(0)
    fused = fused_copy(randomise_norms(space.build(space.middle(), shape, 9)).eval().double())
    attention = fused.blocks[0].attention
    heads = attention.query.out_features // attention.head_width
    network = masked(fused, shape, 0.5, 0, biases_too=True)
    sliced, report = slice_zeros(network, shape)
    assert report.unknown_operators == ()
    assert difference(network, sliced, shape) <= 1e-10
    first, whole = sliced.blocks[0], network.blocks[0]
    assert first.attention.query.out_features == round(heads / 2) * attention.head_width
    assert first.first.expand.out_features == whole.first.expand.out_features // 2
    assert first.convolution.value.out_features == whole.convolution.value.out_features // 2
    assert first.norm.normalized_shape == whole.norm.normalized_shape


@pytest.mark.parametrize(
    ("before", "after", "inner"),
    [
        ((1, 6, 4), (1, 6, 2, 2), [3]),
        ((1, 6, 4), (1, 24), []),
        ((1, 24), (1, 6, 4), [2]),
        ((1, 24), (1, 24, 1, 1), []),
        ((1, 8, 3, 4), (1, 2, 4, 3, 4), [2]),
        ((2, 3, 4), (6, 4), []),
    ],
)
def test_which_axes_a_reshape_splits_off(before: tuple[int, ...], after: tuple[int, ...], inner: list[int]) -> None:
    assert inner_axes(before, after) == inner
