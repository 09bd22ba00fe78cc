"""Stages that listen hop by hop answer as the whole window does, at every exit."""

import pytest
import torch
from torch import Tensor, nn

from repareto.spaces.errors import UserError
from repareto.spaces.exits.network import MultiExit
from repareto.spaces.exits.streaming import StreamingExits, streaming_exits
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from tests.spaces.networks import randomise_norms

SHAPE, CLASSES = (6, 16), 4


def causal_network(stride: int = 2, shape: tuple[int, int] = SHAPE, **exits: object) -> MultiExit:
    space = load_space(
        {
            "name": "repcnn", "stages": 2, "blocks": 2, "width": 8, "kernel": 3, "stride": stride, "padding": "causal",
            "exits": {"count": 2, "head": "pool-linear", **exits},
        }
    )  # fmt: skip
    torch.manual_seed(0)
    model = fused_copy(randomise_norms(space.build(space.middle(), shape, CLASSES).eval()))
    assert isinstance(model, MultiExit)
    return model


def hear_all(stream: StreamingExits, sound: Tensor) -> list[list[Tensor]]:
    """The logits of every exit after each hop of a sound (1, bands, frames)."""
    states = [[torch.zeros(1, *shape) for shape in stage.state_shapes] for stage in stream.stages]
    heard = []
    for x in sound.split(stream.hop_frames, dim=-1):
        logits = []
        for place, stage in enumerate(stream.stages):
            (*given,) = stage(x, *states[place])
            states[place] = given[len(given) - len(states[place]) :]
            ends = given[: len(given) - len(states[place])]
            logits.append(ends[-1])
            x = ends[0]
        heard.append(logits)
    return heard


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 2])
def test_every_exit_answers_after_a_window_as_the_network_does(stride: int) -> None:
    network = causal_network(stride)
    stream = streaming_exits(network, SHAPE)
    assert stream.hop_frames * stream.window_hops == SHAPE[-1] and len(stream.stages) == 3
    assert stream.hop_frames == (1 if stride == 1 else stream.hop_frames) and (stride == 1 or stream.hop_frames > 1)
    windows = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    for window in windows:
        heard = hear_all(stream, window[None])
        assert len(heard) == stream.window_hops
        torch.testing.assert_close(torch.stack(heard[-1]), torch.stack(network.answers(window[None])))


@torch.no_grad()
def test_an_answer_depends_on_no_more_hops_than_are_remembered() -> None:
    network = causal_network()
    stream = streaming_exits(network, SHAPE)
    generator = torch.Generator().manual_seed(2)
    recent = torch.randn(1, SHAPE[0], stream.memory_hops[0] * stream.hop_frames, generator=generator)
    sounds = [
        torch.cat([torch.randn(1, SHAPE[0], 8 * stream.hop_frames, generator=generator), recent], -1) for _ in range(2)
    ]
    first, second = (hear_all(stream, sound) for sound in sounds)
    torch.testing.assert_close(first[-1], second[-1], rtol=0, atol=0)
    assert any((one - other).abs().max() > 0 for one, other in zip(first[-8], second[-8], strict=True))
    assert list(stream.memory_hops) == sorted(stream.memory_hops, reverse=True)
    assert stream.memory_hops[-1] >= stream.window_hops


def test_what_cannot_listen_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"the head of exit 1: .* \(narrow space.exits.head to pool-linear\)"):
        streaming_exits(causal_network(head="linear"), SHAPE)
    with pytest.raises(UserError, match=r"the head of exit 1: .* \(narrow space.exits.head to pool-linear\)"):
        streaming_exits(causal_network(head="conv"), SHAPE)
    odd = (SHAPE[0], SHAPE[1] + 1)
    with pytest.raises(UserError, match="a window of 17 frames is no whole number of hops of"):
        streaming_exits(causal_network(shape=odd), odd)
    with pytest.raises(UserError, match=r"has no streaming form|is not causal"):
        streaming_exits(_with(causal_network(), nn.BatchNorm2d(8).eval()), SHAPE)


def _with(network: MultiExit, layer: nn.Module) -> MultiExit:
    network.segments[0].append(layer)  # type: ignore[operator]
    return network
