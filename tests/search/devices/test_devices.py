"""The package itself: what it offers, and that it loads it late."""

import subprocess
import sys

import pytest

from repareto.search import devices


def test_everything_offered_is_there() -> None:
    for name in devices.__all__:
        assert getattr(devices, name) is not None


def test_another_name_is_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        devices.nothing  # noqa: B018


def test_profiling_loads_neither_onnx_nor_scipy() -> None:
    code = (
        "import sys; from repareto.search.devices import device, read_module; from torch import nn;"
        "device('reference').profile(read_module(nn.Linear(2, 2).eval(), (1, 2)));"
        "print([name for name in ('onnx', 'onnxruntime', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
