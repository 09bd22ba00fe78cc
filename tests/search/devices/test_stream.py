"""Streaming files on every device: what they hear is what torch hears, and what they cost is what was planned."""

import random
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from repareto.search.devices.base import Device
from repareto.search.devices.executorch.device import MobileXnnpack
from repareto.search.devices.graph import Graph
from repareto.search.devices.host.devices import (
    HostLiteRt,
    HostLiteRtInt8,
    HostOnnxRuntime,
    HostOnnxRuntimeInt8,
    Reference,
)
from repareto.search.devices.latency.roofline import REFERENCE
from repareto.search.devices.readers.onnx_reader import read_onnx
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.stream import MOST_WINDOWS, Stream, calibration_streams, hear_windows
from repareto.search.devices.targets import device
from repareto.search.devices.tflite.read import read_tflite
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from repareto.spaces.streaming import Streaming, streaming
from tests.search.devices.streams import (
    KEYWORD_SHAPE,
    LABELS,
    SHAPES,
    SPACE,
    fused_network,
    keyword_network,
    keyword_stream,
    keywords,
    torch_hears,
    windows,
)

FLOAT = (HostOnnxRuntime, HostLiteRt)
INT8 = (HostOnnxRuntimeInt8, HostLiteRtInt8)


def hop_graph(stream: Streaming, shape: tuple[int, ...]) -> Graph:
    return read_module(stream, stream.input_shapes(shape))


