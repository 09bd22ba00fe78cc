"""A board as a device: a microcontroller with TensorFlow Lite Micro, or an Ethos-U accelerator."""

import hashlib
from dataclasses import replace
from typing import Any

from ..extras import require
from ..graph import Graph
from ..profile import Figure, Profile
from ..tflite.device import TfliteDevice
from . import cortex_m, ethos_u
from .board import CortexMBoard, load_board
from .cortex_m import CortexM
from .ethos_u import EthosU


class BoardDevice(TfliteDevice):
    """A microcontroller or an accelerator, as its board file describes it; int8."""

    precision = "int8"

    def __init__(self, name: str) -> None:
        require("tflite_micro", "mcu")
        super().__init__()
        board = load_board(name)
        self.tool = CortexM(board) if isinstance(board, CortexMBoard) else EthosU(board)
        if isinstance(self.tool, CortexM):
            self.memory_rules = self.tool.memory_rules  # an Ethos-U's plan is that before Vela's scheduling
        self.name = name
        self.runtime = cortex_m.RUNTIME if isinstance(board, CortexMBoard) else ethos_u.RUNTIME

    @property
    def identity(self) -> str:
        """The name; of a board file of one's own also what it says, wherever it lies."""
        if not self.name.endswith(".toml"):
            return self.name
        return f"{self.tool.board.name} {hashlib.sha256(repr(self.tool.board).encode()).hexdigest()[:16]}"

    def latency(self, graph: Graph) -> Figure:
        """The latency of :meth:`profile`."""
        return self.profile(graph).figure("latency_us")

    def layer_times_us(self, graph: Graph) -> tuple[float, ...] | None:
        """The board's table, for each kernel; an accelerator overlaps its layers."""
        return self.tool.layer_times_us(self.lowered(graph)) if isinstance(self.tool, CortexM) else None

    def profile_file(self, content: bytes, graph: Graph) -> Profile | None:
        """The profile of a ``.tflite`` file from its bytes; None where its graph tells as much."""
        return None if isinstance(self.tool, CortexM) else self.tool.profile_file(content, graph)

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """What TensorFlow Lite Micro or Vela say of the file."""
        return self.tool.measure(content, planned)

    def describe(self) -> dict[str, Any]:
        """As the board file states it."""
        is_micro = isinstance(self.tool, CortexM)
        return {
            "latency": "estimated" if is_micro else "simulated",
            "memory": "planned, measured at the end" if is_micro else "simulated",
            "flash": "file" if is_micro else "simulated",
            "error": self.tool.board.error,
            "calibrated": None,
            "description": self.tool.board.description,
        }

    def _figures(self, graph: Graph) -> Profile:
        # The digest stays that of the graph that was asked for, which is what profiles are kept by.
        return replace(self.tool.profile_lowered(self.lowered(graph)), graph_digest=graph.digest)
