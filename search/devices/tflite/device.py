"""A device whose file is a TFLite model."""

from collections.abc import Sequence

import numpy as np
import torch

from ..base import Device
from ..graph import Graph


class TfliteDevice(Device):
    """A device whose file is a TFLite model, written from the fused model and scored by LiteRT's kernels."""

    file_name = "model.tflite"

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
