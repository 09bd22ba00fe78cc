from pathlib import Path

import pytest
import torch
from torch import nn

from repareto.search.devices import calibration as calibration_module
from repareto.search.devices.device import Device
from repareto.search.devices.host import HostOnnxRuntime, Reference
from repareto.search.devices.roofline import REFERENCE, Calibration, HeldOutError
from repareto.search.devices.targets import device, profile_file
from repareto.search.devices.torch_reader import read_module
from repareto.spaces.errors import UserError

KNOWN = Calibration("onnxruntime", "a core", 4.0, REFERENCE.rates, HeldOutError(48, 0.08, 0.2, 0.98))
SHAPE = (1, 4, 20)


def net(width: int = 6) -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, width, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, 2)
    ).eval()


@pytest.fixture(params=["host-onnxruntime", "reference"])
def any_device(request: pytest.FixtureRequest) -> Device:
    return HostOnnxRuntime(KNOWN) if request.param == "host-onnxruntime" else device(request.param)


def test_a_profile_states_value_unit_method_and_error(any_device: Device) -> None:
    graph = read_module(net(), SHAPE)
    profile = any_device.profile(graph)
    assert (profile.device, profile.precision, profile.graph_digest) == (any_device.name, "fp32", graph.digest)
    assert profile.value("macs") == graph.macs == 6 * 4 * 3 * 20 + 12
    assert profile.value("parameters") == graph.parameters
    assert profile.value("flash_bytes") == 4 * graph.parameters
    assert profile.value("peak_memory_bytes") == (4 + 6) * 20 * 4
    assert profile.value("latency_us") > 0
    methods = [profile.figure(name).method for name in ("latency_us", "peak_memory_bytes", "flash_bytes", "macs")]
    assert methods == ["estimated", "planned", "exact", "exact"]
    assert profile.latency_us.error


def test_equal_graphs_share_a_profile_and_a_larger_one_costs_more(any_device: Device) -> None:
    first, again, larger = (any_device.profile(read_module(module, SHAPE)) for module in (net(), net(), net(8)))
    assert first is again
    assert larger.value("latency_us") > first.value("latency_us")
    assert larger.graph_digest != first.graph_digest


def test_unknown_operators_are_told() -> None:
    graph = read_module(nn.Sequential(Exponential(), nn.Linear(3, 3)).eval(), (1, 3, 3))
    profile = Reference().profile(graph)
    assert profile.unknown_operators == ("aten.linalg_matrix_exp",)
    assert profile.macs.error == "without aten.linalg_matrix_exp"


class Exponential(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.matrix_exp(x)


def test_the_stated_error_is_the_calibrations() -> None:
    profile = HostOnnxRuntime(KNOWN).profile(read_module(net(), SHAPE))
    assert profile.latency_us.error == str(KNOWN.held_out)


def test_the_host_calibrates_on_first_use_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([KNOWN])
    monkeypatch.setattr(calibration_module, "load_or_calibrate", lambda: next(made))
    host = device("host-onnxruntime")
    graphs = [read_module(net(width), SHAPE) for width in (6, 7)]
    assert [host.profile(graph) for graph in graphs] == [HostOnnxRuntime(KNOWN).profile(graph) for graph in graphs]


def test_measuring_on_the_host() -> None:
    module, host = net(), HostOnnxRuntime(KNOWN)
    estimated = host.profile(read_module(module, SHAPE))
    content = host.convert(module, SHAPE[1:], None, ["no", "yes"])
    measured = host.measure(content, estimated)
    assert measured.latency_us.method == measured.flash_bytes.method == "measured"
    assert measured.value("flash_bytes") == len(content) > estimated.value("flash_bytes")
    for name in ("macs", "parameters", "peak_memory_bytes"):
        assert measured.figure(name) == estimated.figure(name)


def test_the_file_that_ships_answers_as_the_module_does() -> None:
    module, host = net(), HostOnnxRuntime(KNOWN)
    features = torch.randn(70, *SHAPE[1:])
    logits = host.run(host.convert(module, SHAPE[1:], None, ["no", "yes"]), features.numpy())
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(logits), module(features), atol=1e-5, rtol=1e-4)


def test_the_reference_measures_nothing() -> None:
    reference = device("reference")
    planned = reference.profile(read_module(net(), SHAPE))
    assert reference.measure(reference.convert(net(), SHAPE[1:], None, ["no", "yes"]), planned) == planned


def test_an_unknown_device_gets_the_nearest_and_the_list() -> None:
    with pytest.raises(UserError, match=r'device "host-onnx" is unknown .did you mean host-onnxruntime'):
        device("host-onnx")


def test_profiling_files(tmp_path: Path) -> None:
    from repareto.search.devices.onnx_runtime import export_onnx

    module, reference = net(), Reference()
    program = torch.export.export(module, (torch.randn(SHAPE),))
    torch.export.save(program, tmp_path / "model.pt2")
    export_onnx(module, torch.randn(SHAPE), tmp_path / "model.onnx")
    direct = reference.profile(read_module(module, SHAPE))
    assert profile_file(tmp_path / "model.pt2", reference) == direct
    of_file = profile_file(tmp_path / "model.onnx", reference)
    assert of_file.value("flash_bytes") == (tmp_path / "model.onnx").stat().st_size
    for name in ("macs", "parameters", "peak_memory_bytes", "latency_us"):
        assert of_file.value(name) == direct.value(name)


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_a_missing_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        profile_file(tmp_path / name, Reference())


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'cannot profile a "\.tflite" file'):
        profile_file(tmp_path / "model.tflite", Reference())
