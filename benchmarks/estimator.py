"""How far estimated latency and memory are from what the runtimes themselves say, on networks that no fit has seen.

Random candidates of the RepCNN space, for inputs of four forms, are timed in ONNX Runtime and in LiteRT on one thread.
Beside our model stand plain MACs and a plain roofline, fitted to the very same times as ours.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repareto.search.devices.graph import Graph
from repareto.search.devices.latency.calibration import fit_calibration, held_out_error, time_cases
from repareto.search.devices.latency.fit import fit_rates
from repareto.search.devices.latency.hosts import HOSTS, Case, HostRuntime
from repareto.search.devices.latency.roofline import Calibration
from repareto.search.devices.latency.samples import Sample, random_samples
from repareto.search.devices.latency.workload import plain_work
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.models import fused_skeleton
from repareto.spaces.mlperf_tiny import PUBLISHED, MLPerfTiny
from repareto.spaces.repcnn import RepCNN

from .report import Claim, arguments, exactly, publish

INPUTS = {
    "digits": ((1, 8, 8), 10),
    "keywords": ((40, 51), 12),
    "keywords-2d": ((1, 40, 51), 12),
    "mfcc-2d": ((1, 49, 10), 12),
}
LARGEST_MACS = 1e9
QUICK_HOSTS = (("onnxruntime", "fp32"), ("litert", "int8"))
WITHIN = 0.1
COVERAGE = 0.9
HELD_OUT_EVERY = 5
TARGETS = {"median": 0.05, "within": 0.9, "spearman": 0.97}


@dataclass(frozen=True)
class Split:
    """Networks of one runtime: their work, their graphs and their times in microseconds.

    ``times_us`` are scaled to the processor's best clock, as ``timing`` says; ``minima_us`` are the plain minima.
    """

    cases: list[Case]
    graphs: list[Graph]
    times_us: np.ndarray
    minima_us: np.ndarray

    def of(self, chosen: np.ndarray) -> Split:
        """Those whose place in ``chosen`` is true."""
        places = np.flatnonzero(chosen)
        cases, graphs = ([these[place] for place in places] for these in (self.cases, self.graphs))
        return Split(cases, graphs, self.times_us[places], self.minima_us[places])

    @property
    def macs(self) -> np.ndarray:
        return np.array([graph.macs for graph in self.graphs], float)


def candidates(name: str, count: int) -> list[Sample]:
    """Draw fused candidates of the whole space for one input, without those beyond a thousand million MACs."""
    shape, classes = INPUTS[name]
    space, rng = RepCNN(), random.Random(f"estimator {name}")
    samples: list[Sample] = []
    while len(samples) < count:
        module = fused_skeleton(space, space.draw(rng), shape, classes)
        if read_module(module, (1, *shape)).macs <= LARGEST_MACS:
            samples.append(Sample(module, (1, *shape)))  # type: ignore[arg-type]
    return samples


def split(host: HostRuntime, samples: Sequence[Sample], seconds: float) -> tuple[Split, dict[str, float]]:
    """Time networks; also the noise of the timing."""
    cases = [host.case(sample) for sample in samples]
    timings = time_cases(host, cases, seconds)
    graphs = [read_module(sample.module, sample.input_shape) for sample in samples]
    return Split(cases, graphs, timings.us, timings.min_us), {"spread": timings.spread, "calm": timings.calm}


def predictors(fitted: Split, name: str) -> dict[str, Callable[[Split], np.ndarray]]:
    """The rivals, each fitted to the same times: an estimate in microseconds for each network of a split."""
    plain = [plain_work(graph) for graph in fitted.graphs]
    overhead_us, rates = fit_rates(plain, fitted.times_us)
    roofline = Calibration(name, "", overhead_us, rates, None)
    per_mac = float(np.exp(np.median(np.log(fitted.times_us / fitted.macs))))
    ours = fit_calibration([case.works for case in fitted.cases], fitted.times_us, name)
    corrected = _log_correction(fitted, roofline)

    def of_roofline(data: Split) -> np.ndarray:
        return np.array([roofline.latency_us(plain_work(graph)) for graph in data.graphs])

    return {
        "MACs": lambda data: per_mac * data.macs,
        "roofline": of_roofline,
        "roofline + correction": lambda data: of_roofline(data) * corrected(data),
        "ours": lambda data: np.array([ours.latency_us(case.works) for case in data.cases]),
    }


def _log_correction(fitted: Split, roofline: Calibration) -> Callable[[Split], np.ndarray]:
    """A network-level correction: a least-squares factor from the logarithms of MACs, bytes and kernels."""

    def features(data: Split) -> np.ndarray:
        rows = []
        for graph in data.graphs:
            works = plain_work(graph)
            sizes = (graph.macs, sum(work.nbytes for work in works), len(works))
            rows.append([1.0, *(np.log(size) for size in sizes), np.log(roofline.latency_us(works))])
        return np.array(rows)

    estimates = np.array([roofline.latency_us(plain_work(graph)) for graph in fitted.graphs])
    factors = np.linalg.lstsq(features(fitted), np.log(fitted.times_us / estimates), rcond=None)[0]
    return lambda data: np.asarray(np.exp(features(data) @ factors))


def judge(estimates_us: np.ndarray, data: Split) -> dict[str, float]:
    """Return median relative error, share within a tenth, rank correlation; the first two against minima too."""
    error = held_out_error(estimates_us, data.times_us)
    off = np.abs(estimates_us / data.times_us - 1)
    off_minima = np.abs(estimates_us / data.minima_us - 1)
    return {
        "median": error.median,
        "within": float(np.mean(off <= WITHIN)),
        "percentile_90": error.percentile_90,
        "spearman": error.spearman,
        "median_to_minimum": float(np.median(off_minima)),
        "within_of_minimum": float(np.mean(off_minima <= WITHIN)),
    }


def interval(fitted: Split, name: str) -> tuple[float, float]:
    """Return the factors that most times lie between, from networks that a fit to the others has not seen."""
    held = np.arange(len(fitted.cases)) % HELD_OUT_EVERY == 0
    unseen = fitted.of(held)
    ratios = unseen.times_us / predictors(fitted.of(~held), name)["ours"](unseen)
    low, high = np.quantile(ratios, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


def latency(runtime: str, precision: str, fit_count: int, count: int, seconds_a_network: float) -> list[dict[str, Any]]:
    """Fit the rivals to random networks, and judge them on candidates of each input."""
    host, title = HOSTS[runtime, precision], f"{runtime} {precision}"
    fitted, noise = split(host, random_samples(fit_count, np.random.default_rng(0)), seconds_a_network * fit_count)
    print(f"{title}: fitted to {fit_count} networks, {noise}", flush=True)
    rivals = predictors(fitted, title)
    low, high = interval(fitted, title)
    rows = []
    for name in INPUTS:
        unseen, noise = split(host, candidates(name, count), seconds_a_network * count)
        for rival, estimate in rivals.items():
            estimates = estimate(unseen)
            row = {"runtime": runtime, "precision": precision, "input": name, "predictor": rival, "networks": count}
            row |= judge(estimates, unseen) | noise
            if rival == "ours":
                ratio = unseen.times_us / estimates
                row["coverage"] = float(np.mean((ratio >= low) & (ratio <= high)))
            rows.append(row)
            print(line(row), flush=True)
    return rows


def line(row: dict[str, Any]) -> str:
    """Return one line of the table."""
    return (
        f"{row['runtime']} {row['precision']:<5} {row['input']:<12} {row['predictor']:<22} "
        f"median {row['median']:7.1%}  within 10 % {row['within']:4.0%}  Spearman {row['spearman']:.3f}  "
        f"of the plain minimum {row['median_to_minimum']:7.1%} {row['within_of_minimum']:4.0%}"
        + (f"  intervals cover {row['coverage']:.0%}" if "coverage" in row else "")
    )


def profile_milliseconds(count: int) -> list[float]:
    """The time of reading and estimating candidates in the loop, once warm."""
    host = HOSTS["onnxruntime", "fp32"]
    fitted, _ = split(host, random_samples(20, np.random.default_rng(1)), 1.0)
    from repareto.search.devices.latency.workload import onnx_runtime_work

    model = fit_calibration([case.works for case in fitted.cases], fitted.times_us, "")
    spent = []
    for sample in candidates("keywords", count):
        start = time.perf_counter()
        first = model.latency_us(onnx_runtime_work(read_module(sample.module, sample.input_shape)))
        spent.append((time.perf_counter() - start) * 1e3)
        again = model.latency_us(onnx_runtime_work(read_module(sample.module, sample.input_shape)))
        assert first == again, "the same input gave two figures"
    return spent


def arena(name: str, count: int) -> dict[str, Any]:
    """Compare the planned head and tail of the arena with TFLite Micro's own, int8; networks it refuses are counted."""
    from repareto.search.devices.boards.micro_arena import predict_arena
    from repareto.search.devices.boards.tflite_micro import measure_arena
    from repareto.search.devices.tflite.convert import convert
    from repareto.search.devices.tflite.lower import lower
    from repareto.spaces.errors import UserError

    heads, tails, misses, refused = [], [], [], []
    for sample in candidates(name, count):
        graph = lower(read_module(sample.module, sample.input_shape), "int8")
        planned = predict_arena(graph)
        try:
            measured = measure_arena(convert(sample.module, sample.input_shape, "int8"))
        except UserError as error:
            refused.append(str(error))
            continue
        heads.append(planned.head_bytes - measured.head_bytes)
        tails.append(planned.tail_bytes - measured.tail_bytes)
        if heads[-1]:
            operators = [str(operator.attribute("operator")) for operator in graph.operators]
            misses.append({"planned": planned.head_bytes, "measured": measured.head_bytes, "operators": operators})
    row = {
        "what": "arena",
        "input": name,
        "networks": len(heads),
        "exact": float(np.mean(np.array(heads) == 0)) if heads else 0.0,
        "below": int(np.sum(np.array(heads) < 0)),
        "tail_exact": float(np.mean(np.array(tails) == 0)) if tails else 0.0,
        "misses": misses,
        "refused": refused,
    }
    print(
        f"arena head {name:<12} exact on {row['exact']:.0%} of {row['networks']}, below it on {row['below']}; "
        f"tail exact on {row['tail_exact']:.0%}; refused {len(refused)}",
        flush=True,
    )
    return row


