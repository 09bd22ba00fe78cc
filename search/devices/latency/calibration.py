"""Fitting the latency model to a runtime on this host, and keeping the fit."""

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from ....spaces.errors import UserError
from ....trainers.data.cache import default_folder
from .fit import fit_costs, fit_rates
from .hosts import HOSTS, Case, HostRuntime
from .roofline import CALIBRATION_FORMAT, Calibration, Conditions, HeldOutError
from .timing import Timings, time_runs
from .workload import Work

_CASES = 360
# Raise it whenever other networks are timed: what was kept knows nothing of them.
_CASES_VERSION = 3
# Somebody waits for a search to begin; ``repareto calibrate`` takes its time.
_FIRST_USE_CASES, _FIRST_USE_SECONDS = 150, 15.0
# Sessions and interpreters hold memory, so not all are timed at once.
_AT_ONCE = 90
# Prime to the cycles in which the families come.
_HELD_OUT_EVERY = 7
_COVERAGE = 0.9


def load_or_calibrate(runtime: str = "onnxruntime", precision: str = "fp32") -> Calibration:
    """The calibration of this machine, runtime and precision from the cache, or a new one, then kept there.

    The cache is ``calibration/`` under ``REPARETO_CACHE`` (default ``~/.cache/repareto``). Whoever finishes
    first decides: a process that calibrated at the same time takes what is there, so that all see the same figures.
    Raises ``UserError`` when the folder cannot be made.
    """
    path = calibration_path(runtime, precision)
    kept = read_calibration(path)
    if kept:
        return kept
    _make_folder(path)
    made = calibrate(_FIRST_USE_SECONDS, runtime=runtime, precision=precision, cases=_FIRST_USE_CASES)
    return _keep(made, path, replace=False)


def recalibrate(runtime: str = "onnxruntime", precision: str = "fp32", seconds: float = 100.0) -> Calibration:
    """A new calibration, kept in place of the one that was there. Raises as ``load_or_calibrate``."""
    path = calibration_path(runtime, precision)
    _make_folder(path)
    return _keep(calibrate(seconds, runtime=runtime, precision=precision), path, replace=True)


def calibrate(
    seconds: float = 100.0, seed: int = 0, runtime: str = "onnxruntime", precision: str = "fp32", cases: int = _CASES
) -> Calibration:
    """Time random layers and networks for about ``seconds``, on one thread, and fit the model to them.

    A seventh of them gives the stated errors; the costs are then fitted to all. Building them takes some 20 s more.
    Deterministic, given the times.
    """
    host = HOSTS[runtime, precision]
    chosen = host.cases(cases, np.random.default_rng(seed))
    timings = time_cases(host, chosen, seconds)
    times_us = timings.us
    works = [case.works for case in chosen]
    held = np.arange(len(chosen)) % _HELD_OUT_EVERY == _HELD_OUT_EVERY - 1
    name = f"{runtime} {metadata.version(host.package)} {precision}"
    draft = fit_calibration([w for w, out in zip(works, held, strict=True) if not out], times_us[~held], name)
    estimates_us = np.array([draft.latency_us(work) for work in works])
    layers = np.array([case.is_layer for case in chosen])
    factors = np.quantile((times_us / estimates_us)[held & ~layers], [(1 - _COVERAGE) / 2, (1 + _COVERAGE) / 2])
    final = fit_calibration(works, times_us, name)
    return Calibration(
        final.runtime,
        final.machine,
        final.network_overhead_us,
        final.rates,
        held_out=held_out_error(estimates_us[held & ~layers], times_us[held & ~layers]),
        costs_ns=final.costs_ns,
        held_out_layers=held_out_error(estimates_us[held & layers], times_us[held & layers]),
        interval=(float(factors[0]), float(factors[1])),
        conditions=Conditions(datetime.now(UTC).date().isoformat(), timings.spread, timings.calm),
    )


def time_cases(host: HostRuntime, cases: Sequence[Case], seconds: float) -> Timings:
    """The time of one run of each case, and the noise of the timing."""
    parts: list[Timings] = []
    for start in range(0, len(cases), _AT_ONCE):
        chunk = cases[start : start + _AT_ONCE]
        parts.append(time_runs([host.runner(case.model) for case in chunk], seconds * len(chunk) / len(cases)))
    return Timings(
        us=np.concatenate([part.us for part in parts]),
        min_us=np.concatenate([part.min_us for part in parts]),
        spread=float(np.median([part.spread for part in parts])),
        calm=float(np.median([part.calm for part in parts])),
    )


def fit_calibration(works: Sequence[Sequence[Work]], times_us: np.ndarray, runtime: str) -> Calibration:
    """Costs and, for what has no terms, rates that explain the times of networks; without stated errors."""
    overhead_us, costs_ns = fit_costs(works, times_us)
    _, rates = fit_rates(works, times_us)
    return Calibration(runtime, machine_name(), overhead_us, rates, None, costs_ns)


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


def calibration_path(runtime: str = "onnxruntime", precision: str = "fp32") -> Path:
    """Where the calibration of this machine is kept for a runtime and a precision."""
    machine = re.sub(r"[^a-z0-9]+", "-", machine_name().lower()).strip("-")
    version = metadata.version(HOSTS[runtime, precision].package)
    return (
        default_folder()
        / "calibration"
        / f"{runtime}-{version}-{precision}_{machine}_v{CALIBRATION_FORMAT}-{_CASES_VERSION}.json"
    )


def read_calibration(path: Path) -> Calibration | None:
    """What is kept there; None where there is nothing, or nothing of this format."""
    try:
        return Calibration.from_json(path.read_text())
    except (OSError, ValueError):
        return None


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: cannot keep the calibration there: {error.strerror} "
            "(set REPARETO_CACHE to a folder that can be written)"
        ) from error


def _keep(calibration: Calibration, path: Path, *, replace: bool) -> Calibration:
    """Write it in one step, unless a good one has come in between, which is then the answer."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as draft:
        draft.write(calibration.to_json())
    try:
        if replace:
            os.replace(draft.name, path)
        else:
            os.link(draft.name, path)
    except FileExistsError:
        kept = read_calibration(path)
        if kept:
            return kept
        os.replace(draft.name, path)
    finally:
        Path(draft.name).unlink(missing_ok=True)
    return calibration
