"""Fitting the latency model to ONNX Runtime on this host, and keeping the fit."""

import contextlib
import os
import platform
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...spaces.errors import UserError
from .microbenchmarks import Network, random_networks
from .onnx_reader import read_onnx
from .onnx_runtime import make_session
from .roofline import CALIBRATION_FORMAT, Calibration, HeldOutError, Rate
from .workload import Work, onnx_runtime_work

_NETWORKS = 144
_PASSES = 5
# Where the fit starts, and stays for what the networks do not tell; the bounds are factors around it.
_START_NETWORK_US, _START = 5.0, Rate(overhead_us=1.0, macs_per_us=3e4, bytes_per_us=1e4)
_LARGEST_FACTOR = 1000.0
_PULL_TO_START = 0.02
_OUTLIER_LOG_ERROR = 0.1


def load_or_calibrate(seconds: float = 9.0) -> Calibration:
    """The calibration of this machine and runtime from the cache, or a new one, then kept there.

    The cache is ``calibration/`` under ``REPARETO_CACHE`` (default ``~/.cache/repareto``). Whoever finishes
    first decides: a process that calibrated at the same time takes what is there, so that all see the same figures.
    Raises ``UserError`` when the folder cannot be made.
    """
    path = _cache_path()
    kept = _read(path)
    if kept:
        return kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot keep the calibration there: {error.strerror} "
            "(set REPARETO_CACHE to a folder that can be written)"
        ) from error
    return _keep(calibrate(seconds), path)


def calibrate(seconds: float = 9.0, seed: int = 0) -> Calibration:
    """Time random networks for about ``seconds`` and fit the roofline to two thirds of them.

    The last third gives the stated error. Takes two or three seconds more than ``seconds``, on one thread.
    """
    import onnxruntime

    networks = random_networks(_NETWORKS, np.random.default_rng(seed))
    works = [onnx_runtime_work(read_onnx(network.model)) for network in networks]
    times_us = time_networks(networks, seconds)
    fitted = 2 * len(networks) // 3
    overhead_us, rates = fit(works[:fitted], times_us[:fitted])
    draft = Calibration(f"onnxruntime {onnxruntime.__version__}", machine_name(), overhead_us, rates, None)
    estimates = np.array([draft.latency_us(work) for work in works[fitted:]])
    held_out = held_out_error(estimates, times_us[fitted:])
    return Calibration(draft.runtime, draft.machine, overhead_us, rates, held_out)


def time_networks(networks: Sequence[Network], seconds: float) -> np.ndarray:
    """The minimum time of a single run of each network, shape (networks,), in microseconds.

    All are visited several times over, so that a noisy moment spoils one visit and not a network.
    """
    sessions = [make_session(network.model) for network in networks]
    rng = np.random.default_rng(0)
    feeds = [{"features": rng.standard_normal(n.input_shape, dtype=np.float32)} for n in networks]
    best = np.full(len(networks), np.inf)
    visit_seconds = seconds / (_PASSES * len(networks))
    for _ in range(_PASSES):
        for number, (session, feed) in enumerate(zip(sessions, feeds, strict=True)):
            session.run(None, feed)
            stop = time.perf_counter() + visit_seconds
            while True:
                start = time.perf_counter_ns()
                session.run(None, feed)
                best[number] = min(best[number], (time.perf_counter_ns() - start) / 1e3)
                if time.perf_counter() >= stop:
                    break
    return best


def fit(works: Sequence[Sequence[Work]], times_us: np.ndarray) -> tuple[float, dict[str, Rate]]:
    """The network overhead and the rates of each kind that explain ``times_us`` best, in relative terms.

    Bounded least squares on logarithms, robust to outliers, from a fixed start: deterministic.
    """
    from scipy.optimize import least_squares

    kinds = sorted({work.kind for network in works for work in network} | {"elementwise"})
    place = {kind: number for number, kind in enumerate(kinds)}
    owner = np.array([number for number, network in enumerate(works) for _ in network])
    kind = np.array([place[work.kind] for network in works for work in network])
    calls, macs, nbytes = np.array([[w.calls, w.macs, w.nbytes] for network in works for w in network], float).T
    target = np.log(times_us)
    start_rates = [_START.overhead_us, _START.macs_per_us, _START.bytes_per_us]
    start = np.log(np.r_[_START_NETWORK_US, np.repeat(start_rates, len(kinds))])
    reach = np.log(_LARGEST_FACTOR)

    def residuals(logs: np.ndarray) -> np.ndarray:
        overhead, peak, bandwidth = np.exp(logs[1:]).reshape(3, -1)
        parts = calls * overhead[kind] + np.maximum(macs / peak[kind], nbytes / bandwidth[kind])
        totals = np.exp(logs[0]) + np.bincount(owner, parts, minlength=len(works))
        return np.r_[np.log(totals) - target, _PULL_TO_START * (logs - start)]

    found = least_squares(
        residuals, start, bounds=(start - reach, start + reach), loss="soft_l1", f_scale=_OUTLIER_LOG_ERROR
    )
    overheads, peaks, bandwidths = np.exp(found.x[1:]).reshape(3, -1).tolist()
    rates = {name: Rate(overheads[i], peaks[i], bandwidths[i]) for name, i in place.items()}
    return float(np.exp(found.x[0])), rates


def held_out_error(estimates_us: np.ndarray, times_us: np.ndarray) -> HeldOutError:
    """The error of estimates against measured times, both of shape (networks,)."""
    from scipy.stats import spearmanr

    relative = np.abs(estimates_us / times_us - 1)
    rank = float(spearmanr(estimates_us, times_us).statistic)
    return HeldOutError(len(times_us), float(np.median(relative)), float(np.quantile(relative, 0.9)), rank)


def machine_name() -> str:
    """The processor's model, with what tells apart two of the same name where the system says it."""
    wanted = ("model name", "cpu family", "model", "stepping")
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in wanted:
                fields.setdefault(name.strip(), value.strip())
    return " ".join(fields[name] for name in wanted if name in fields) or platform.processor() or platform.machine()


def _cache_path() -> Path:
    import onnxruntime

    root = Path(os.environ.get("REPARETO_CACHE") or Path.home() / ".cache" / "repareto")
    machine = re.sub(r"[^a-z0-9]+", "-", machine_name().lower()).strip("-")
    return root / "calibration" / f"onnxruntime-{onnxruntime.__version__}_{machine}_v{CALIBRATION_FORMAT}.json"


def _read(path: Path) -> Calibration | None:
    try:
        return Calibration.from_json(path.read_text())
    except (OSError, ValueError):
        return None


def _keep(calibration: Calibration, path: Path) -> Calibration:
    """Write it in one step, unless a good one has come in between, which is then the answer."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as draft:
        draft.write(calibration.to_json())
    try:
        os.link(draft.name, path)
    except FileExistsError:
        kept = _read(path)
        if kept:
            return kept
        os.replace(draft.name, path)
    finally:
        Path(draft.name).unlink(missing_ok=True)
    return calibration
