import os
from pathlib import Path

import numpy as np
import pytest

from repareto.search.devices import calibration as module
from repareto.search.devices.calibration import calibrate, fit, held_out_error, load_or_calibrate, machine_name
from repareto.search.devices.microbenchmarks import random_networks
from repareto.search.devices.onnx_reader import read_onnx
from repareto.search.devices.roofline import REFERENCE, Calibration, Rate
from repareto.search.devices.workload import Work, onnx_runtime_work
from repareto.spaces.errors import UserError


@pytest.fixture
def works() -> list[tuple[Work, ...]]:
    networks = random_networks(90, np.random.default_rng(0))
    return [onnx_runtime_work(read_onnx(network.model)) for network in networks]


def test_the_fit_finds_a_roofline_again(works: list[tuple[Work, ...]]) -> None:
    kinds = {work.kind for network in works for work in network}
    rng = np.random.default_rng(1)
    rates = {kind: Rate(rng.uniform(0.1, 3), rng.uniform(1e4, 1e5), rng.uniform(5e3, 5e4)) for kind in sorted(kinds)}
    truth = Calibration("", "", 7.0, rates, None)
    times_us = np.array([truth.latency_us(network) for network in works])
    overhead_us, found = fit(works[:60], times_us[:60] * rng.uniform(0.98, 1.02, 60))
    estimates = np.array([Calibration("", "", overhead_us, found, None).latency_us(network) for network in works])
    error = held_out_error(estimates[60:], times_us[60:])
    assert error.networks == 30
    assert error.median < 0.03
    assert error.percentile_90 < 0.15
    assert error.spearman > 0.99
    assert fit(works[:60], times_us[:60]) == fit(works[:60], times_us[:60])


def test_the_stated_error() -> None:
    error = held_out_error(np.array([1.1, 1.8, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert error.median == pytest.approx(0.05)
    assert error.percentile_90 == pytest.approx(0.1)
    assert error.spearman == pytest.approx(1.0)


def test_calibrating_this_host() -> None:
    made = calibrate(seconds=0.2)
    assert made.machine == machine_name()
    assert made.runtime.startswith("onnxruntime ")
    assert made.held_out is not None
    assert made.held_out.networks == 48
    assert all(rate.overhead_us > 0 and rate.macs_per_us > 0 and rate.bytes_per_us > 0 for rate in made.rates.values())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))
    return tmp_path / "calibration"


def test_a_calibration_is_made_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([REFERENCE])
    monkeypatch.setattr(module, "calibrate", lambda *_: next(made))
    assert load_or_calibrate() == REFERENCE
    assert load_or_calibrate() == REFERENCE
    (kept,) = cache.iterdir()
    assert kept.name.startswith("onnxruntime-")
    assert Calibration.from_json(kept.read_text()) == REFERENCE


def test_a_broken_file_is_replaced(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "calibrate", lambda *_: REFERENCE)
    load_or_calibrate()
    (kept,) = cache.iterdir()
    kept.write_text("{")
    assert load_or_calibrate() == REFERENCE
    assert [path.name for path in cache.iterdir()] == [kept.name]
    assert Calibration.from_json(kept.read_text()) == REFERENCE


def test_who_finishes_first_decides(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Calibration("onnxruntime", "other process", 1.0, REFERENCE.rates, None)

    def calibrate_while_another_does(*_: float) -> Calibration:
        monkeypatch.setattr(module, "calibrate", lambda *_: other)
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
