"""The algebra of re-parameterisation against naive loops and closed forms."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from repareto.spaces.kernels import (
    CONVOLUTIONS,
    KernelAndBias,
    Statistics,
    average_kernel,
    compose_pointwise,
    embed_kernel,
    fold_batch_norm,
    identity_kernel,
)

seeds = st.integers(0, 2**16)
dims = st.integers(1, 2)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def naive_convolution(x: Tensor, kernel: Tensor, bias: Tensor, groups: int) -> Tensor:
    """A "valid" convolution of stride 1, one multiplication after another: x (in, *spatial) -> (out, *spatial')."""
    out_channels, per_group, *taps = kernel.shape
    sizes = [full - tap + 1 for full, tap in zip(x.shape[1:], taps, strict=True)]
    y = torch.zeros(out_channels, *sizes, dtype=x.dtype)
    for out in range(out_channels):
        group = out // (out_channels // groups)
        for place in itertools.product(*map(range, sizes)):
            total = bias[out].clone()
            for channel in range(per_group):
                for tap in itertools.product(*map(range, taps)):
                    seen = tuple(p + t for p, t in zip(place, tap, strict=True))
                    total += kernel[(out, channel, *tap)] * x[(group * per_group + channel, *seen)]
            y[(out, *place)] = total
    return y


def convolve(x: Tensor, conv: KernelAndBias, groups: int = 1) -> Tensor:
    return CONVOLUTIONS[conv.kernel.dim() - 2](x[None], conv.kernel, conv.bias, groups=groups)[0]


def statistics(seed: int, channels: int) -> Statistics:
    variance = torch.rand(channels, dtype=torch.float64, generator=generator(seed)) * 3 + 0.01
    return Statistics(
        normal(seed + 1, channels), variance, normal(seed + 2, channels), normal(seed + 3, channels), 1e-5
    )


@settings(max_examples=20, deadline=None)
@given(seeds, dims, st.sampled_from([1, 2]))
def test_the_naive_loop_is_torchs_convolution(seed: int, spatial: int, groups: int) -> None:
    """The oracle itself."""
    conv = KernelAndBias(normal(seed, 4, 4 // groups, *[2] * spatial), normal(seed + 1, 4))
    x = normal(seed + 2, 4, *[4] * spatial)
    torch.testing.assert_close(naive_convolution(x, *conv, groups), convolve(x, conv, groups))


@settings(max_examples=30, deadline=None)
@given(seeds, dims, st.sampled_from([1, 2, 4]))
def test_folding_equals_a_convolution_and_its_normalisation(seed: int, spatial: int, groups: int) -> None:
    conv = KernelAndBias(normal(seed, 4, 4 // groups, *[3] * spatial), normal(seed + 1, 4))
    norm = statistics(seed, 4)
    x = normal(seed + 2, 4, *[5] * spatial)
    y = convolve(x, conv, groups)[None]
    expected = F.batch_norm(y, norm.mean, norm.variance, norm.weight, norm.bias, eps=norm.eps)[0]
    folded = fold_batch_norm(conv, norm)
    torch.testing.assert_close(convolve(x, folded, groups), expected, rtol=1e-10, atol=1e-10)


def test_folding_in_closed_form() -> None:
    one = torch.ones(1, dtype=torch.float64)
    folded = fold_batch_norm(
        KernelAndBias(6 * one.reshape(1, 1, 1), 5 * one), Statistics(2 * one, 3 * one, 8 * one, 7 * one, 1.0)
    )
    # t = 8 / sqrt(3 + 1) = 4; W' = 4 * 6; b' = 7 + (5 - 2) * 4.
    assert folded.kernel.item() == 24 and folded.bias.item() == 19


def test_folding_a_normalisation_that_does_nothing_changes_nothing() -> None:
    conv = KernelAndBias(normal(0, 3, 2, 5), normal(1, 3))
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    folded = fold_batch_norm(conv, Statistics(zero, one, one, zero, 0.0))
    assert torch.equal(folded.kernel, conv.kernel) and torch.equal(folded.bias, conv.bias)


def test_a_channel_without_variance_stays_finite() -> None:
    zero, one = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    folded = fold_batch_norm(KernelAndBias(normal(0, 2, 2, 3), zero), Statistics(zero, zero, one, zero, 1e-5))
    assert folded.kernel.isfinite().all()


@given(seeds, dims, st.data())
def test_an_embedded_kernel_reads_the_same_taps(seed: int, spatial: int, data) -> None:
    small = tuple(data.draw(st.integers(1, 3)) for _ in range(spatial))
    large = tuple(size + data.draw(st.integers(0, 3)) for size in small)
    offset = tuple(data.draw(st.integers(0, b - a)) for a, b in zip(small, large, strict=True))
    kernel = normal(seed, 2, 3, *small)
    embedded = embed_kernel(kernel, large, offset)
    expected = torch.zeros(2, 3, *large, dtype=torch.float64)
    for tap in itertools.product(*map(range, small)):
        expected[(..., *(t + o for t, o in zip(tap, offset, strict=True)))] = kernel[(..., *tap)]
    assert torch.equal(embedded, expected)


@pytest.mark.parametrize(
    ("small", "large", "offset"),
    [((3,), (2,), (0,)), ((3,), (5,), (3,)), ((3,), (5,), (-1,)), ((3, 3), (3, 5), (1, 1))],
)
def test_a_kernel_that_does_not_fit(small, large, offset) -> None:
    with pytest.raises(ValueError, match="does not fit into"):
        embed_kernel(torch.zeros(1, 1, *small), large, offset)


@settings(deadline=None)
@given(seeds, dims, st.sampled_from([(1, 1), (4, 1), (4, 2), (4, 4), (6, 3)]))
def test_the_identity_kernel_copies_its_input(seed: int, spatial: int, shape: tuple[int, int]) -> None:
    channels, groups = shape
    kernel = identity_kernel(channels, groups, spatial, torch.zeros(1, dtype=torch.float64))
    assert kernel.shape == (channels, channels // groups, *[1] * spatial)
    assert kernel.dtype == torch.float64
    x = normal(seed, channels, *[3] * spatial)
    zero = torch.zeros(channels, dtype=torch.float64)
    assert torch.equal(naive_convolution(x, kernel, zero, groups), x)
    assert torch.equal(convolve(x, KernelAndBias(kernel, zero), groups), x)


@settings(deadline=None)
@given(seeds, st.sampled_from([(2,), (3,), (2, 3)]), st.sampled_from([(4, 1), (4, 2), (4, 4)]))
def test_the_average_kernel_averages(seed: int, size: tuple[int, ...], shape: tuple[int, int]) -> None:
    channels, groups = shape
    kernel = average_kernel(channels, groups, size, torch.zeros(1, dtype=torch.float64))
    x = normal(seed, channels, *[5] * len(size))
    zero = torch.zeros(channels, dtype=torch.float64)
    pool = {1: F.avg_pool1d, 2: F.avg_pool2d}[len(size)]
    expected = pool(x[None], size, stride=1)[0]
    torch.testing.assert_close(convolve(x, KernelAndBias(kernel, zero), groups), expected)
    torch.testing.assert_close(naive_convolution(x, kernel, zero, groups), expected)
    assert kernel.sum().item() == pytest.approx(channels)


@settings(max_examples=40, deadline=None)
@given(
    seeds, dims, st.sampled_from([(1, 3, 5, 2), (2, 2, 3, 1), (2, 4, 2, 2), (4, 4, 4, 4)]), st.sampled_from([1, 2, 3])
)
def test_a_composed_kernel_is_the_pointwise_one_and_then_the_other(seed, spatial, shape, size) -> None:
    """Groups, input, middle and output channels (the middle ones a group times the groups)."""
    groups, inputs, middle, outputs = shape
    inputs, middle, outputs = (groups * -(-count // groups) for count in (inputs, middle, outputs))
    first = KernelAndBias(normal(seed, middle, inputs // groups, *[1] * spatial), normal(seed + 1, middle))
    second = KernelAndBias(normal(seed + 2, outputs, middle // groups, *[size] * spatial), normal(seed + 3, outputs))
    composed = compose_pointwise(first, second, groups)
    assert composed.kernel.shape == (outputs, inputs // groups, *[size] * spatial)
    x = normal(seed + 4, inputs, *[4] * spatial)
    in_two_steps = convolve(convolve(x, first, groups), second, groups)
    torch.testing.assert_close(convolve(x, composed, groups), in_two_steps, rtol=1e-10, atol=1e-10)
    naive = torch.zeros_like(composed.kernel)
    for out, channel in itertools.product(range(outputs), range(inputs // groups)):
        group = out // (outputs // groups)
        for inner in range(middle // groups):
            weight = first.kernel[group * (middle // groups) + inner, channel].sum()
            naive[out, channel] += second.kernel[out, inner] * weight
    torch.testing.assert_close(composed.kernel, naive, rtol=1e-10, atol=1e-10)


def test_composing_with_the_identity_changes_nothing() -> None:
    second = KernelAndBias(normal(0, 5, 4, 3, 3), normal(1, 5))
    zero = torch.zeros(4, dtype=torch.float64)
    composed = compose_pointwise(KernelAndBias(identity_kernel(4, 1, 2, zero), zero), second, 1)
    torch.testing.assert_close(composed.kernel, second.kernel)
    assert torch.equal(composed.bias, second.bias)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_is_kept_and_inputs_are_left_alone(dtype: torch.dtype) -> None:
    conv = KernelAndBias(normal(0, 2, 2, 3).to(dtype), normal(1, 2).to(dtype))
    norm = Statistics(*(tensor.to(dtype) for tensor in statistics(0, 2)[:4]), 1e-5)
    before = [tensor.clone() for tensor in (*conv, *norm[:4])]
    results = [
        *fold_batch_norm(conv, norm),
        embed_kernel(conv.kernel, (5,), (1,)),
        identity_kernel(2, 1, 1, norm.mean),
        average_kernel(2, 1, (3,), norm.mean),
        *compose_pointwise(KernelAndBias(conv.kernel[..., :1], conv.bias), conv, 1),
    ]
    assert all(result.dtype == dtype for result in results)
    assert all(torch.equal(old, new) for old, new in zip(before, (*conv, *norm[:4]), strict=True))
