import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from repareto.search.devices.base import Device
from repareto.search.devices.boards.board import FOLDER
from repareto.search.devices.host.devices import HostOnnxRuntime, HostOnnxRuntimeInt8, Reference
from repareto.search.devices.latency import calibration as calibration_module
from repareto.search.devices.latency.roofline import REFERENCE, Calibration, HeldOutError
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device, device_names
from repareto.search.profiles import read_file, report_on
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
    assert profile.value("flash_bytes") >= 4 * graph.parameters
    assert profile.value("peak_memory_bytes") == (4 + 6) * 20 * 4
    assert profile.value("latency_us") > 0
    methods = [profile.figure(name).method for name in ("latency_us", "peak_memory_bytes", "flash_bytes", "macs")]
    assert methods == ["estimated", "planned", "exact" if any_device.name == "reference" else "planned", "exact"]
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
    graph = read_module(net(), SHAPE)
    timed = {name: 1.0 for work in HostOnnxRuntime(KNOWN).works(graph) for name, _ in work.terms}
    profile = HostOnnxRuntime(replace(KNOWN, costs_ns=timed)).profile(graph)
    assert profile.latency_us.error == str(KNOWN.held_out)


def test_the_host_calibrates_on_first_use_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([KNOWN])
    monkeypatch.setattr(calibration_module, "load_or_calibrate", lambda *_runtime: next(made))
    host = device("host-onnxruntime")
    graphs = [read_module(net(width), SHAPE) for width in (6, 7)]
    assert [host.profile(graph) for graph in graphs] == [HostOnnxRuntime(KNOWN).profile(graph) for graph in graphs]


def test_a_study_keeps_what_its_estimates_come_from() -> None:
    later = HostOnnxRuntime(REFERENCE)
    later.use_calibration(HostOnnxRuntime(KNOWN).calibration_text())
    graph = read_module(net(), SHAPE)
    assert later.latency(graph) == HostOnnxRuntime(KNOWN).latency(graph) != HostOnnxRuntime(REFERENCE).latency(graph)
    assert Reference().calibration_text() is None
    Reference().use_calibration(None)


def test_measuring_on_the_host() -> None:
    module, host = net(), HostOnnxRuntime(KNOWN)
    estimated = host.profile(read_module(module, SHAPE))
    content = host.convert(module, SHAPE[1:], None, ["no", "yes"])
    measured = host.measure(content, estimated)
    assert measured.latency_us.method == measured.flash_bytes.method == "measured"
    assert measured.value("flash_bytes") == len(content)
    for name in ("macs", "parameters"):
        assert measured.figure(name) == estimated.figure(name)
    assert measured.value("peak_memory_bytes") == estimated.value("peak_memory_bytes")
    assert "ONNX Runtime's allocator held at most" in (measured.peak_memory_bytes.error or "")


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


def image_net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(6, 3)]
    return nn.Sequential(*layers).eval()


IMAGE = (1, 8, 8)


@pytest.mark.parametrize("name", ["host-litert", "host-litert-int8", "cortex-m4", "ethos-u55-32"])
def test_a_file_for_every_kind_of_device(name: str) -> None:
    target, module = device(name), image_net()
    samples = torch.randn(64, *IMAGE).numpy()
    content = target.convert(module, IMAGE, samples, ["a", "b", "c"])
    logits = target.run(content, samples)
    with torch.no_grad():
        expected = module(torch.from_numpy(samples)).numpy()
    largest = abs(logits - expected).max() / abs(expected).max()
    assert largest < (0.05 if target.quantises else 1e-4)


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55", "ethos-u55-32"])
def test_a_board_before_training_and_with_the_file_that_ships(name: str) -> None:
    board, module = device(name), image_net()
    planned = board.profile(read_module(module, (1, *IMAGE)))
    samples = torch.randn(64, *IMAGE).numpy()
    measured = board.measure(board.convert(module, IMAGE, samples, ["a", "b", "c"]), planned)
    assert planned.device == measured.device == name
    assert measured.value("peak_memory_bytes") <= planned.value("peak_memory_bytes")
    assert measured.peak_memory_bytes.method in ("measured", "simulated")
    assert planned.value("latency_us") > 0


def test_the_kernels_of_a_layer_table_add_up() -> None:
    graph = read_module(image_net(), (1, *IMAGE))
    board = device("cortex-m4")
    times_us = board.layer_times_us(graph)
    assert times_us is not None
    assert sum(times_us) == pytest.approx(board.profile(graph).value("latency_us"))
    assert device("ethos-u55-32").layer_times_us(graph) is None


@pytest.mark.parametrize("name", ["host-onnxruntime-int8", "host-litert-int8", "cortex-m4", "ethos-u55-32"])
def test_a_device_travels_to_a_worker_without_what_the_driver_has_seen(name: str) -> None:
    board = device(name)
    if name == "cortex-m4":
        board.profile(read_module(image_net(), (1, *IMAGE)))
    arrived = pickle.loads(pickle.dumps(board))
    assert (arrived.name, arrived.precision, arrived._profiles) == (name, "int8", {})


def test_a_board_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((FOLDER / "cortex-m4.toml").read_text().replace("120_000_000", "60_000_000"))
    assert device(str(path)).identity.startswith("cortex-m4 ") and device("cortex-m4").identity == "cortex-m4"
    graph = read_module(image_net(), (1, *IMAGE))
    mine, known = (device(name).profile(graph) for name in (str(path), "cortex-m4"))
    assert mine.value("latency_us") == pytest.approx(2 * known.value("latency_us"))


def test_a_quantised_onnx_file_is_profiled_as_it_is_and_measured(tmp_path: Path) -> None:
    samples = torch.randn(64, *IMAGE).numpy()
    made = HostOnnxRuntimeInt8(KNOWN)
    path = tmp_path / made.file_name
    path.write_bytes(made.convert(image_net(), IMAGE, samples, ["a", "b", "c"]))
    subject = read_file(path)
    assert subject.precision == "int8"
    report = report_on(subject, made)
    assert report.graph is subject.graph
    assert (report.profile.value("flash_bytes"), report.profile.flash_bytes.method) == (path.stat().st_size, "measured")
    assert report_on(subject, made, measure=True).profile.latency_us.method == "measured"
    with pytest.raises(UserError, match="its weights are int8, and host-onnxruntime runs fp32"):
        report_on(subject, HostOnnxRuntime(KNOWN))


def test_every_device_describes_itself() -> None:
    for name in device_names():
        told = device(name).describe()
        assert told["latency"] and told["memory"] and told["flash"], name
