"""A phone that runs ExecuTorch with XNNPACK."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ....spaces.exits.network import MultiExit
from ..base import Device
from ..extras import require
from ..file_sizes import planned_flash
from ..fusion import with_joined_pads
from ..graph import Graph
from ..host.onnx_quantize import quantised_graph
from ..profile import Figure, Profile
from ..stages import Stages
from .program import (
    EXTRA,
    ProgramStages,
    make_program,
    make_staged_program,
    planned_buffer_bytes,
    run_program,
    undelegated_operators,
)

STAGES_FILE = "stages.pte"


class MobileXnnpack(Device):
    """ExecuTorch with XNNPACK's kernels, float32, a batch of one.

    The file is run and checked on this host. No latency is claimed: the phone's cores are not here.
    """

    name = "mobile-xnnpack"
    runtime = "executorch"
    file_name = "model.pte"
    claims_latency = False

    def __init__(self) -> None:
        require("executorch", EXTRA)
        super().__init__()

    def lowered(self, graph: Graph) -> Graph:
        """The graph with zeros joined to convolutions, as XNNPACK does when it loads the file."""
        return with_joined_pads(graph)

    def latency(self, _graph: Graph) -> None:
        """None: no latency on ARM is claimed."""

    def flash(self, graph: Graph) -> Figure:
        """The size that the file will have."""
        return planned_flash(self.lowered(graph), self.file_name)

    def convert(
        self, module: torch.nn.Module, input_shape: Sequence[int], samples: np.ndarray | None, _labels: Sequence[str]
    ) -> bytes:
        """The ExecuTorch program; the format has no place for labels."""
        assert samples is not None or not self.quantises, "an int8 model needs samples"
        return make_program(module, input_shape, samples if self.quantises else None)

    def run(self, content: bytes, features: np.ndarray) -> np.ndarray:
        """The logits of ExecuTorch on this host."""
        return run_program(content, features)

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """The size of the file, and in words what ExecuTorch keeps outside of XNNPACK."""
        left = undelegated_operators(content)
        words = (
            f"activations, planned; ExecuTorch sets {planned_buffer_bytes(content)} bytes of them aside itself, "
            f"{'XNNPACK runs every operator' if not left else 'portable kernels run ' + ', '.join(left)}"
        )
        return replace(
            planned,
            peak_memory_bytes=replace(planned.peak_memory_bytes, error=words),
            flash_bytes=Figure(len(content), "bytes", "measured", f"the size of {self.file_name}"),
        )

    def convert_stages(
        self, network: MultiExit, input_shape: Sequence[int], samples: np.ndarray | None, _labels: Sequence[str]
    ) -> dict[str, bytes]:
        """One ExecuTorch program, a method a stage."""
        assert samples is not None or not self.quantises, "int8 stages need samples"
        return {STAGES_FILE: make_staged_program(network, input_shape, samples if self.quantises else None)}

    def open_stages(self, files: Sequence[bytes]) -> Stages:
        """The methods of the only file on this host."""
        (content,) = files
        return ProgramStages(content)

    def measure_stages(self, files: Sequence[bytes], planned: Sequence[Profile]) -> list[Profile]:
        """As :meth:`measure`; a stage has its share of the file by what was planned of it."""
        (content,) = files
        bytes_planned = sum(stage.flash_bytes.value for stage in planned)
        measured = []
        for stage in planned:
            share = len(content) * stage.flash_bytes.value / bytes_planned
            flash = Figure(share, "bytes", "measured", f"its share of the size of {STAGES_FILE}")
            measured.append(replace(self.measure(content, stage), flash_bytes=flash))
        return measured

    def describe(self) -> dict[str, Any]:
        """The methods; nothing is calibrated."""
        return {
            "latency": "none is claimed",
            "memory": "planned",
            "flash": "planned, file at the end",
            "error": None,
            "calibrated": None,
        }


class MobileXnnpackInt8(MobileXnnpack):
    """The same in int8, static and per channel."""

    name = "mobile-xnnpack-int8"
    precision = "int8"

    def lowered(self, graph: Graph) -> Graph:
        """The graph with a byte a value."""
        return quantised_graph(super().lowered(graph))
