"""A device whose file is a TFLite model."""

from collections.abc import Sequence

import numpy as np
import torch

from ....spaces.exits.network import MultiExit
from ....spaces.streaming import Streaming
from ..base import Device
from ..graph import Graph
from ..stages import Stages
from ..stream import Stream


class TfliteDevice(Device):
    """A device whose file is a TFLite model, written from the fused model and scored by LiteRT's kernels."""

    file_name = "model.tflite"
    stream_file_name = "streaming.tflite"

    def lowered(self, graph: Graph) -> Graph:
        """The TFLite operators that ship; a graph that was read from a ``.tflite`` file is of them already."""
        from .lower import lower

        is_torch = any(str(operator.attribute("operator")).startswith("aten.") for operator in graph.operators)
        return lower(graph, self.precision, self.memory_rules) if is_torch else graph

    def convert(
        self, module: torch.nn.Module, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The model as TFLite, in the device's precision."""
        from .convert import convert

        assert samples is not None or not self.quantises, "an int8 model needs samples"
        return convert(module, (1, *input_shape), self.precision, samples, labels, self.memory_rules)

    def run(self, content: bytes, features: np.ndarray) -> np.ndarray:
        """The logits of LiteRT, whose integer kernels round as the boards' do, to a step or so."""
        from .runtime import run

        return run(content, features)

    def convert_stages(
        self, network: MultiExit, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> dict[str, bytes]:
        """A file a stage as TFLite, in the device's precision."""
        from .stages import convert_stages

        assert samples is not None or not self.quantises, "int8 stages need samples"
        files = convert_stages(network, (1, *input_shape), self.precision, samples, labels, self.memory_rules)
        return {self.stage_file_name(number): content for number, content in enumerate(files, 1)}

    def open_stages(self, files: Sequence[bytes]) -> Stages:
        """The files in LiteRT."""
        from .run_stages import TfliteStages

        return TfliteStages(files)

    def convert_stream(
        self, stream: Streaming, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The model as TFLite with its states as inputs and outputs, in the device's precision."""
        from .streams import convert_stream

        assert samples is not None or not self.quantises, "an int8 model needs samples"
        return convert_stream(stream, input_shape, self.precision, samples, labels, self.memory_rules)

    def open_stream(self, content: bytes) -> Stream:
        """The file in LiteRT."""
        from .streams import TfliteStream

        return TfliteStream(content)
