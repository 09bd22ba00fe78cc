"""How far one driver goes: ledgers of 10,000 trials, an MLflow view of 1,000, a thousand imagined workers, two nodes.

Each part is measured in a process of its own, which prints its figures as a line of JSON. Trials that a part needs and
does not measure are written to its ledger directly.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .overhead import LABELS
from .report import Claim, arguments, over, publish

ROOT = Path(__file__).parents[1]
EPOCHS = 10
OBJECTIVES = ("error", "latency", "peak_memory")
# Of a trial that does nothing Ray Tune takes some 60 ms (LOG.md), for a beginning and an end.
RAY_SECONDS_A_CALL = 0.03
Figures = dict[str, Any]


class Bench:
    """A study of RepCNN in a ledger, as a driver has it."""

    def __init__(self, folder: Path) -> None:
        from repareto.search import run
        from repareto.search.config import Config
        from repareto.search.parts import Parts

        self.folder = folder
        self.config = Config(
            study="scale",
            data={"source": "digits"},
            # 25 parameters, ten of them conditional.
            space={"name": "repcnn", "stages": [1, 2], "width": [4, 32]},
            training={"epochs": EPOCHS},
            device="reference",
            objectives=list(OBJECTIVES),
            budgets={"peak_memory": "1MiB"},
            search={"trials": 10**6, "sampler": "tpe"},
            store=str(folder),
        )
        self.parts = Parts(self.config)
        datasets = run.load_data(self.parts, lambda _: None)
        self.appraiser = run.appraiser_for(self.parts, datasets)
        self._header = run.new_header(self.parts, datasets, self.appraiser)

    def make_ledger(self, trials: int) -> None:
        """Make the ledger in a process of its own, whose memory is not the driver's."""
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(write_ledger, self.folder, trials).result()

    def write_ledger(self, trials: int) -> None:
        """Write trials that ended: of five, one was stopped and one broke a budget."""
        from repareto.search.database import open_storage
        from repareto.search.ledger import Ledger

        Ledger.create(self.folder, self.config.study, self._header)
        storage = open_storage(self.folder, create=False)
        rng = random.Random(0)
        profile = asdict(self.appraiser(self.parts.space.middle()))
        ended = [self._ended_trial(number, rng, profile) for number in range(trials)]
        insert_trials(storage, storage.get_study_id_from_name(self.config.study), ended)

    def _ended_trial(self, number: int, rng: random.Random, profile: dict[str, Any]) -> Any:
        from optuna.trial import create_trial

        from repareto.search.ledger import OPTUNA_STATES, constraint_attributes
        from repareto.search.records import State, profile_figures
        from repareto.search.sampling import distribution
        from repareto.search.trial_records import BEGINNING_KEY, CURVE_KEY, END_KEY

        from .simulation import curve, measurement

        candidate = self.parts.space.draw(rng)
        text = candidate.to_json()
        state = {3: State.STOPPED, 4: State.REJECTED}.get(number % 5, State.FINISHED)
        size = candidate.integer("stage1.width") * rng.uniform(1, 2)
        profile = {
            **profile,
            "latency_us": {**profile["latency_us"], "value": size},
            "peak_memory_bytes": {**profile["peak_memory_bytes"], "value": int(1000 * size * rng.uniform(0.5, 2))},
        }
        epochs = {State.FINISHED: EPOCHS, State.STOPPED: 3}.get(state, 0)
        started = 1.7e9 + 10 * number
        end: dict[str, Any] = {"state": state.value, "reason": "", "ended": started + 9}
        values = None
        if state is State.FINISHED:
            figures = {**profile_figures(profile), **measurement(text, EPOCHS).figures}
            end["measurement"] = {**asdict(measurement(text, EPOCHS)), "figures": figures}
            values = [figures["error"], figures["latency_us"], figures["peak_memory_bytes"]]
        return create_trial(
            state=OPTUNA_STATES[state],
            values=values,
            params=dict(candidate),
            distributions={
                p.name: distribution(p.dimension) for p in self.parts.space.parameters() if p.name in candidate
            },
            user_attrs={
                BEGINNING_KEY: {"candidate": text, "profile": profile, "started": started},
                CURVE_KEY: [list(point) for point in curve(text, epochs)],
                END_KEY: end,
            },
            system_attrs=constraint_attributes({"latency": 0.0 if values else 0.5}),
        )

    def study(self) -> Any:
        """Return the study as a driver that goes on has it."""
        from repareto.search import run
        from repareto.search.ledger import Ledger
        from repareto.search.study import Study

        ledger = Ledger.find(self.folder, self.config.study)
        assert ledger is not None
        return Study(
            ledger,
            self.appraiser,
            run.make_proposer(self.parts, self.appraiser, ledger.header()["reference"]),
            objectives=self.config.parsed_objectives(),
            budgets=self.config.parsed_budgets(),
            reference=ledger.header()["reference"],
            trials=10**6,
            epochs=EPOCHS,
            rungs=run._rungs(self.config, EPOCHS),
        )


