"""The devices that a model can be profiled for."""

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from ...spaces.errors import UserError, nearest_hint
from .graph import Graph
from .memory import MemoryRules, plan_memory
from .profile import Figure, Profile
from .roofline import REFERENCE, Calibration
from .torch_reader import read_module
from .workload import onnx_runtime_work, plain_work


class Device(ABC):
    """What a model would run on: a name, a runtime, a precision, and how its figures are got.

    Graphs of equal digest share one profile.
    """

    name: str
    runtime: str
    precision: str = "fp32"
    memory_rules: MemoryRules = MemoryRules()

    def __init__(self) -> None:
        self._profiles: dict[str, Profile] = {}

    def profile(self, graph: Graph) -> Profile:
        """The figures of a fused graph that are known before it is trained."""
        if graph.digest not in self._profiles:
            self._profiles[graph.digest] = self._figures(graph)
        return self._profiles[graph.digest]

    @abstractmethod
    def latency(self, graph: Graph) -> Figure:
        """The time of one run, estimated or simulated, in microseconds."""

    @abstractmethod
    def measure(self, module: torch.nn.Module, input_shape: Sequence[int]) -> Profile:
        """The figures of a fused module in evaluation mode, measured where this device can be measured.

        ``input_shape`` includes the batch.
        """

    def _figures(self, graph: Graph) -> Profile:
        blind = f"without {', '.join(graph.unknown)}" if graph.unknown else None
        return Profile(
            device=self.name,
            runtime=self.runtime,
            precision=self.precision,
            graph_digest=graph.digest,
            latency_us=self.latency(graph),
            peak_memory_bytes=Figure(
                plan_memory(graph, self.memory_rules).peak_bytes,
                "bytes",
                "planned",
                "activations only; a kernel's own workspace is not counted",
            ),
            flash_bytes=Figure(graph.weight_bytes, "bytes", "exact", "weights only; the file adds its structure"),
            macs=Figure(graph.macs, "MACs", "exact", blind),
            parameters=Figure(graph.parameters, "values", "exact", None),
            unknown_operators=graph.unknown,
        )


class HostOnnxRuntime(Device):
    """This host's processor, ONNX Runtime on one thread, float32, a batch of one.

    Latency is estimated by a roofline fitted here; without a ``calibration`` the kept one is taken, or made on
    first use, which takes ten to fifteen seconds once a machine.
    """

    name = "host-onnxruntime"
    runtime = "onnxruntime"

    def __init__(self, calibration: Calibration | None = None) -> None:
        super().__init__()
        self._given = calibration

    @cached_property
    def calibration(self) -> Calibration:
        """The rates in use."""
        from .calibration import load_or_calibrate

        return self._given or load_or_calibrate()

    def latency(self, graph: Graph) -> Figure:
        """The roofline's estimate, with the error it had on held-out networks."""
        held_out = self.calibration.held_out
        latency_us = self.calibration.latency_us(onnx_runtime_work(graph))
        return Figure(latency_us, "us", "estimated", str(held_out) if held_out else None)

    def measure(self, module: torch.nn.Module, input_shape: Sequence[int]) -> Profile:
        """Export and time it: the latency is the minimum of many runs, flash the size of the file."""
        from .onnx_runtime import export_onnx, measure_latency_us

        planned = self.profile(read_module(module, input_shape))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(module, torch.zeros(tuple(input_shape)), path)
            latency = measure_latency_us(path, input_shape)
            flash_bytes = path.stat().st_size
        spread = f"minimum of {latency.runs} runs; their median was {latency.median_us:.1f} us"
        return replace(
            planned,
            latency_us=Figure(latency.min_us, "us", "measured", spread),
            flash_bytes=_file_size(flash_bytes),
        )


class Reference(Device):
    """A fixed textbook core and no real device: the same figures on every machine, for tests and dry runs."""

    name = "reference"
    runtime = "none"

    def __init__(self, calibration: Calibration = REFERENCE) -> None:
        super().__init__()
        self.calibration = calibration

    def latency(self, graph: Graph) -> Figure:
        """The roofline of the textbook core."""
        return Figure(self.calibration.latency_us(plain_work(graph)), "us", "estimated", "no real device has this core")

    def measure(self, module: torch.nn.Module, input_shape: Sequence[int]) -> Profile:
        """The estimate: there is nothing to measure."""
        return self.profile(read_module(module, input_shape))


_DEVICES: dict[str, Callable[[], Device]] = {kind.name: kind for kind in (HostOnnxRuntime, Reference)}


def device(name: str) -> Device:
    """A device by name; ``UserError`` with the nearest name and the list for an unknown one."""
    if name not in _DEVICES:
        raise UserError(f'device "{name}" is unknown ({nearest_hint(name, _DEVICES)})')
    return _DEVICES[name]()


def profile_file(path: str | Path, device: Device) -> Profile:
    """The profile of a ``.pt2`` or ``.onnx`` file on a device, before anything is run.

    Flash is the size of an ``.onnx`` file, and the weights of a ``.pt2`` file, which is not what ships.
    Raises ``UserError`` for another suffix and for a missing, corrupt or dynamic model.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        from .onnx_reader import read_onnx

        return replace(device.profile(read_onnx(path)), flash_bytes=_file_size(path.stat().st_size))
    if path.suffix == ".pt2":
        from .pt2_reader import read_pt2

        return device.profile(read_pt2(path))
    raise UserError(f'{path}: cannot profile a "{path.suffix}" file (give a .pt2 or an .onnx model)')


def _file_size(nbytes: int) -> Figure:
    return Figure(nbytes, "bytes", "measured", "the size of the ONNX file")
