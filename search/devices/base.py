"""What a model would run on, and how its figures are got there."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...spaces.errors import UserError
from ...spaces.exits.network import MultiExit
from ...spaces.streaming import Streaming
from .graph import Graph
from .memory import MemoryPlan, MemoryRules, about_states, plan_memory
from .profile import Figure, Profile
from .stages import Stages
from .stream import Stream

REMEMBERED = 10_000
"""Profiles that a device keeps."""


class Device(ABC):
    """What a model would run on: a name, a runtime, a precision, and how its figures are got.

    A profile is made from a graph alone, before anything is trained; graphs of equal digest share one. A trained model
    is converted into the file that ships, and what that file answers and costs is had from the runtime itself.
    """

    name: str
    runtime: str
    precision: str = "fp32"
    file_name: str = "model.onnx"
    """The file that ships; its suffix says which format the runtime reads."""
    stream_file_name: str | None = None
    """The file of a network that listens hop by hop; None where no such file is made."""
    memory_rules: MemoryRules = MemoryRules()
    claims_latency: bool = True
    """Whether ``latency`` gives a figure; if not, nothing can be searched or bounded by it."""

    def __init__(self) -> None:
        self._profiles: dict[str, Profile] = {}

    def __getstate__(self) -> dict[str, Any]:
        """What goes to a worker: all but the profiles that the driver has seen."""
        return {**self.__dict__, "_profiles": {}}

    @property
    def quantises(self) -> bool:
        """Whether the file that ships computes something else than the fused model, so that it has to be scored."""
        return self.precision != "fp32"

    @property
    def identity(self) -> str:
        """What a study may not change while it continues."""
        return self.name

    def calibration_text(self) -> str | None:
        """What a study has to keep, so that its estimates stay the same: None where nothing is fitted to a machine."""
        return None

    def use_calibration(self, kept: str | None) -> None:
        """Estimate from what ``calibration_text`` gave when the study began."""
        assert kept is None, f"{self.name} keeps nothing"

    def lowered(self, graph: Graph) -> Graph:
        """The operators that run there, for a graph as torch computes it."""
        return graph

    def profile(self, graph: Graph) -> Profile:
        """The figures of a fused graph that are known before it is trained."""
        if graph.digest not in self._profiles:
            self._profiles[graph.digest] = self._figures(graph)
            if len(self._profiles) > REMEMBERED:
                # The oldest, of which a search that looks at many has enough.
                del self._profiles[next(iter(self._profiles))]
        return self._profiles[graph.digest]

    @abstractmethod
    def latency(self, graph: Graph) -> Figure | None:
        """The time of one run, estimated or simulated, in microseconds; None where ``claims_latency`` is false."""

    def layer_times_us(self, _graph: Graph) -> tuple[float, ...] | None:
        """The time of each kernel of the lowered graph; None where only the whole can be told."""
        return None

    def memory_plan(self, graph: Graph) -> MemoryPlan:
        """The arena of the activations."""
        return plan_memory(self.lowered(graph), self.memory_rules)

    def flash(self, graph: Graph) -> Figure:
        """The bytes that are stored: here the weights, in the device's precision."""
        stored = self.lowered(graph).weight_bytes
        return Figure(stored, "bytes", "exact", "weights only; the file adds its structure")

    @abstractmethod
    def convert(
        self, module: torch.nn.Module, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The file that ships, from a fused module in evaluation mode on the CPU.

        ``input_shape`` is of one example, without the batch. ``samples`` of shape (n, *input_shape) are training
        features that set the ranges of a quantised model; where nothing is quantised they may be None.
        """

    @abstractmethod
    def run(self, content: bytes, features: np.ndarray) -> np.ndarray:
        """The logits of a file that ships, shape (n, classes), for features of shape (n, *input_shape)."""

    @abstractmethod
    def measure(self, content: bytes, planned: Profile) -> Profile:
        """The profile of a file that ships: ``planned``, with what the real tools say in place of estimates."""

    @abstractmethod
    def convert_stages(
        self, network: MultiExit, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> dict[str, bytes]:
        """The files that ship of a fused network with early exits, by name and in order: mostly one a stage.

        Arguments as of :meth:`convert`. What the stages cost before training are the profiles of
        ``stage_graphs`` (``search/exits/costs.py``).
        """

    @abstractmethod
    def open_stages(self, files: Sequence[bytes]) -> Stages:
        """The files of :meth:`convert_stages` at work on this host."""

    def measure_stages(self, files: Sequence[bytes], planned: Sequence[Profile]) -> list[Profile]:
        """The profile of each stage of the files that ship, as :meth:`measure` gives it."""
        return [self.measure(content, stage) for content, stage in zip(files, planned, strict=True)]

    def stage_file_name(self, number: int) -> str:
        """What the file of the stage that ends at an exit, counted from 1, is called."""
        return self.file_name.replace("model", f"stage{number}")

    def convert_stream(
        self, _stream: Streaming, _input_shape: Sequence[int], _samples: np.ndarray | None, _labels: Sequence[str]
    ) -> bytes:
        """The file that ships of a network that listens hop by hop, from its streaming form on the CPU.

        The shape (*bands, frames) is of the window that it was trained on, the samples (n, *shape) are
        training windows as in :meth:`convert`. Its figures before training are those of
        ``profile(read_module(stream, stream.input_shapes(input_shape)))``, its measured ones come from :meth:`measure`;
        all are of one hop. Raises ``UserError`` where the device has no such file.
        """
        raise UserError(self._no_stream())

    def open_stream(self, _content: bytes) -> Stream:
        """The file of :meth:`convert_stream` at work on this host; ``UserError`` for any other."""
        raise UserError(self._no_stream())

    def _no_stream(self) -> str:
        return f"{self.name}: no file that listens hop by hop is made for {self.runtime} (name another device)"

    def describe(self) -> dict[str, Any]:
        """How each figure is got, the error to expect and since when that is known; for people."""
        return {"latency": "estimated", "memory": "planned", "flash": "weights", "error": None, "calibrated": None}

    def _figures(self, graph: Graph) -> Profile:
        blind = f"without {', '.join(graph.unknown)}" if graph.unknown else None
        return Profile(
            device=self.name,
            runtime=self.runtime,
            precision=self.precision,
            graph_digest=graph.digest,
            latency_us=self.latency(graph),
            peak_memory_bytes=Figure(
                self.memory_plan(graph).peak_bytes,
                "bytes",
                "planned",
                f"activations only{about_states(self.lowered(graph))}; a kernel's own workspace is not counted",
            ),
            flash_bytes=self.flash(graph),
            macs=Figure(graph.macs, "MACs", "exact", blind),
            parameters=Figure(graph.parameters, "values", "exact", None),
            unknown_operators=graph.unknown,
        )