def write_ledger(folder: Path, trials: int) -> None:
    """Write the ledger of a study there; a process of its own takes this, and not a study's appraiser."""
    Bench(folder).write_ledger(trials)


def insert_trials(storage: Any, study_id: int, trials: Sequence[Any]) -> None:
    """Write ended trials into an empty study in few statements: one at a time 10,000 of them take minutes."""
    from optuna.distributions import distribution_to_json
    from optuna.storages._rdb import models

    tables: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for number, trial in enumerate(trials):
        of_trial = {"trial_id": number + 1}
        times = {"datetime_start": trial.datetime_start, "datetime_complete": trial.datetime_complete}
        tables[models.TrialModel].append(
            {**of_trial, **times, "number": number, "study_id": study_id, "state": trial.state}
        )
        for name, value in trial.params.items():
            of_param = {"param_name": name, "param_value": trial.distributions[name].to_internal_repr(value)}
            text = distribution_to_json(trial.distributions[name])
            tables[models.TrialParamModel].append({**of_trial, **of_param, "distribution_json": text})
        for index, value in enumerate(trial.values or ()):
            of_value = {"objective": index, "value": value, "value_type": models.TrialValueModel.TrialValueType.FINITE}
            tables[models.TrialValueModel].append({**of_trial, **of_value})
        for model, attributes in (
            (models.TrialUserAttributeModel, trial.user_attrs),
            (models.TrialSystemAttributeModel, trial.system_attrs),
        ):
            tables[model] += [
                {**of_trial, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()
            ]
    with storage.engine.begin() as connection:
        for model, rows in tables.items():
            connection.execute(model.__table__.insert(), rows)


def driver(folder: Path, options: Mapping[str, int]) -> Figures:
    """Take a study up from its ledger, then ask for trials and end them."""
    from .simulation import measurement

    bench = Bench(folder)
    bench.make_ledger(options["trials"])
    start = time.perf_counter()
    study = bench.study()
    restore = time.perf_counter() - start
    asked, ended = [], []
    for _ in range(options["asked"]):
        start = time.perf_counter()
        record = study.next_trial()
        asked.append(1000 * (time.perf_counter() - start))
        start = time.perf_counter()
        study.finish(record.number, measurement(record.candidate.to_json(), EPOCHS))
        ended.append(1000 * (time.perf_counter() - start))
    return {
        "restore_seconds": restore,
        "next_trial_ms": asked,
        "end_ms": ended,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def sync(folder: Path, options: Mapping[str, int]) -> Figures:
    """Write an MLflow view from nothing, then once more: over HTTP to a server, and into a file of its own."""
    from repareto.search.facts import StudyFacts
    from repareto.search.ledger import Ledger
    from repareto.search.mlflow_runs import MlflowRuns
    from repareto.search.run import read_results
    from tests.integration.cluster import TrackingServer

    bench = Bench(folder)
    bench.make_ledger(options["trials"])
    results = read_results(Ledger.open(folder, bench.config.study))

    def write(uri: str, artifacts: str | None) -> float:
        start = time.perf_counter()
        runs = MlflowRuns(uri, artifacts, StudyFacts(bench.config.study, bench.config.parsed_budgets()))
        runs.write_trials(results.records)
        runs.write_progress(results)
        runs.write_front(results)
        return time.perf_counter() - start

    (folder / "server").mkdir()
    backend = f"sqlite:///{folder / 'server' / 'mlflow.db'}"
    with TrackingServer(
        folder / "server", backend=backend, artifacts=str(folder / "server" / "files"), password="of-the-benchmark"
    ) as server:
        os.environ.update(server.environment())
        to_server = [write(server.address, None) for _ in range(2)]
    to_file = [write(f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()) for _ in range(2)]
    return {"server_seconds": to_server, "file_seconds": to_file}


def simulate(folder: Path, options: Mapping[str, int]) -> Figures:
    """Let imagined workers be driven, Ray's own time a call left out or put in."""
    from repareto.search.files import Files
    from repareto.search.ray_backend import StudyScheduler, StudySearcher, Trouble

    from .simulation import Cluster, Simulation

    bench = Bench(folder)
    bench.make_ledger(0)
    study, trouble = bench.study(), Trouble()
    cluster = Cluster(options["workers"], epochs=EPOCHS, ray_a_call=options["ray_ms_a_call"] / 1000)
    outcome = Simulation(
        StudySearcher(study, Files(str(folder)), trouble),
        StudyScheduler(study, trouble, lambda _: None),
        cluster,
        folder,
    ).run(options["seconds"], warm_up=options["seconds"] / 2)
    assert trouble.error is None, trouble.error
    return {**asdict(cluster), **asdict(outcome), "trials": len(study.results.records)}


def no_op(folder: Path, options: Mapping[str, int], *, kind: str) -> Figures:
    """Run trials that do nothing on the cluster of ``RAY_ADDRESS``."""
    from .overhead import ray_seconds, repareto_seconds

    trials = options["trials"]
    if kind == "repareto":
        seconds = repareto_seconds(trials, folder, address="auto")
    else:
        seconds = ray_seconds(trials, folder, reuse_actors=kind == "reuse")
    return {"trials_a_second": trials / seconds}


PARTS: dict[str, Callable[[Path, Mapping[str, int]], Figures]] = {
    "driver": driver,
    "sync": sync,
    "simulate": simulate,
    "repareto": lambda folder, options: no_op(folder, options, kind="repareto"),
    "reuse": lambda folder, options: no_op(folder, options, kind="reuse"),
    "plain": lambda folder, options: no_op(folder, options, kind="plain"),
}


def part(name: str, environment: Mapping[str, str] | None = None, **options: int) -> Figures:
    """Measure one part in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.scale", "--part", name, "--options", json.dumps(options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(environment or {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{name} {options}: {done.stdout}{done.stderr}")
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{name} {options}: {figures}", flush=True)
    return {"part": name, "options": options, **figures}


def one_part(name: str, options: Mapping[str, int]) -> None:
    """Measure one part in this process and print its figures."""
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(PARTS[name](Path(folder), options)))


def on_two_nodes(rounds: int, trials: int) -> list[Figures]:
    """Run each kind of trial that does nothing in turns on one head and two nodes on loopback."""
    from tests.integration.cluster import RayCluster

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        nodes = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with RayCluster(Path(folder), workers=2, cpus=1, environment=nodes) as cluster:
            for number in range(rounds):
                for kind, label in LABELS.items():
                    row = part(kind, cluster.environment(), trials=trials)
                    rows.append({**row, "round": number, "what": label})
    return rows


def main() -> None:
    """Measure all parts and publish them."""
    options = arguments(
        __doc__,
        ("--rounds", {"type": int, "default": 3}),
        ("--trials", {"type": int, "default": 500, "help": "that do nothing, of each kind in each round"}),
        ("--seconds", {"type": int, "default": 400, "help": "simulated, for each number of imagined workers"}),
        ("--part", {"choices": list(PARTS), "help": "measure one part and print it (used by the benchmark itself)"}),
        ("--options", {"type": json.loads, "default": {}, "help": "of that part, as JSON"}),
    )
    if options.part:
        one_part(options.part, options.options)
        return
    quick = options.quick
    large, small = (300, 50) if quick else (10_000, 1000)
    long_ledger = part("driver", trials=large, asked=10 if quick else 100)
    short_ledgers = [part("driver", trials=small, asked=1) for _ in range(1 if quick else options.rounds)]
    view = part("sync", trials=small)
    imagined = [
        part("simulate", workers=workers, seconds=20 if quick else options.seconds, ray_ms_a_call=ray_ms)
        for ray_ms in (0, round(1000 * RAY_SECONDS_A_CALL))[: 1 if quick else 2]
        for workers in (10, 100, 1000)[: 2 if quick else 3]
    ]
    noop = on_two_nodes(*((1, 5) if quick else (options.rounds, options.trials)))
    claims = make_claims(long_ledger, short_ledgers, view, imagined, noop)
    rows = [long_ledger, *short_ledgers, view, *imagined, *noop]
    command = (
        f"python -m benchmarks.scale --rounds {options.rounds} --trials {options.trials} --seconds {options.seconds}"
    )
    publish("scale", command, claims, rows, quick=quick, out=options.out)


def make_claims(
    long_ledger: Figures, short_ledgers: list[Figures], view: Figures, imagined: list[Figures], noop: list[Figures]
) -> list[Claim]:
    """Return what was promised beside what was measured."""
    asked = long_ledger["next_trial_ms"]
    memory = long_ledger["peak_memory_mib"]
    speeds = {kind: [row["trials_a_second"] for row in noop if row["part"] == kind] for kind in LABELS}
    trials = long_ledger["options"]["trials"]
    claims = [
        Claim("scale.next_trial_ms", **over(asked), op="<=", target=200, what=f"next of {trials} trials, median, ms"),
        Claim("scale.next_trial_p95_ms", **over(asked, percentile_95), op="<=", target=200, what="its 95th percentile"),
        Claim("scale.memory_mib", memory, memory, memory, "<=", 1000, "driver's memory, MiB"),
        Claim(
            "scale.restore_seconds",
            **over([row["restore_seconds"] for row in short_ledgers]),
            op="<=",
            target=2,
            what=f"study of {short_ledgers[0]['options']['trials']} trials taken up from its ledger, s",
        ),
        Claim("scale.sync_server_seconds", **first(view["server_seconds"]), op="<=", target=60, what="MLflow server"),
        Claim("scale.sync_file_seconds", **first(view["file_seconds"]), op="<=", target=60, what="MLflow's own SQLite"),
    ]
    for kind in ("plain", "reuse"):
        ratios = [ours / theirs for ours, theirs in zip(speeds["repareto"], speeds[kind], strict=True)]
        what = f"trials a second on two nodes, ratio to {LABELS[kind]}"
        claims.append(Claim(f"scale.to_{kind}", **over(ratios), op=">=", target=1, what=what))
    for row in imagined:
        name = f"scale.utilisation_{row['workers']}" + ("_with_ray" if row["ray_a_call"] else "")
        what = (
            f"{row['workers']} workers, epochs of {row['epoch_seconds']:g} s; the driver is full at "
            f"{row['epochs_a_second']:.0f} epochs a second"
        )
        claims.append(Claim(name, *[row["utilisation"]] * 3, ">=", 0.9, what))
    return claims


def first(values: list[float]) -> dict[str, float]:
    """Return the first of some values as the fields of a claim: the others repeat what is there already."""
    return over(values[:1])


def percentile_95(values: Any) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]


if __name__ == "__main__":
    main()
