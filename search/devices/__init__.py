"""Figures of one fused graph on one device: known before training, measured at the end.

Names are loaded on first use: ``onnx``, ``onnxruntime`` and ``scipy`` only where they are needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Device
    from .graph import Graph, Operator, TensorInfo
    from .host.devices import HostOnnxRuntime, Reference
    from .host.onnx_runtime import export_onnx, largest_difference, measure_latency_us
    from .latency.calibration import calibrate, load_or_calibrate
    from .latency.roofline import REFERENCE, Calibration
    from .latency.timing import Latency
    from .memory import MemoryPlan, MemoryRules, plan_memory
    from .profile import FIGURES, Figure, Profile
    from .readers.onnx_reader import read_onnx
    from .readers.pt2_reader import read_program, read_pt2
    from .readers.torch_reader import read_module
    from .targets import device, device_names

_NAMES = {
    "latency.calibration": ("calibrate", "load_or_calibrate"),
    "base": ("Device",),
    "graph": ("Graph", "Operator", "TensorInfo"),
    "host.devices": ("HostOnnxRuntime", "Reference"),
    "memory": ("MemoryPlan", "MemoryRules", "plan_memory"),
    "readers.onnx_reader": ("read_onnx",),
    "latency.timing": ("Latency",),
    "host.onnx_runtime": ("export_onnx", "largest_difference", "measure_latency_us"),
    "profile": ("FIGURES", "Figure", "Profile"),
    "readers.pt2_reader": ("read_program", "read_pt2"),
    "latency.roofline": ("REFERENCE", "Calibration"),
    "targets": ("device", "device_names"),
    "readers.torch_reader": ("read_module",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "FIGURES",
    "REFERENCE",
    "Calibration",
    "Device",
    "Figure",
    "Graph",
    "HostOnnxRuntime",
    "Latency",
    "MemoryPlan",
    "MemoryRules",
    "Operator",
    "Profile",
    "Reference",
    "TensorInfo",
    "calibrate",
    "device",
    "device_names",
    "export_onnx",
    "largest_difference",
    "load_or_calibrate",
    "measure_latency_us",
    "plan_memory",
    "read_module",
    "read_onnx",
    "read_program",
    "read_pt2",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
