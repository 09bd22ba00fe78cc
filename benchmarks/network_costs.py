"""What fused networks cost on each device, timed in turns, so that a slow spell of the machine meets all of them."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from repareto.search.devices.fusion import fuse_kernels
from repareto.search.devices.host.onnx_runtime import make_session, peak_allocated_bytes
from repareto.search.devices.latency.hosts import HOSTS
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device
from repareto.spaces.errors import UserError
from repareto.spaces.peers.ends import as_line, pool_and_classify
from repareto.trainers.data.dataset import Dataset

RUNTIMES = {
    "host-onnxruntime": ("onnxruntime", "fp32"),
    "host-onnxruntime-int8": ("onnxruntime", "int8"),
    "host-litert": ("litert", "fp32"),
    "host-litert-int8": ("litert", "int8"),
}
BOARDS = ("cortex-m4", "ethos-u55-128")
DEVICES = (*RUNTIMES, *BOARDS)
NOTHING = "pool and classify"
"""The network that only averages and classifies: what a run costs at least."""
_CALIBRATION_SAMPLES = 500
_PROFILED_RUNS = 200
_RESAMPLES = 2000


@dataclass(frozen=True)
class Cost:
    """One network on one device. ``rounds_us`` are the minima of the rounds of timing, where it is measured.

    ``test_error`` is that of the file that ships, ``allocated_bytes`` the most that ONNX Runtime's allocator gave out;
    ``reason`` says why the device does not take the network, and then there are no figures.
    """

    network: str
    device: str
    parameters: int = 0
    macs: int = 0
    kernels: int = 0
    method: str = ""
    latency_us: float | None = None
    peak_memory_bytes: int | None = None
    allocated_bytes: int | None = None
    test_error: float | None = None
    on_processor: tuple[str, ...] = ()
    rounds_us: tuple[float, ...] = ()
    reason: str = ""


def nothing(data: Dataset) -> nn.Module:
    """Return :data:`NOTHING`."""
    bands, frames = data.input_shape
    return nn.Sequential(*as_line(bands), *pool_and_classify(bands, frames, len(data.labels), 0.0)).eval()


def costs(
    networks: Mapping[str, nn.Module],
    data: Dataset,
    rounds: int,
    seconds_a_visit: float,
    devices: Sequence[str] = DEVICES,
) -> list[Cost]:
    """Return the cost of each network on each device."""
    found: list[Cost] = []
    for name in devices:
        prepared = {network: _prepared(network, module, name, data) for network, module in networks.items()}
        runners = {network: runner for network, (_, runner) in prepared.items() if runner}
        times_us = in_turns(runners, rounds, seconds_a_visit)
        found += [_timed(cost, times_us.get(network, ())) for network, (cost, _) in prepared.items()]
        print(f"costs on {name}: {sum(not cost.reason for cost in found if cost.device == name)} networks", flush=True)
    return found


def in_turns(
    runners: Mapping[str, Callable[[], object]], rounds: int, seconds_a_visit: float
) -> dict[str, tuple[float, ...]]:
    """Return for each network the minimum of each round, in microseconds; in a round each has its turn."""
    minima: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for network, run in runners.items():
            minima[network].append(_minimum_us(run, seconds_a_visit))
    return {network: tuple(own) for network, own in minima.items()}


def ratio(ours: Cost, theirs: Cost, figure: str) -> dict[str, float]:
    """Return by how much more ``theirs`` takes, with 95 % bootstrap over the rounds where it is measured."""
    if figure == "latency_us" and ours.rounds_us:
        return ratio_of_minima(ours.rounds_us, theirs.rounds_us)
    value = getattr(theirs, figure) / getattr(ours, figure)
    return {"value": value, "low": value, "high": value}


def ratio_of_minima(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the least of ``theirs`` over the least of ``ours``, with 95 % bootstrap over the rounds."""
    pairs = list(zip(theirs, ours, strict=True))
    rng = random.Random(0)
    resampled = sorted(_ratio_of_minima(rng.choices(pairs, k=len(pairs))) for _ in range(_RESAMPLES))
    value, low, high = _ratio_of_minima(pairs), resampled[int(0.025 * _RESAMPLES)], resampled[int(0.975 * _RESAMPLES)]
    return {"value": value, "low": min(low, value), "high": max(high, value)}


def operator_times_us(content: bytes) -> dict[str, float]:
    """Return the time of an ONNX model's nodes by operator, medians by ONNX Runtime's own profile, the longest first.

    The profile counts whole microseconds and slows the run down: it tells shares, roughly.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = make_session(content, profile_prefix=str(Path(folder) / "profile"))
        source = session.get_inputs()[0]
        feed = {source.name: np.zeros((1, *source.shape[1:]), np.float32)}
        for _ in range(_PROFILED_RUNS):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    durations: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            durations[event["args"]["op_name"], event["name"]].append(event["dur"])
    times: dict[str, float] = defaultdict(float)
    for (operator, _), own in durations.items():
        times[operator] += statistics.median(own)
    return dict(sorted(times.items(), key=lambda item: -item[1]))


def onnx_file(module: nn.Module, data: Dataset) -> bytes:
    """Return a network as float32 ONNX."""
    return device("host-onnxruntime").convert(module, data.input_shape, None, data.labels)


def _prepared(network: str, module: nn.Module, name: str, data: Dataset) -> tuple[Cost, Callable[[], object] | None]:
    """Return all but the measured time, and what runs the file that ships; no runner for a board."""
    target = device(name)
    try:
        graph = read_module(module, (1, *data.input_shape))
        profile = target.profile(graph) if name in BOARDS else None
        content = target.convert(module, data.input_shape, _samples(data), data.labels)
        cost = Cost(
            network,
            name,
            parameters=graph.parameters,
            macs=graph.macs,
            kernels=len(fuse_kernels(target.lowered(graph))),
            method="measured" if profile is None else profile.figure("latency_us").method,
            latency_us=None if profile is None else profile.value("latency_us"),
            peak_memory_bytes=int(
                profile.value("peak_memory_bytes") if profile else target.memory_plan(graph).peak_bytes
            ),
            allocated_bytes=peak_allocated_bytes(content) if target.runtime == "onnxruntime" else None,
            test_error=_error(target.run(content, data.test.features), data.test.labels),
            on_processor=() if profile is None else profile.unknown_operators,
        )
        return cost, None if profile else HOSTS[RUNTIMES[name]].runner(content)
    except UserError as error:
        return Cost(network, name, reason=str(error)), None


def _samples(data: Dataset) -> np.ndarray:
    return data.train.features[:_CALIBRATION_SAMPLES].astype(np.float32)


def _error(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(logits.argmax(axis=1) != labels))


def _timed(cost: Cost, rounds_us: Sequence[float]) -> Cost:
    return replace(cost, latency_us=min(rounds_us), rounds_us=tuple(rounds_us)) if rounds_us else cost


def _minimum_us(run: Callable[[], object], seconds: float) -> float:
    run()  # another network has taken the nearest cache
    best_ns, stop = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < stop:
        start = time.perf_counter_ns()
        run()
        best_ns = min(best_ns, time.perf_counter_ns() - start)
    return best_ns / 1e3


def _ratio_of_minima(pairs: Sequence[tuple[float, float]]) -> float:
    return min(theirs for theirs, _ in pairs) / min(ours for _, ours in pairs)
