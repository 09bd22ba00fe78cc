"""Models from files and configs, and what is said of them on a device."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from repareto.search.config import Config
from repareto.search.devices import targets
from repareto.search.devices.base import Device
from repareto.search.devices.graph import Graph
from repareto.search.devices.host.devices import Reference
from repareto.search.devices.host.onnx_runtime import export_onnx
from repareto.search.devices.profile import Figure, Profile
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.lower import lower
from repareto.search.profiles import middle_of, read_file, report_data, report_on
from repareto.search.tables import print_report
from repareto.spaces.errors import UserError
from repareto.spaces.mlperf_tiny import PUBLISHED

SHAPE = (1, 1, 8, 8)


class Counting(Reference):
    """A device whose layers take a microsecond each, and whose tool weighs files."""

    def layer_times_us(self, graph: Graph) -> tuple[float, ...] | None:
        from repareto.search.devices.fusion import fuse_kernels

        return tuple(1.0 for _ in fuse_kernels(self.lowered(graph)))

    def measure(self, content: bytes, planned: Profile) -> Profile:
        return replace(planned, latency_us=Figure(len(content), "us", "measured"))


class Micro(Counting):
    """The same for TFLite files."""

    name, runtime, precision, file_name = "cortex-m4", "litert", "int8", "model.tflite"

    def lowered(self, graph: Graph) -> Graph:
        return graph if _is_tflite(graph) else lower(graph, "int8")


def _is_tflite(graph: Graph) -> bool:
    return all(str(operator.attribute("operator")).isupper() for operator in graph.operators)


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 3)
    ).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network in the three formats."""
    place, example = tmp_path_factory.mktemp("models"), torch.zeros(2, *SHAPE[1:])
    export_onnx(net(), example, place / "m.onnx")
    torch.export.save(torch.export.export(net(), (example[:1],)), place / "m.pt2")
    (place / "m.tflite").write_bytes(convert(net(), SHAPE, "int8"))
    return place


@pytest.mark.parametrize(
    ("name", "device"), [("m.onnx", Counting), ("m.pt2", Counting), ("m.tflite", Micro), ("m.pt2", Micro)]
)
def test_a_file_is_reported_on(folder: Path, name: str, device: type[Device]) -> None:
    report = report_on(read_file(folder / name), device())
    assert report.title == name
    assert report.profile.value("macs") == sum(layer.macs for layer in report.layers) == 16 * 16 * 9 + 48
    assert all(layer.time_us == 1.0 for layer in report.layers)
    assert report.peak is not None and report.peak.makes_peak
    flash = report.profile.flash_bytes
    if name == "m.pt2":
        assert flash.method == "exact"
    else:
        assert (flash.value, flash.method) == ((folder / name).stat().st_size, "measured")


def test_what_an_int8_target_pads_is_advised_on(folder: Path) -> None:
    """Half of the kernel on both sides is not what TFLite does at stride 2 on an even side."""
    for name in ("m.pt2", "m.tflite"):
        report = report_on(read_file(folder / name), Micro())
        (advice,) = report.advice
        assert advice.rule == "pad-buffer" and advice.cost == f"81 bytes, {1 / len(report.layers):.0%} of the time"
    assert report_on(read_file(folder / "m.pt2"), Counting()).advice == ()


def test_the_tool_of_the_device_measures_its_own_files(folder: Path) -> None:
    size = (folder / "m.onnx").stat().st_size
    assert report_on(read_file(folder / "m.onnx"), Counting(), measure=True).profile.value("latency_us") == size
    for name, device, suffix in (("m.pt2", Counting, ".onnx"), ("m.pt2", Micro, ".tflite")):
        with pytest.raises(UserError, match=rf"--measure: {device.name} measures \w+ {suffix} files"):
            report_on(read_file(folder / name), device(), measure=True)


@pytest.mark.parametrize(("name", "device"), [("m.onnx", Micro), ("m.tflite", Counting)])
def test_a_file_of_another_runtime(folder: Path, name: str, device: type[Device]) -> None:
    with pytest.raises(UserError, match=rf"{name}: {device.name} runs .* files \(give one"):
        report_on(read_file(folder / name), device())


