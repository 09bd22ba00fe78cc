"""Figures of one fused graph on one device: known before training, measured at the end.

Names are loaded on first use: ``onnx``, ``onnxruntime`` and ``scipy`` only where they are needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Device
    from .calibration import calibrate, load_or_calibrate
    from .graph import Graph, Operator, TensorInfo
    from .host import HostOnnxRuntime, Reference
    from .memory import MemoryPlan, MemoryRules, plan_memory
    from .onnx_reader import read_onnx
    from .onnx_runtime import Latency, export_onnx, largest_difference, measure_latency_us
    from .profile import FIGURES, Figure, Profile
    from .pt2_reader import read_program, read_pt2
    from .roofline import REFERENCE, Calibration
    from .targets import device, device_names
    from .torch_reader import read_module

_NAMES = {
    "calibration": ("calibrate", "load_or_calibrate"),
    "base": ("Device",),
    "graph": ("Graph", "Operator", "TensorInfo"),
    "host": ("HostOnnxRuntime", "Reference"),
    "memory": ("MemoryPlan", "MemoryRules", "plan_memory"),
    "onnx_reader": ("read_onnx",),
    "onnx_runtime": ("Latency", "export_onnx", "largest_difference", "measure_latency_us"),
    "profile": ("FIGURES", "Figure", "Profile"),
    "pt2_reader": ("read_program", "read_pt2"),
    "roofline": ("REFERENCE", "Calibration"),
    "targets": ("device", "device_names"),
    "torch_reader": ("read_module",),
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
