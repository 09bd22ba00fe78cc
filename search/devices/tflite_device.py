"""Devices whose file is a TFLite model: LiteRT on this host, and boards with TensorFlow Lite Micro or an Ethos-U."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from .base import Device
from .boards import cortex_m, ethos_u
from .boards.board import CortexMBoard, load_board
from .extras import require
from .graph import Graph
from .host.devices import Calibrated
from .latency.workload import Work, litert_work
from .memory import MemoryPlan
from .profile import Figure, Profile


class TfliteDevice(Device):
    """A device whose file is a TFLite model, written from the fused model and scored by LiteRT's kernels."""

    file_name = "model.tflite"

    def lowered(self, graph: Graph) -> Graph:
        """The TFLite operators that ship; a graph that was read from a ``.tflite`` file is of them already."""
        from .tflite.lower import lower

        is_torch = any(str(operator.attribute("operator")).startswith("aten.") for operator in graph.operators)
        return lower(graph, self.precision) if is_torch else graph

    def convert(
        self, module: torch.nn.Module, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The model as TFLite, in the device's precision."""
        from .tflite.convert import convert

        assert samples is not None or not self.quantises, "an int8 model needs samples"
        return convert(module, (1, *input_shape), self.precision, samples, labels)

    def run(self, content: bytes, features: np.ndarray) -> np.ndarray:
        """The logits of LiteRT, whose integer kernels round as the boards' do, to a step or so."""
        from .tflite.runtime import run

        return run(content, features)


class HostLiteRt(Calibrated, TfliteDevice):
    """This host's processor, LiteRT with XNNPACK on one thread, a batch of one."""

    name = "host-litert"
    runtime = "litert"

    def __init__(self) -> None:
        require("ai_edge_litert", "litert")
        super().__init__()

    def works(self, graph: Graph) -> tuple[Work, ...]:
        """What XNNPACK's kernels do."""
        return litert_work(graph)

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """Time it: the latency is the minimum of many runs, flash the size of the file."""
        from .tflite.runtime import measure_latency_us

        return self.timed(content, planned, measure_latency_us(content))


class HostLiteRtInt8(HostLiteRt):
    """The same in int8."""

    name = "host-litert-int8"
    precision = "int8"


class BoardDevice(TfliteDevice):
    """A microcontroller or an accelerator, as its board file describes it; int8."""

    precision = "int8"

    def __init__(self, name: str) -> None:
        require("tflite_micro", "mcu")
        super().__init__()
        board = load_board(name)
        self.tool = cortex_m.CortexM(board) if isinstance(board, CortexMBoard) else ethos_u.EthosU(board)
        self.name = name
        self.runtime = cortex_m.RUNTIME if isinstance(board, CortexMBoard) else ethos_u.RUNTIME
        self.description = board.description

    @property
    def identity(self) -> str:
        """The name; of a board file of one's own also what it says, wherever it lies."""
        if not self.name.endswith(".toml"):
            return self.name
        return f"{self.tool.board.name} {hashlib.sha256(repr(self.tool.board).encode()).hexdigest()[:16]}"

    def latency(self, graph: Graph) -> Figure:
        """The latency of :meth:`profile`."""
        return self.profile(graph).latency_us

    def layer_times_us(self, graph: Graph) -> tuple[float, ...] | None:
        """The board's table, for each kernel; an accelerator overlaps its layers."""
        return self.tool.layer_times_us(self.lowered(graph)) if isinstance(self.tool, cortex_m.CortexM) else None

    def memory_plan(self, graph: Graph) -> MemoryPlan:
        """The head of TensorFlow Lite Micro's arena, with the board's kernels; for an Ethos-U without Vela."""
        if isinstance(self.tool, cortex_m.CortexM):
            return self.tool.memory_plan(self.lowered(graph))
        return super().memory_plan(graph)

    def profile_file(self, content: bytes, graph: Graph) -> Profile | None:
        """The profile of a ``.tflite`` file from its bytes; None where its graph tells as much."""
        return None if isinstance(self.tool, cortex_m.CortexM) else self.tool.profile_file(content, graph)

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """What TensorFlow Lite Micro or Vela say of the file."""
        return self.tool.measure(content, planned)

    def describe(self) -> dict[str, Any]:
        """As the board file states it."""
        is_micro = isinstance(self.tool, cortex_m.CortexM)
        return {
            "latency": "estimated" if is_micro else "simulated",
            "memory": "planned, measured at the end" if is_micro else "simulated",
            "flash": "file" if is_micro else "simulated",
            "error": self.tool.board.error,
            "calibrated": None,
        }

    def _figures(self, graph: Graph) -> Profile:
        # The digest stays that of the graph that was asked for, which is what profiles are kept by.
        return replace(self.tool.profile_lowered(self.lowered(graph)), graph_digest=graph.digest)
