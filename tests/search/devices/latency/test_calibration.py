import os
from pathlib import Path

import numpy as np
import pytest

from repareto.search.devices.latency import calibration as module
from repareto.search.devices.latency.calibration import (
    calibrate,
    calibration_path,
    held_out_error,
    load_or_calibrate,
    machine_name,
    read_calibration,
    recalibrate,
)
from repareto.search.devices.latency.roofline import REFERENCE, Calibration
from repareto.spaces.errors import UserError


def test_the_stated_error() -> None:
    error = held_out_error(np.array([1.1, 1.8, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert error.median == pytest.approx(0.05)
    assert error.percentile_90 == pytest.approx(0.1)
    assert error.spearman == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("runtime", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("litert", "fp32"), ("litert", "int8")]
)
def test_calibrating_this_host(runtime: str, precision: str) -> None:
    if runtime == "litert":
        pytest.importorskip("ai_edge_litert")
    made = calibrate(seconds=0.2, runtime=runtime, precision=precision, cases=42)
    assert made.machine == machine_name()
    assert made.runtime.startswith(f"{runtime} ")
    assert made.runtime.endswith(precision)
    assert made.held_out is not None and made.held_out_layers is not None
    assert made.held_out.networks + made.held_out_layers.networks == 42 // 7
    assert made.costs_ns and min(made.costs_ns.values()) >= 0
    assert made.interval is not None and 0 < made.interval[0] < made.interval[1]
    assert made.conditions is not None and 0 <= made.conditions.calm <= 1
    assert Calibration.from_json(made.to_json()) == made


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))
    return tmp_path / "calibration"


def test_the_cache_may_be_named_from_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_CACHE", "~/elsewhere")
    assert calibration_path().is_relative_to(Path.home() / "elsewhere" / "calibration")


def test_a_calibration_is_made_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([REFERENCE])
    monkeypatch.setattr(module, "calibrate", lambda *_, **__: next(made))
    assert load_or_calibrate() == REFERENCE
    assert load_or_calibrate() == REFERENCE
    (kept,) = cache.iterdir()
    assert kept.name.startswith("onnxruntime-")
    assert Calibration.from_json(kept.read_text()) == REFERENCE


def test_a_broken_file_is_replaced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "calibrate", lambda *_, **__: REFERENCE)
    load_or_calibrate()
    (kept,) = cache.iterdir()
    kept.write_text("{")
    assert load_or_calibrate() == REFERENCE
    assert [path.name for path in cache.iterdir()] == [kept.name]
    assert Calibration.from_json(kept.read_text()) == REFERENCE


def test_who_finishes_first_decides(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Calibration("onnxruntime", "other process", 1.0, REFERENCE.rates, None)

    def calibrate_while_another_does(*_: float, **__: str) -> Calibration:
        monkeypatch.setattr(module, "calibrate", lambda *_, **__: other)
        load_or_calibrate()
        return REFERENCE

    monkeypatch.setattr(module, "calibrate", calibrate_while_another_does)
    assert load_or_calibrate() == other
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPARETO_CACHE", os.fspath(tmp_path / "file"))
    with pytest.raises(UserError, match="set REPARETO_CACHE"):
        load_or_calibrate()


def test_each_runtime_and_precision_has_its_own_file_and_a_new_one_replaces_it(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = Calibration("onnxruntime", "newer", 1.0, REFERENCE.rates, None)
    made = iter([REFERENCE, newer])
    monkeypatch.setattr(module, "calibrate", lambda *_, **__: next(made))
    load_or_calibrate()
    assert calibration_path("onnxruntime", "int8") != calibration_path("onnxruntime", "fp32")
    assert read_calibration(calibration_path("onnxruntime", "int8")) is None
    assert recalibrate() == newer
    assert load_or_calibrate() == newer
    assert len(list(cache.iterdir())) == 1