def hear(stream: Stream, sound: np.ndarray) -> np.ndarray:
    hops = np.split(sound, sound.shape[-1] // stream.hop_shape[-1], axis=-1)
    return np.stack([stream.step(hop) for hop in hops])


@cache
def keyword_file(kind: type[Device]) -> bytes:
    return kind(REFERENCE).convert_stream(keyword_stream(), KEYWORD_SHAPE, keywords(64, 0)[0], LABELS)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", FLOAT)
@pytest.mark.parametrize("seed", range(6))
def test_a_float_file_hears_windows_and_long_sounds_as_torch_does(kind: type[Device], seed: int) -> None:
    shape = SHAPES[seed % 2]
    network = fused_network(seed, shape)
    stream = streaming(network, shape)
    target = kind(REFERENCE)  # type: ignore[call-arg]
    opened = target.open_stream(target.convert_stream(stream, shape, None, LABELS))
    assert (opened.hop_shape, opened.window_hops) == ((*shape[:-1], stream.hop_frames), stream.window_hops)
    assert opened.labels == LABELS
    assert opened.state_bytes == target.lowered(hop_graph(stream, shape)).state_bytes

    heard_alone = windows(shape, 3)
    with torch.no_grad():
        expected = network(torch.from_numpy(heard_alone)).numpy()
    largest = np.abs(expected).max()
    assert np.abs(hear_windows(opened, heard_alone) - expected).max() <= 1e-5 * max(1, largest)
    opened.reset()
    sound = windows((*shape[:-1], 5 * stream.window_hops * stream.hop_frames), 1)[0]
    expected = torch_hears(stream, sound)
    assert np.abs(hear(opened, sound) - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


@pytest.mark.parametrize("kind", INT8)
def test_an_int8_file_decides_hop_by_hop_as_float(kind: type[Device]) -> None:
    features, labels = keywords(150, 1)
    opened = kind(REFERENCE).open_stream(keyword_file(kind))  # type: ignore[call-arg]
    with torch.no_grad():
        whole = keyword_network()(torch.from_numpy(features)).numpy()
    assert (whole.argmax(1) == labels).mean() > 0.95
    alone = hear_windows(opened, features)
    assert (alone.argmax(1) == whole.argmax(1)).mean() >= 0.98
    opened.reset()
    sound = np.concatenate(list(features), axis=-1)
    expected, heard = torch_hears(keyword_stream(), sound), hear(opened, sound)
    # Between two words the classes come close.
    assert (heard.argmax(1) == expected.argmax(1)).mean() >= 0.97
    assert np.abs(heard - expected).mean() <= 0.01 * np.abs(expected).max()
    assert np.abs(heard - expected).max() <= 0.08 * np.abs(expected).max()


@pytest.mark.parametrize("kind", INT8)
def test_int8_states_are_bytes_whose_zero_is_silence(kind: type[Device]) -> None:
    target = kind(REFERENCE)  # type: ignore[call-arg]
    opened = target.open_stream(keyword_file(kind))
    stream = keyword_stream()
    assert opened.state_bytes == stream.state_values
    assert all(state.dtype == np.int8 for state in opened.states)
    # The first state holds features: of silence they are zeros again.
    before = opened.states[0].copy()
    opened.step(np.zeros(opened.hop_shape, np.float32))
    assert np.array_equal(opened.states[0], before)


@pytest.mark.parametrize("kind", [*FLOAT, *INT8])
def test_states_can_be_put_away_and_taken_up_and_others_are_refused(kind: type[Device]) -> None:
    opened = kind(REFERENCE).open_stream(keyword_file(kind))  # type: ignore[call-arg]
    hops = 3 * windows(opened.hop_shape, 40)
    for hop in hops[:-1]:
        opened.step(hop)
    kept = [state.copy() for state in opened.states]
    expected = opened.step(hops[-1])
    assert not np.array_equal(opened.step(hops[-1]), expected)
    opened.states = kept
    assert np.array_equal(opened.step(hops[-1]), expected)
    with pytest.raises(UserError, match=r"a hop of shape \(8, 99\): the model takes \(8, 1\)"):
        opened.step(np.zeros((8, 99), np.float32))
    with pytest.raises(UserError, match=r"states of shapes \[\(1, 2\)\]: the model carries"):
        opened.states = [np.zeros((1, 2), np.float32)]
    with pytest.raises(UserError, match=r"states of types .*'float64'.*: give those that this model gave"):
        opened.states = [state.astype(np.float64) for state in kept]


@pytest.mark.parametrize("kind", [*FLOAT, *INT8])
def test_a_measured_file_keeps_what_was_planned_and_is_as_large(kind: type[Device]) -> None:
    target = kind(REFERENCE)  # type: ignore[call-arg]
    content, graph = keyword_file(kind), hop_graph(keyword_stream(), KEYWORD_SHAPE)
    planned = target.profile(graph)
    measured = target.measure(content, planned)
    assert measured.latency_us is not None and measured.latency_us.method == "measured"
    assert measured.value("flash_bytes") == len(content)
    # The plan of a QDQ file was fitted to larger networks, and is too large for small ones.
    assert 0.9 * len(content) <= planned.value("flash_bytes") <= 1.5 * len(content)
    state_bytes = target.lowered(graph).state_bytes
    # A state that has been read makes room for new values of others, not for all of them.
    assert state_bytes < planned.value("peak_memory_bytes") < 3 * state_bytes
    assert f"{state_bytes} bytes of states that come in and as many that go out" in str(planned.peak_memory_bytes.error)
    read = read_onnx(content) if content[4:8] != b"TFL3" else read_tflite(content)
    assert (read.macs, read.state_bytes, read.unknown) == (graph.macs, state_bytes, ())


@pytest.mark.parametrize("seed", range(8))
def test_a_hop_costs_its_share_of_the_window_on_the_meta_device(seed: int) -> None:
    shape = ((6, 24), (1, 5, 24))[seed % 2]  # of whole hops, whatever the strides
    with torch.device("meta"):
        skeleton = SPACE.build(SPACE.draw(random.Random(seed)), shape, 3).eval()
        skeleton = fused_copy(skeleton)
    stream = streaming(skeleton, shape)
    hop, window = hop_graph(stream, shape), read_module(skeleton, (1, *shape))
    linear = next(layer for layer in stream.layers if isinstance(layer, nn.Linear))
    ends = linear.in_features * linear.out_features
    # Every convolution runs once in each hop, the linear layer once in each hop too.
    assert window.macs - ends == stream.window_hops * (hop.macs - ends)
    assert (hop.parameters, hop.unknown) == (window.parameters, ())
    assert hop.state_bytes == 4 * stream.state_values
    assert hop.digest == hop_graph(streaming(fused_network(seed, shape), shape), shape).digest
    assert Reference().profile(hop).value("macs") == hop.macs


@pytest.mark.parametrize("name", ["cortex-m4", "ethos-u55-128"])
def test_boards_plan_and_measure_a_hop_with_their_own_tools(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))
    target, stream = device(name), keyword_stream()
    content = target.convert_stream(stream, KEYWORD_SHAPE, keywords(16, 0)[0], LABELS)
    planned = target.profile(hop_graph(stream, KEYWORD_SHAPE))
    measured = target.measure(content, planned)
    assert planned.unknown_operators == measured.unknown_operators == ()
    for figure, error in (("latency_us", 0.1), ("peak_memory_bytes", 0.01), ("flash_bytes", 0.1)):
        assert measured.value(figure) == pytest.approx(planned.value(figure), rel=error), figure
    assert measured.value("peak_memory_bytes") <= planned.value("peak_memory_bytes")
    assert planned.value("peak_memory_bytes") > stream.state_values
    assert f"{stream.state_values} bytes of states that come in" in str(planned.peak_memory_bytes.error)
    if name == "cortex-m4":  # an accelerator may take longer to move states than to compute so small a window
        window = target.profile(read_module(keyword_network(), (1, *KEYWORD_SHAPE)))
        assert planned.value("latency_us") < window.value("latency_us") / 4
    assert target.open_stream(content).state_bytes == stream.state_values


def test_a_device_without_streaming_files_says_so() -> None:
    phone = MobileXnnpack()
    assert phone.stream_file_name is None
    reason = "mobile-xnnpack: no file that listens hop by hop is made for executorch"
    with pytest.raises(UserError, match=reason):
        phone.convert_stream(keyword_stream(), KEYWORD_SHAPE, None, LABELS)
    with pytest.raises(UserError, match=reason):
        phone.open_stream(b"")


@pytest.mark.parametrize("kind", INT8)
@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros((4, 8, 31), np.float32), r"samples of shape \(4, 8, 31\): the model takes \(n, 8, 32\)"),
        (np.zeros((0, 8, 32), np.float32), r"samples of shape \(0, 8, 32\)"),
        (np.full((1, 8, 32), np.nan, np.float32), "samples: hold values that are not finite"),
    ],
)
def test_samples_that_set_no_ranges_are_refused(kind: type[Device], samples: np.ndarray, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        kind(REFERENCE).convert_stream(keyword_stream(), KEYWORD_SHAPE, samples, LABELS)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [HostOnnxRuntime, HostLiteRt])
def test_the_file_of_a_window_does_not_listen(kind: type[Device]) -> None:
    target = kind(REFERENCE)  # type: ignore[call-arg]
    content = target.convert(keyword_network(), KEYWORD_SHAPE, None, LABELS)
    with pytest.raises(UserError, match="is no streaming model"):
        target.open_stream(content)


