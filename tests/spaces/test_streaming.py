"""Networks that listen hop by hop: equal to the whole-window network, and honest about what cannot be streamed."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Int, load_space
from repareto.spaces.streaming import Streaming, streaming
from tests.spaces.networks import randomise_norms

SPACE = RepCNN(width=Int(4, 8, step=4), stages=Int(1, 3), padding="causal")
SHAPES = ((6, 23), (1, 5, 24))


def fused_network(seed: int, shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(seed)
    network = randomise_norms(SPACE.build(SPACE.draw(random.Random(seed)), shape, 3).double().eval(), seed)
    return fused_copy(network)


def listen(stream: Streaming, frames: Tensor) -> Tensor:
    """The logits after each hop, (hops, classes)."""
    states = tuple(state.double() for state in stream.silence())
    heard = []
    for hop in frames.split(stream.hop_frames, dim=-1):
        logits, *new = stream(hop, *states)
        states = tuple(new)
        heard.append(logits)
    return torch.cat(heard)


def trunk_and_head(network: nn.Module) -> tuple[nn.Sequential, nn.Sequential, int]:
    layers = list(network)  # type: ignore[call-overload]
    (pool,) = (place for place, layer in enumerate(layers) if isinstance(layer, nn.AvgPool2d))
    return nn.Sequential(*layers[:pool]), nn.Sequential(*layers[pool:]), layers[pool].kernel_size[1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES))
@torch.no_grad()
def test_streaming_equals_the_whole_window_and_then_slides(seed: int, shape: tuple[int, ...]) -> None:
    network = fused_network(seed, shape)
    stream = streaming(network, shape).double()
    generator = torch.Generator().manual_seed(seed)
    hops = 3 * stream.window_hops
    sound = torch.randn(1, *shape[:-1], hops * stream.hop_frames, dtype=torch.float64, generator=generator)
    heard = listen(stream, sound)

    # All at once, in two pieces.
    place = stream.hop_frames * (1 + seed % (hops - 1))
    first, *states = stream.over(sound[..., :place], *(state.double() for state in stream.silence()))
    second, *_ = stream.over(sound[..., place:], *states)
    assert (torch.cat([first, second], dim=1)[0] - heard).abs().max() <= 1e-10
    window = network(sound[..., : shape[-1]])[0]
    assert (heard[stream.window_hops - 1] - window).abs().max() <= 1e-10
    # Later: the same convolutions over the whole sound, with a pool that slides.
    trunk, head, pooled = trunk_and_head(network)
    assert pooled == stream.window_hops
    windows = trunk(sound).unfold(-1, pooled, 1)
    slid = torch.cat([head(windows[..., place, :]) for place in range(windows.shape[-2])])
    assert (heard[pooled - 1 :] - slid).abs().max() <= 1e-10


@torch.no_grad()
def test_sounds_are_heard_side_by_side() -> None:
    stream = streaming(fused_network(3, (6, 23)), (6, 23)).double()
    sounds = torch.randn(2, 6, 12 * stream.hop_frames, dtype=torch.float64)
    logits, *_ = stream.over(sounds, *(state.double() for state in stream.silence(2)))
    assert logits.shape == (2, 12, 3)
    for sound, heard in zip(sounds, logits, strict=True):
        torch.testing.assert_close(heard, listen(stream, sound[None]))


def test_states_are_what_convolutions_and_the_pool_look_back_on() -> None:
    network = nn.Sequential(
        nn.Unflatten(1, (6, 1)),
        nn.ConstantPad2d((4, 0, 0, 0), 0.0),
        nn.Conv2d(6, 8, (1, 3), stride=2, dilation=(1, 2)),
        nn.ReLU(),
        nn.AvgPool2d((1, 10)),
        nn.Flatten(),
        nn.Linear(8, 2),
    ).eval()
    stream = streaming(network, (6, 20))
    assert (stream.hop_frames, stream.window_hops) == (2, 10)
    assert stream.state_shapes == ((6, 1, 4), (8, 1, 9))
    assert stream.state_values == 24 + 72
    logits, *states = stream(torch.zeros(5, 6, 2), *stream.silence(5))
    assert logits.shape == (5, 2) and [tuple(state.shape) for state in states] == [(5, 6, 1, 4), (5, 8, 1, 9)]


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.Conv2d(6, 6, (1, 3), padding=(0, 1)), r"Conv2d\(.*\) is not causal"),
        (nn.ConstantPad2d((1, 1, 0, 0), 0.0), "puts frames after the window"),
        (nn.AvgPool2d((1, 2)), "pools 2 of 20 frames"),
        (nn.LSTM(20, 20), "has no streaming form"),
        (nn.ReLU(), "does not pool over its window"),
    ],
)
def test_what_cannot_be_streamed_is_named(layer: nn.Module, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        streaming(nn.Sequential(nn.Unflatten(1, (6, 1)), layer, nn.Conv2d(6, 1, 1)).eval(), (6, 20))


def test_a_network_of_same_padding_is_refused() -> None:
    space = load_space({"name": "repcnn"})
    with pytest.raises(UserError, match="not causal"):
        streaming(fused_copy(space.build(space.middle(), (6, 23), 3).eval()), (6, 23))


def test_a_padding_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UserError, match=r"space.padding: 'valid' is not same or causal"):
        load_space({"name": "repcnn", "padding": "valid"})


def test_a_pool_over_bands_is_none_over_frames() -> None:
    network = nn.Sequential(
        nn.AvgPool2d((4, 1)),
        nn.ConstantPad2d((2, 0, 0, 0), 0.0),
        nn.Conv2d(1, 2, (1, 3)),
        nn.AvgPool2d((1, 9)),
        nn.Flatten(),
    ).eval()
    stream, sound = streaming(network, (1, 4, 9)), torch.randn(1, 1, 4, 9)
    states = stream.silence()
    for hop in sound.split(1, dim=-1):
        logits, *states = stream(hop, *states)
    torch.testing.assert_close(logits, network(sound))
