"""This machine as a device, and a textbook core that is the same on every machine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ....spaces.errors import UserError
from ....spaces.exits.network import MultiExit
from ....spaces.streaming import Streaming
from ..base import Device
from ..extras import require
from ..file_sizes import planned_flash
from ..fusion import fuse_kernels, with_joined_pads
from ..graph import Graph
from ..latency.roofline import REFERENCE, Calibration
from ..latency.workload import Work, litert_work, onnx_runtime_work, plain_work
from ..profile import Figure, Profile
from ..stages import Stages
from ..stream import Stream, refuse_other_samples
from ..tflite.device import TfliteDevice
from .onnx_quantize import quantise_onnx, quantised_graph

if TYPE_CHECKING:
    from ..latency.timing import Latency


class OnnxDevice(Device):
    """A device whose file is an ONNX model that ONNX Runtime runs."""

    stream_file_name = "streaming.onnx"

    def convert(
        self, module: torch.nn.Module, input_shape: Sequence[int], _samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The model as ONNX, float32."""
        from .onnx_runtime import onnx_bytes

        return onnx_bytes(module, torch.zeros(1, *input_shape), labels)

    def run(self, content: bytes, features: np.ndarray) -> np.ndarray:
        """The logits of ONNX Runtime."""
        from .onnx_runtime import run_onnx

        return run_onnx(content, features)

    def convert_stages(
        self, network: MultiExit, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> dict[str, bytes]:
        """A file a stage as ONNX, in the device's precision."""
        from .onnx_stages import quantise_stages, stage_files

        files = stage_files(network, input_shape, labels)
        if self.quantises:
            assert samples is not None, "int8 stages need samples"
            refuse_other_samples(samples, input_shape)
            files = quantise_stages(files, samples)
        return {self.stage_file_name(number): content for number, content in enumerate(files, 1)}

    def open_stages(self, files: Sequence[bytes]) -> Stages:
        """The files in ONNX Runtime."""
        from .onnx_stages import OnnxStages

        return OnnxStages(files)

    def convert_stream(
        self, stream: Streaming, input_shape: Sequence[int], _samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The model as ONNX with its states as inputs and outputs, float32."""
        from .onnx_streaming import streaming_onnx

        return streaming_onnx(stream, input_shape, labels)

    def open_stream(self, content: bytes) -> Stream:
        """The file in ONNX Runtime."""
        from .onnx_streaming import OnnxStream

        return OnnxStream(content)


class Calibrated(Device):
    """A runtime on this host, whose latency is estimated by a model that was fitted here.

    Without a ``calibration`` the kept one is taken, or made on first use.
    """

    def __init__(self, calibration: Calibration | None = None) -> None:
        super().__init__()
        self._given = calibration

    @cached_property
    def calibration(self) -> Calibration:
        """The costs in use."""
        from ..latency.calibration import load_or_calibrate

        return self._given or load_or_calibrate(self.runtime, self.precision)

    def calibration_text(self) -> str:
        """The calibration in use, as JSON."""
        return self.calibration.to_json()

    def use_calibration(self, kept: str | None) -> None:
        """Estimate by a calibration that a study kept."""
        if kept is None:
            return
        try:
            self.calibration = Calibration.from_json(kept)
        except ValueError as error:
            raise UserError(
                f"the study's calibration of {self.name} is of another version; use that version"
            ) from error

    @abstractmethod
    def works(self, graph: Graph) -> tuple[Work, ...]:
        """What the runtime does for a lowered graph."""

    def latency(self, graph: Graph) -> Figure:
        """The estimate, with the error it had on held-out networks and where nine of ten of their times lay."""
        works = self.works(self.lowered(graph))
        latency_us = self.calibration.latency_us(works)
        error, is_known = self.calibration.error_of(works)
        low, high = (is_known and self.calibration.interval) or (None, None)
        return Figure(
            latency_us,
            "us",
            "estimated",
            error,
            low=low and low * latency_us,
            high=high and high * latency_us,
        )

    def layer_times_us(self, graph: Graph) -> tuple[float, ...]:
        """The estimate, kernel by kernel; what a run costs beside its kernels is in none of them."""
        lowered = self.lowered(graph)
        return self.calibration.kernel_times_us(self.works(lowered), len(fuse_kernels(lowered)))

    def flash(self, graph: Graph) -> Figure:
        """The size that the file will have."""
        return planned_flash(self.lowered(graph), self.file_name)

    def timed(self, content: bytes, planned: Profile, latency: Latency) -> Profile:
        """``planned`` with a measured latency and the size of the file."""
        spread = f"minimum of {latency.runs} runs; their median was {latency.median_us:.1f} us"
        return replace(
            planned,
            latency_us=Figure(latency.min_us, "us", "measured", spread),
            flash_bytes=Figure(len(content), "bytes", "measured", "the size of the file"),
        )

    def describe(self) -> dict[str, Any]:
        """The methods, and the error and date of the kept calibration if there is one."""
        from ..latency.calibration import calibration_path, read_calibration

        kept = self._given or read_calibration(calibration_path(self.runtime, self.precision))
        return {
            "latency": "estimated, measured at the end",
            "memory": "planned",
            "flash": "planned, file at the end",
            "error": kept.stated_error if kept else None,
            "calibrated": kept.conditions.date if kept and kept.conditions else None,
        }


class HostOnnxRuntime(Calibrated, OnnxDevice):
    """This host's processor, ONNX Runtime on one thread, float32, a batch of one."""

    name = "host-onnxruntime"
    runtime = "onnxruntime"

    def lowered(self, graph: Graph) -> Graph:
        """The graph with the paddings that its file has."""
        return with_joined_pads(graph)

    def works(self, graph: Graph) -> tuple[Work, ...]:
        """What ONNX Runtime's kernels do."""
        return onnx_runtime_work(graph)

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """Time it: the latency is the minimum of many runs, flash the size of the file.

        Memory stays the plan, with what the runtime's allocator says in words: its copies of weights are in that.
        """
        from .onnx_runtime import measure_latency_us, peak_allocated_bytes

        timed = self.timed(content, planned, measure_latency_us(content))
        words = (
            f"ONNX Runtime's allocator held at most {peak_allocated_bytes(content)} bytes, copies of weights included"
        )
        return replace(timed, peak_memory_bytes=replace(planned.peak_memory_bytes, error=words))


class HostOnnxRuntimeInt8(HostOnnxRuntime):
    """The same in int8: what ships is quantised with training data, and scored as it is."""

    name = "host-onnxruntime-int8"
    precision = "int8"
    file_name = "model.int8.onnx"
    stream_file_name = "streaming.int8.onnx"

    def lowered(self, graph: Graph) -> Graph:
        """The graph with a byte a value."""
        return quantised_graph(super().lowered(graph))

    def convert(
        self, module: torch.nn.Module, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The model as ONNX, int8."""
        assert samples is not None, "an int8 model needs samples"
        return quantise_onnx(super().convert(module, input_shape, None, labels), samples)

    def convert_stream(
        self, stream: Streaming, input_shape: Sequence[int], samples: np.ndarray | None, labels: Sequence[str]
    ) -> bytes:
        """The model as ONNX, int8, its states too."""
        from .onnx_stream_quantize import quantise_stream

        assert samples is not None, "an int8 model needs samples"
        refuse_other_samples(samples, input_shape)
        return quantise_stream(super().convert_stream(stream, input_shape, None, labels), samples)


class HostLiteRt(Calibrated, TfliteDevice):
    """This host's processor, LiteRT with XNNPACK on one thread, a batch of one."""

    name = "host-litert"
    runtime = "litert"

    def __init__(self, calibration: Calibration | None = None) -> None:
        require("ai_edge_litert", "litert")
        super().__init__(calibration)

    def works(self, graph: Graph) -> tuple[Work, ...]:
        """What XNNPACK's kernels do."""
        return litert_work(graph)

    def measure(self, content: bytes, planned: Profile) -> Profile:
        """Time it: the latency is the minimum of many runs, flash the size of the file."""
        from ..tflite.runtime import measure_latency_us

        return self.timed(content, planned, measure_latency_us(content))


class HostLiteRtInt8(HostLiteRt):
    """The same in int8."""

    name = "host-litert-int8"
    precision = "int8"


class Reference(OnnxDevice):
    """A fixed textbook core and no real device: the same figures on every machine, for tests and dry runs."""

    name = "reference"
    runtime = "none"

    def __init__(self, calibration: Calibration = REFERENCE) -> None:
        super().__init__()
        self.calibration = calibration

    def latency(self, graph: Graph) -> Figure:
        """The roofline of the textbook core."""
        return Figure(self.calibration.latency_us(plain_work(graph)), "us", "estimated", "no real device has this core")

    def measure(self, _content: bytes, planned: Profile) -> Profile:
        """The estimate: there is nothing to measure."""
        return planned
