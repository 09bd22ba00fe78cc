import numpy as np
import onnx
import pytest
from torch import nn

from repareto.search.devices.latency.samples import (
    Sample,
    onnx_model,
    onnx_stream,
    random_samples,
    random_streams,
)
from repareto.search.devices.readers.onnx_reader import read_onnx
from repareto.search.devices.readers.torch_reader import read_module


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return random_samples(20, np.random.default_rng(3))


def test_onnx_has_the_operators_of_the_module(samples: list[Sample]) -> None:
    for sample in samples:
        model = onnx_model(sample)
        onnx.checker.check_model(onnx.load_from_string(model), full_check=True)
        direct, written = read_module(sample.module, sample.input_shape), read_onnx(model)
        assert written.macs == direct.macs
        assert written.parameters == direct.parameters
        assert [operator.kind for operator in written.operators] == [operator.kind for operator in direct.operators]


def test_they_cover_what_small_networks_are_made_of(samples: list[Sample]) -> None:
    graphs = [read_module(sample.module, sample.input_shape) for sample in samples]
    assert all(3e3 <= graph.macs <= 4e8 and graph.parameters <= 2_100_000 for graph in graphs)
    found = {operator.kind for graph in graphs for operator in graph.operators}
    assert found == {"conv", "depthwise_conv", "activation", "pool", "elementwise", "view", "linear"}
    assert {sample.input_shape[2] == 1 for sample in samples} == {True, False}


def test_the_same_seed_gives_the_same_networks(samples: list[Sample]) -> None:
    again = random_samples(20, np.random.default_rng(3))
    assert [str(sample) for sample in again] == [str(sample) for sample in samples]
    assert onnx_model(again[0]) == onnx_model(samples[0])


def test_other_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="Tanh is no layer of a sample"):
        onnx_model(Sample(nn.Sequential(nn.Tanh()), (1, 3)))


def test_streams_are_written_as_the_exporter_names_them() -> None:
    from repareto.search.devices.host.onnx_streaming import OnnxStream

    for sample in random_streams(6, np.random.default_rng(1)):
        content = onnx_stream(sample)
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        stream = OnnxStream(content)
        assert stream.window_hops == sample.stream.window_hops
        assert stream.state_bytes == 4 * sample.stream.state_values
        rng = np.random.default_rng(0)
        hops = [rng.standard_normal(stream.hop_shape).astype(np.float32) for _ in range(3)]
        first, second, third = (stream.step(hop) for hop in hops)
        assert np.isfinite([first, second, third]).all()
        # What was heard before is remembered: the same hop after another one answers otherwise.
        stream.reset()
        assert not np.array_equal(stream.step(hops[1]), second)


def test_streams_have_the_operators_of_the_module() -> None:
    for sample in random_streams(6, np.random.default_rng(2)):
        direct = read_module(sample.stream, sample.stream.input_shapes(sample.input_shape))
        kinds = [node.op_type for node in onnx.load_from_string(onnx_stream(sample)).graph.node]
        joins = sum(operator.kind == "concat" for operator in direct.operators)
        assert kinds.count("Concat") == kinds.count("Slice") == joins == len(sample.stream.state_shapes)
        convolutions = sum(operator.kind in ("conv", "depthwise_conv") for operator in direct.operators)
        assert kinds.count("Conv") == convolutions