def test_a_streaming_file_is_not_run_on_windows() -> None:
    with pytest.raises(UserError, match="has 5 inputs; one is run"):
        HostLiteRt(REFERENCE).run(keyword_file(HostLiteRt), windows(KEYWORD_SHAPE, 2))


def test_ranges_are_set_from_silence_and_by_windows_in_a_row() -> None:
    samples = np.arange(12, dtype=np.float32).reshape(2, 1, 6)
    first, second, all_of_them = calibration_streams(samples[..., :5], 2, 3)
    assert [hop.ravel().tolist() for hop in first] == [[0, 1], [2, 3], [4, 0]]
    assert [hop.ravel().tolist() for hop in second] == [[6, 7], [8, 9], [10, 0]]
    assert [hop.ravel().tolist() for hop in all_of_them] == [[0, 1], [2, 3], [4, 6], [7, 8], [9, 10]]


def test_of_many_windows_some_are_heard() -> None:
    samples = np.arange(3 * MOST_WINDOWS, dtype=np.float32).reshape(-1, 1, 1)
    *alone, in_a_row = calibration_streams(samples, 1, 1)
    assert len(alone) == len(in_a_row) == MOST_WINDOWS
    assert (in_a_row[0].item(), in_a_row[-1].item()) == (0, 3 * MOST_WINDOWS - 1)