def reference_model(name: str) -> dict[str, Any]:
    """Build a reference model of MLPerf Tiny: what it costs here beside what is published of it."""
    from repareto.search.devices.boards.tflite_micro import measure_arena
    from repareto.search.devices.tflite.convert import convert

    published, space = PUBLISHED[name], MLPerfTiny()
    module = fused_skeleton(space, space.candidate({"model": name}), published.input_shape, published.classes)
    graph = read_module(module, (1, *published.input_shape))
    content = convert(module, (1, *published.input_shape), "int8")
    row = {
        "what": "MLPerf Tiny",
        "model": name,
        "parameters": graph.parameters,
        "published_parameters": published.fused_parameters,
        "macs": graph.macs,
        "published_macs": published.macs,
        "arena_bytes": measure_arena(content).total_bytes,
        "published_arena_bytes": published.arena_bytes,
        "file_bytes": len(content),
        "published_file_bytes": published.file_bytes,
    }
    print(row, flush=True)
    return row


def reference_claim(rows: Sequence[dict[str, Any]]) -> Claim:
    """Return the promise about the reference models."""
    equal = sum(
        row["parameters"] == row["published_parameters"] and row["macs"] == row["published_macs"] for row in rows
    )
    return Claim(
        "mlperf_tiny.equal",
        **exactly(equal),
        op=">=",
        target=len(PUBLISHED),
        what="reference models of MLPerf Tiny with the published parameters and MACs",
    )


