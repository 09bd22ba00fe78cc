import numpy as np
import pytest

from repareto.search.devices.latency.calibration import held_out_error
from repareto.search.devices.latency.fit import fit_costs, fit_rates
from repareto.search.devices.latency.microbenchmarks import random_networks
from repareto.search.devices.latency.roofline import Calibration, Rate
from repareto.search.devices.latency.samples import random_samples
from repareto.search.devices.latency.workload import Work, onnx_runtime_work, plain_work
from repareto.search.devices.readers.onnx_reader import read_onnx
from repareto.search.devices.readers.torch_reader import read_module


@pytest.fixture(scope="module")
def works() -> list[tuple[Work, ...]]:
    samples = random_samples(120, np.random.default_rng(0))
    return [onnx_runtime_work(read_module(sample.module, sample.input_shape)) for sample in samples]


def test_the_fit_finds_costs_again(works: list[tuple[Work, ...]]) -> None:
    rng = np.random.default_rng(1)
    names = sorted({name for network in works for work in network for name, _ in work.terms})
    costs = {name: rng.uniform(0.1, 0.5) * (1000 if name.endswith(".calls") else 1) for name in names}
    rates = {"elementwise": Rate(1.0, 1.0, 1.0)}
    truth = Calibration("", "", 4.0, rates, None, costs)
    times_us = np.array([truth.latency_us(network) for network in works])
    noisy = times_us * rng.uniform(0.99, 1.01, len(works))
    noisy[::10] *= 1.5  # some were disturbed
    overhead_us, found = fit_costs(works[:90], noisy[:90])
    estimates = np.array([Calibration("", "", overhead_us, rates, None, found).latency_us(work) for work in works])
    error = held_out_error(estimates[90:], times_us[90:])
    assert error.median < 0.03
    assert error.spearman > 0.99
    assert fit_costs(works[:90], noisy[:90]) == (overhead_us, found)


def test_the_fit_finds_a_roofline_again() -> None:
    networks = random_networks(90, np.random.default_rng(0))
    plain = [plain_work(read_onnx(network.model)) for network in networks]
    kinds = {work.kind for network in plain for work in network}
    rng = np.random.default_rng(1)
    rates = {kind: Rate(rng.uniform(0.1, 3), rng.uniform(1e4, 1e5), rng.uniform(5e3, 5e4)) for kind in sorted(kinds)}
    truth = Calibration("", "", 7.0, rates, None)
    times_us = np.array([truth.latency_us(network) for network in plain])
    overhead_us, found = fit_rates(plain[:60], times_us[:60] * rng.uniform(0.98, 1.02, 60))
    estimates = np.array([Calibration("", "", overhead_us, found, None).latency_us(network) for network in plain])
    error = held_out_error(estimates[60:], times_us[60:])
    assert error.median < 0.03
    assert error.percentile_90 < 0.15
    assert error.spearman > 0.99
