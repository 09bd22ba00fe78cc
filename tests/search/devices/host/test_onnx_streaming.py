"""Streaming files: what ONNX Runtime hears hop by hop is what the whole-window network hears."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.devices.host.onnx_runtime import onnx_bytes, run_onnx
from repareto.search.devices.host.onnx_streaming import OnnxStream, streaming_onnx
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Int
from repareto.spaces.streaming import streaming
from tests.spaces.networks import randomise_norms

SHAPE = (6, 24)
SPACE = RepCNN(width=Int(4, 8, step=4), stages=Int(2, 3), padding="causal")


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return fused_copy(randomise_norms(SPACE.build(SPACE.draw(random.Random(seed)), SHAPE, 3).eval(), seed))


@pytest.fixture(scope="module")
def stream() -> OnnxStream:
    return OnnxStream(streaming_onnx(streaming(network(1), SHAPE), SHAPE, ["a", "b", "c"]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_file_hears_what_the_window_network_hears(seed: int) -> None:
    fused = network(seed)
    heard = OnnxStream(streaming_onnx(streaming(fused, SHAPE), SHAPE, ["a", "b", "c"]))
    windows = np.random.default_rng(seed).standard_normal((4, *SHAPE)).astype(np.float32)
    expected = run_onnx(onnx_bytes(fused, torch.zeros(1, *SHAPE)), windows)
    assert heard.labels == ["a", "b", "c"]
    assert heard.window_hops * heard.hop_shape[-1] == SHAPE[-1]
    for window, logits in zip(windows, expected, strict=True):
        heard.reset()
        answers = [heard.step(hop) for hop in np.split(window, heard.window_hops, axis=-1)]
        assert np.abs(answers[-1] - logits).max() <= 1e-5 * np.abs(expected).max()


def test_states_can_be_put_away_and_taken_up(stream: OnnxStream) -> None:
    hops = np.random.default_rng(0).standard_normal((3, *stream.hop_shape)).astype(np.float32)
    stream.reset()
    stream.step(hops[0])
    kept = [state.copy() for state in stream.states]
    expected = stream.step(hops[1])
    assert not np.array_equal(stream.step(hops[1]), expected)
    stream.states = kept
    assert np.array_equal(stream.step(hops[1]), expected)


def test_wrong_shapes_and_files_are_refused(stream: OnnxStream) -> None:
    with pytest.raises(UserError, match=r"a hop of shape \(6, 99\): the model takes \(6, \d\)"):
        stream.step(np.zeros((6, 99), np.float32))
    with pytest.raises(UserError, match=r"states of shapes \[\(1, 2\)\]: the model carries"):
        stream.states = [np.zeros((1, 2), np.float32)]
    with pytest.raises(UserError, match="is no streaming model"):
        OnnxStream(onnx_bytes(network(0), torch.zeros(1, *SHAPE), ["a", "b", "c"]))


def test_a_hop_can_be_timed(stream: OnnxStream) -> None:
    latency = stream.measure_latency_us(repeats=20, seconds=0.05)
    assert 0 < latency.min_us <= latency.median_us
