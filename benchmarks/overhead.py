"""What a trial costs beyond its training: repareto against Ray Tune with OptunaSearch and the MLflow callback.

All run trials that do nothing, in turns, each turn in a fresh process on a fresh local cluster. Timed is the search
itself, from the first candidate to the last write (repareto's MLflow view included), not Ray's start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .report import Claim, arguments, over, publish

KINDS = ("repareto", "reuse", "plain")
LABELS = {
    "repareto": "repareto, ledger, budget check and MLflow view included",
    "reuse": "Ray Tune, OptunaSearch, MLflow callback, reuse_actors=True",
    "plain": "Ray Tune, OptunaSearch, MLflow callback, default settings",
}


def repareto_seconds(trials: int, folder: Path, address: str | None = None) -> float:
    """Time a study of no-op trials through all of repareto but the training."""
    from repareto.search import cluster, run
    from repareto.search.config import Config
    from repareto.search.ledger import Ledger
    from repareto.search.parts import Parts

    from .noop import NoopTrainable

    config = Config(
        study="noop",
        data={"source": "digits"},
        space={"name": "benchmarks.noop:NoopSpace"},
        device="reference",
        budgets={"peak_memory": "1MiB"},
        search={"trials": trials, "sampler": "tpe", "early_stopping": False},
        workers={"address": address},
        store=folder,
    )
    parts = Parts(config)
    datasets = run.load_data(parts, lambda _: None)
    appraiser = run.appraiser_for(parts, datasets)
    ledger = Ledger.create(folder, "noop", run.new_header(parts, datasets, appraiser))
    cluster.connect(config.workers)
    start = time.perf_counter()
    outcome = run.train(parts, ledger, datasets, appraiser, trials=trials, say=print, trainable=NoopTrainable)
    seconds = time.perf_counter() - start
    assert not outcome.unfinished and len(outcome.results.finished) == trials
    return seconds


def ray_seconds(trials: int, folder: Path, *, reuse_actors: bool) -> float:
    """Time the same number of no-op trials as an expert's plain Ray Tune script runs them."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    from .noop_peer import PlainNoop, plain_space

    ray.init(include_dashboard=False, log_to_driver=False)
    callback = MLflowLoggerCallback(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", experiment_name="noop", save_artifact=False
    )
    callback.setup()
    start = time.perf_counter()
    tune.Tuner(
        PlainNoop,
        param_space=None,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(plain_space, metric=["error", "latency_us", "peak_memory_bytes"], mode=["min"] * 3),
            num_samples=trials,
            reuse_actors=reuse_actors,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[callback]),
    ).fit()
    return time.perf_counter() - start


def one_turn(kind: str, trials: int) -> float:
    """Run one turn in this process and return its seconds a trial."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = (
            repareto_seconds(trials, folder)
            if kind == "repareto"
            else ray_seconds(trials, folder, reuse_actors=kind == "reuse")
        )
    return seconds / trials


def turn_in_a_fresh_process(kind: str, trials: int) -> float:
    command = [sys.executable, "-m", "benchmarks.overhead", "--turn", kind, "--trials", str(trials)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(output.strip().splitlines()[-1])["seconds_a_trial"])


def main() -> None:
    """Run the turns and publish the ratios."""
    options = arguments(
        __doc__,
        ("--trials", {"type": int, "default": 100}),
        ("--rounds", {"type": int, "default": 3}),
        ("--turn", {"choices": KINDS, "help": "run one turn and print it (used by the benchmark itself)"}),
    )
    if options.turn:
        print(json.dumps({"seconds_a_trial": one_turn(options.turn, options.trials)}))
        return
    trials, rounds = (4, 1) if options.quick else (options.trials, options.rounds)
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        for kind in KINDS:
            seconds[kind].append(turn_in_a_fresh_process(kind, trials))
            rows.append({"round": number, "what": LABELS[kind], "seconds_a_trial": seconds[kind][-1]})
            print(f"round {number}: {seconds[kind][-1]:.3f} s a trial, {LABELS[kind]}", flush=True)
    plain = [ours / theirs for ours, theirs in zip(seconds["repareto"], seconds["plain"], strict=True)]
    reuse = [ours / theirs for ours, theirs in zip(seconds["repareto"], seconds["reuse"], strict=True)]
    claims = [
        Claim("overhead.to_plain", **over(plain), op="<=", target=0.15, what=f"overhead, ratio to {LABELS['plain']}"),
        Claim("overhead.to_reuse", **over(reuse), op="<=", target=1.0, what=f"overhead, ratio to {LABELS['reuse']}"),
    ]
    publish("overhead", "make bench-overhead", claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