class Float(Micro):
    """As LiteRT on a host: TFLite files of float32."""

    name, precision = "host-litert", "fp32"


def test_a_file_of_another_precision(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m.tflite: its weights are int8, and host-litert runs fp32"):
        report_on(read_file(folder / "m.tflite"), Float())
    (tmp_path / "f.tflite").write_bytes(convert(net(), SHAPE, "fp32"))
    with pytest.raises(UserError, match=r"f.tflite: its weights are fp32, and cortex-m4 runs int8"):
        report_on(read_file(tmp_path / "f.tflite"), Micro())
    assert report_on(read_file(tmp_path / "f.tflite"), Float()).profile.flash_bytes.method == "measured"


def test_a_float_onnx_file_is_what_an_int8_one_is_made_from(folder: Path) -> None:
    device = Counting()
    device.precision = "int8"
    report = report_on(read_file(folder / "m.onnx"), device)
    assert report.profile.flash_bytes.method == "exact"
    with pytest.raises(UserError, match=r"measures int8 \.onnx files"):
        report_on(read_file(folder / "m.onnx"), device, measure=True)


@pytest.mark.parametrize("name", ["m.txt", "missing.onnx", "missing.pt2", "missing.tflite"])
def test_a_file_that_is_no_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=name):
        read_file(tmp_path / name)


def test_a_network_with_early_exits_is_told_stage_by_stage(capsys: pytest.CaptureFixture[str]) -> None:
    space = {"name": "repcnn", "stages": 2, "blocks": 1, "width": 12, "exits": {"count": 2}}
    config = Config(study="digits", data={"source": "digits"}, space=space, device="reference")
    report = report_on(middle_of(config, lambda _: None), Counting())
    assert len(report.stages) == 3
    for name in ("latency_us", "macs", "flash_bytes"):
        assert report.profile.value(name) == pytest.approx(sum(stage.value(name) for stage in report.stages))
    peaks = [stage.value("peak_memory_bytes") for stage in report.stages]
    assert report.profile.value("peak_memory_bytes") == report.plan.peak_bytes == max(peaks)
    assert sum(layer.macs for layer in report.layers) == report.profile.value("macs")
    assert [layer.makes_peak for layer in report.layers].count(True) == 1
    assert report.peak is not None and report.peak.name.startswith(f"stage {1 + peaks.index(max(peaks))}: ")
    data = report_data(report)
    assert [stage["macs"]["value"] for stage in data["stages"]] == [stage.value("macs") for stage in report.stages]
    print_report(report, layers=True)
    assert "one after the other, until an exit is sure" in capsys.readouterr().out


def test_the_middle_of_a_config() -> None:
    said: list[str] = []
    space = {"name": "mlperf_tiny", "model": "ds_cnn"}
    config = Config(study="s", data={"source": "digits"}, space=space, device="reference")
    subject = middle_of(config, said.append)
    assert subject.title == "s" and subject.candidate is not None and dict(subject.candidate) == {"model": "ds_cnn"}
    assert subject.graph.parameters == PUBLISHED["ds_cnn"].fused_parameters - 2 * 65  # of ten classes, not twelve
    assert said[0].startswith("data: digits, 10 classes")
    data = report_data(report_on(subject, Micro()))
    assert data["candidate"] == {"model": "ds_cnn"} and "against" not in data


def test_a_report_against_another_one(folder: Path) -> None:
    subject = read_file(folder / "m.pt2")
    first, second = report_on(subject, Counting()), report_on(subject, Micro())
    against = report_data(first, second)["against"]
    assert against["profile"]["device"] == "cortex-m4"
    assert against["differences"]["macs"] == {"ratio": 1.0, "note": "equal"}


def test_vela_is_asked_about_the_file_itself(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))
    reports = [
        report_on(read_file(folder / "m.tflite"), targets.device("ethos-u55-128"), measure) for measure in (False, True)
    ]
    assert reports[0].profile.value("latency_us") == reports[1].profile.value("latency_us") > 0
    assert "on the file" in str(reports[0].profile.flash_bytes.error)
    assert len(list(tmp_path.rglob("*.json"))) == 1  # one file was simulated, and no skeleton