def memory_claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Return the promises about planned memory."""
    claims = []
    for row in rows:
        what = f"of {row['networks']} unseen candidates, {row['input']}, int8, against TFLite Micro"
        exact = exactly(row["exact"])
        claims.append(
            Claim(f"arena.{row['input']}.exact", **exact, op=">=", target=0.98, what=f"head exact, share {what}")
        )
        below = exactly(row["below"])
        claims.append(
            Claim(f"arena.{row['input']}.below", **below, op="<=", target=0, what=f"head too small, number {what}")
        )
    return claims


def claims_of(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Return the promises about our own predictor."""
    claims = []
    for row in rows:
        if row["predictor"] != "ours":
            continue
        where = f"{row['runtime']}.{row['precision']}.{row['input']}"
        what = f"on {row['networks']} unseen candidates, {row['runtime']} {row['precision']}, {row['input']}"
        why = f"the timing's own noise: bursts spread by {row['spread']:.1%}, {row['calm']:.0%} at the best clock"
        for key, op in (("median", "<="), ("within", ">="), ("spearman", ">=")):
            title = {"median": "median error", "within": "share within 10 %", "spearman": "rank correlation"}[key]
            claims.append(
                Claim(
                    f"{where}.{key}", **exactly(row[key]), op=op, target=TARGETS[key], what=f"{title} {what}", why=why
                )
            )
    return claims


def main() -> None:
    """Measure, judge and publish."""
    options = arguments(__doc__, ("--seconds", {"type": float, "default": 0.2, "help": "of timing, a network"}))
    fit_count, count, seconds = (140, 10, 0.05) if options.quick else (300, 100, options.seconds)
    hosts = QUICK_HOSTS if options.quick else tuple(HOSTS)
    rows = [row for runtime, precision in hosts for row in latency(runtime, precision, fit_count, count, seconds)]
    spent = profile_milliseconds(10 if options.quick else 50)
    arenas = [arena(name, 5 if options.quick else count) for name in INPUTS]
    references = [reference_model(name) for name in PUBLISHED]
    claims = [
        *claims_of(rows),
        *memory_claims(arenas),
        reference_claim(references),
        Claim(
            "profile_ms", float(np.median(spent)), min(spent), max(spent), "<=", 150.0, "one estimate in the loop, warm"
        ),
    ]
    publish(
        "estimator", "make bench-estimator", claims, [*rows, *arenas, *references], quick=options.quick, out=options.out
    )


if __name__ == "__main__":
    main()
