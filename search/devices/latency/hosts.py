"""The runtimes of this host that a latency model can be fitted to: what is run, and what it is taken to do."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from ..fusion import with_joined_pads
from ..graph import Graph
from ..readers.onnx_reader import read_onnx
from ..readers.torch_reader import read_module
from .microbenchmarks import random_networks
from .samples import Sample, StreamSample, onnx_model, onnx_stream, random_samples, random_streams
from .timing import Run
from .workload import Work, litert_work, onnx_runtime_work

# Of ONNX Runtime's cases, one of so many is of other families: one-dimensional, dense, attention.
_OTHER_FAMILIES = 4
# Of all runtimes' cases, one of so many listens hop by hop: there, joining and cutting is most of the work.
_STREAMS = 6


@dataclass(frozen=True)
class Case:
    """A model file, the work in it, and whether it is but one or two layers."""

    model: bytes
    works: tuple[Work, ...]
    is_layer: bool


class HostRuntime(ABC):
    """A runtime in one precision."""

    package: str

    @abstractmethod
    def cases(self, count: int, rng: np.random.Generator) -> list[Case]:
        """Random layers and networks."""

    @abstractmethod
    def case(self, sample: Sample) -> Case:
        """One network as a file."""

    @abstractmethod
    def stream_case(self, sample: StreamSample) -> Case:
        """One network that listens hop by hop as a file."""

    def _convolutional(self, count: int, rng: np.random.Generator) -> list[Case]:
        """Convolutional networks, some of which listen hop by hop, in an order that mixes them."""
        streams = [self.stream_case(sample) for sample in random_streams(count // _STREAMS, rng)]
        cases = [self.case(sample) for sample in random_samples(count - len(streams), rng)] + streams
        return [cases[index] for index in rng.permutation(count)]

    @abstractmethod
    def runner(self, model: bytes) -> Run:
        """One run of a model on one thread, each time it is called."""


class OnnxRuntime(HostRuntime):
    """ONNX Runtime in float32."""

    package = "onnxruntime"

    def cases(self, count: int, rng: np.random.Generator) -> list[Case]:
        """Convolutional networks for three quarters, other families for the rest."""
        others = random_networks(count // _OTHER_FAMILIES, rng)
        cases = [Case(other.model, onnx_runtime_work(read_onnx(other.model)), False) for other in others]
        return cases + self._convolutional(count - len(others), rng)

    def case(self, sample: Sample) -> Case:
        """As ONNX, with random weights."""
        graph = with_joined_pads(read_module(sample.module, sample.input_shape))
        return Case(onnx_model(sample), onnx_runtime_work(graph), _is_layer(graph))

    def stream_case(self, sample: StreamSample) -> Case:
        """As ONNX, with random weights."""
        graph = read_module(sample.stream, sample.stream.input_shapes(sample.input_shape))
        return Case(onnx_stream(sample), onnx_runtime_work(graph), is_layer=False)

    def runner(self, model: bytes) -> Run:
        """A session on one thread."""
        from ..host.onnx_runtime import make_session

        session, rng = make_session(model), np.random.default_rng(0)
        feed = {}
        for source in session.get_inputs():
            shape = [size if isinstance(size, int) else 1 for size in source.shape]
            is_float = source.type == "tensor(float)"
            feed[source.name] = (
                rng.standard_normal(shape, dtype=np.float32) if is_float else rng.integers(-100, 100, shape, np.int8)
            )
        return lambda: session.run(None, feed)


class OnnxRuntimeInt8(OnnxRuntime):
    """ONNX Runtime in int8, quantised with made-up samples."""

    def cases(self, count: int, rng: np.random.Generator) -> list[Case]:
        """Convolutional networks."""
        return self._convolutional(count, rng)

    def case(self, sample: Sample) -> Case:
        """As QDQ ONNX, with random weights."""
        from ..host.onnx_quantize import quantise_onnx, quantised_graph

        graph = with_joined_pads(read_module(sample.module, sample.input_shape))
        features = np.random.default_rng(0).standard_normal(sample.input_shape, dtype=np.float32)
        content = quantise_onnx(onnx_model(sample), features)
        return Case(content, onnx_runtime_work(quantised_graph(graph)), _is_layer(graph))

    def stream_case(self, sample: StreamSample) -> Case:
        """As QDQ ONNX whose states are bytes, with random weights."""
        from ..host.onnx_quantize import quantised_graph
        from ..host.onnx_stream_quantize import quantise_stream

        graph = read_module(sample.stream, sample.stream.input_shapes(sample.input_shape))
        windows = np.random.default_rng(0).standard_normal((2, *sample.input_shape), dtype=np.float32)
        content = quantise_stream(onnx_stream(sample), windows)
        return Case(content, onnx_runtime_work(quantised_graph(graph)), is_layer=False)


class LiteRT(HostRuntime):
    """LiteRT with its XNNPACK kernels."""

    package = "ai-edge-litert"

    def __init__(self, precision: str) -> None:
        self._precision = precision

    def cases(self, count: int, rng: np.random.Generator) -> list[Case]:
        """Convolutional networks."""
        return self._convolutional(count, rng)

    def case(self, sample: Sample) -> Case:
        """As TFLite, with random weights and made-up ranges."""
        from ..tflite.convert import convert
        from ..tflite.lower import lower

        graph = read_module(sample.module, sample.input_shape)
        content = convert(sample.module, sample.input_shape, self._precision)
        return Case(content, litert_work(lower(graph, self._precision)), _is_layer(graph))

    def stream_case(self, sample: StreamSample) -> Case:
        """As TFLite, with random weights and made-up ranges."""
        from ..tflite.lower import lower
        from ..tflite.streams import convert_stream

        graph = read_module(sample.stream, sample.stream.input_shapes(sample.input_shape))
        content = convert_stream(sample.stream, sample.input_shape, self._precision)
        return Case(content, litert_work(lower(graph, self._precision)), is_layer=False)

    def runner(self, model: bytes) -> Run:
        """An interpreter on one thread."""
        from ..tflite.runtime import make_interpreter

        interpreter = make_interpreter(model)
        rng = np.random.default_rng(0)
        for source in interpreter.get_input_details():
            values = (
                rng.integers(-100, 100, source["shape"]) if source["dtype"] == np.int8 else rng.random(source["shape"])
            )
            interpreter.set_tensor(source["index"], values.astype(source["dtype"]))
        run: Run = interpreter.invoke
        return run


HOSTS: dict[tuple[str, str], HostRuntime] = {
    ("onnxruntime", "fp32"): OnnxRuntime(),
    ("onnxruntime", "int8"): OnnxRuntimeInt8(),
    ("litert", "fp32"): LiteRT("fp32"),
    ("litert", "int8"): LiteRT("int8"),
}


def _is_layer(graph: Graph) -> bool:
    return sum(operator.kind in ("conv", "depthwise_conv") for operator in graph.operators) <= 2
