"""A search while its parts are killed: what is killed when comes from a seed, and what must hold in the end is checked.

The witnesses are independent of the search: the requests that the S3 server saw, Optuna's own reading of the ledger,
MLflow's client, and the trials of a run that nobody disturbed.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import moocore
import numpy as np
import optuna
import psycopg
import yaml
from sqlalchemy.pool import NullPool

from tests.integration.cluster import S3, Postgres, RayCluster, TrackingServer
from tests.integration.commands import REPARETO, environment

VICTIMS = ("driver", "worker", "node", "postgres", "mlflow")
OBJECTIVES = ("error", "latency_us", "peak_memory_bytes")
RUN_SECONDS = 420.0
WORKER_SECONDS = 30.0


@dataclass
class World:
    """All the servers that a search on a cluster needs, for real, on loopback."""

    folder: Path
    postgres: Postgres
    s3: S3
    tracking: TrackingServer
    ray: RayCluster
    ledger: str

    def environment(self) -> dict[str, str]:
        """Return that of a driver: all secrets come from here."""
        parts = (self.postgres, self.s3, self.tracking, self.ray)
        return {**environment(), **{key: value for part in parts for key, value in part.environment().items()}}


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start all servers, and end them."""
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(folder / "postgres"))
        s3 = stack.enter_context(S3(folder / "s3"))
        tracking = TrackingServer(
            folder / "mlflow",
            backend=postgres.create_database("mlflow"),
            artifacts=s3.uri("artifacts"),
            password="a-password-for-tests",
            environment=s3.environment(),
        )
        stack.enter_context(tracking)
        nodes = {**s3.environment(), "OMP_NUM_THREADS": "1"}
        ray = stack.enter_context(RayCluster(folder / "ray", environment=nodes))
        yield World(folder, postgres, s3, tracking, ray, postgres.uri("repareto", password=False))


def write_config(world: World, study: str, *, trials: int, epochs: int) -> Path:
    """Write a search of short trials, each of which gives the same whenever and wherever it runs."""
    config = {
        "study": study,
        "seed": 7,
        "data": {"source": "digits"},
        "space": {"name": "repcnn", "stages": 1, "width": [4, 16], "blocks": [1, 2], "kernel": 3},
        "training": {"epochs": epochs, "batch_size": 128},
        "device": "reference",
        "objectives": ["error", "latency", "peak_memory"],
        # The order in which trials end depends on what dies: neither what is proposed nor what is stopped may.
        "search": {"trials": trials, "sampler": "random", "early_stopping": False},
        "workers": {"address": "auto"},
        "store": world.s3.uri("store"),
        "ledger": world.ledger,
        "tracking": world.tracking.address,
    }
    path = world.folder / f"{study}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


class Driver:
    """``repareto search``, run again with the same words whenever it has died."""

    def __init__(self, world: World, config: Path) -> None:
        self._world, self._config = world, config
        self.log = config.with_suffix(".log")
        self.starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"--- start {self.starts}\n".encode())
            log.flush()
            self._process = subprocess.Popen(
                [REPARETO, "search", str(self._config)],
                cwd=self._world.folder,
                env=self._world.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @property
    def exit_code(self) -> int | None:
        assert self._process is not None
        return self._process.poll()

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


@dataclass
class Run:
    """What was done to a search, and what it came to."""

    study: str
    kills: list[tuple[float, str]] = field(default_factory=list)
    starts: int = 0
    seconds: float = 0.0
    finished: int = 0
    epochs_repeated: int = 0
    broken: list[str] = field(default_factory=list)
    """The promises that did not hold; none is the only good number."""
    trials: dict[int, dict[str, Any]] = field(default_factory=dict)


def run_search(world: World, study: str, kills: list[str], seed: int, *, trials: int, epochs: int) -> Run:
    """Run a search to its end, with ``kills`` at random moments of ``seed``, and look at what is there afterwards."""
    rng = random.Random(seed)
    run = Run(study)
    driver = Driver(world, write_config(world, study, trials=trials, epochs=epochs))
    begun = time.monotonic()
    driver.start()
    waiting = list(kills)
    next_kill = begun + rng.uniform(6, 12) if waiting else begun + RUN_SECONDS
    try:
        while driver.exit_code != 0 or waiting:
            now = time.monotonic()
            if now - begun > RUN_SECONDS:
                run.broken.append(f"not done after {RUN_SECONDS:.0f} s:\n{driver.tail()}")
                break
            if waiting and (now >= next_kill or driver.exit_code == 0):
                victim = waiting.pop(0)
                if KILLS[victim](world, driver, rng):
                    run.kills.append((round(now - begun, 1), victim))
                next_kill = time.monotonic() + rng.uniform(1, 6)
            if driver.exit_code not in (None, 0):
                # It was killed, or gave up because a server was away when it began.
                time.sleep(rng.uniform(0, 1))
                driver.start()
            time.sleep(0.1)
    finally:
        driver.kill()
    run.starts, run.seconds = driver.starts, round(time.monotonic() - begun, 1)
    if not run.broken:
        # The server may have been away when the search ended. Where nothing is missing, this must change nothing.
        words = [REPARETO, "sync", study, "--ledger", world.ledger]
        done = subprocess.run(words, capture_output=True, text=True, env=world.environment(), check=False)
        if done.returncode != 0:
            run.broken.append(f"repareto sync: {done.stderr}")
        inspect(world, run, trials=trials, epochs=epochs)
    return run


def _kill_driver(_world: World, driver: Driver, _rng: random.Random) -> bool:
    done = driver.exit_code == 0
    driver.kill()
    if done:
        # Nothing was left to disturb: the same command again must change nothing.
        driver.start()
    return True


def _kill_worker(world: World, driver: Driver, rng: random.Random) -> bool:
    """Kill one as soon as there is one: after a kill of its driver or its node it takes seconds to come back."""
    deadline = time.monotonic() + WORKER_SECONDS
    while driver.exit_code is None and time.monotonic() < deadline:
        # Ray names an actor after the class that it was wrapped in at the time.
        if world.ray.kill_a_worker("Trainable", rng.choice) is not None:
            return True
        time.sleep(0.2)
    return False


def _kill_node(world: World, _driver: Driver, rng: random.Random) -> bool:
    world.ray.kill_node(rng.randrange(len(world.ray.nodes)))
    world.ray.add_node()
    return True


def _kill_postgres(world: World, _driver: Driver, rng: random.Random) -> bool:
    world.postgres.kill()
    time.sleep(rng.uniform(0, 3))
    world.postgres.start()
    return True


def _kill_mlflow(world: World, _driver: Driver, rng: random.Random) -> bool:
    world.tracking.kill()
    time.sleep(rng.uniform(0, 3))
    world.tracking.start()
    return True


KILLS: Mapping[str, Callable[[World, Driver, random.Random], bool]] = {
    "driver": _kill_driver,
    "worker": _kill_worker,
    "node": _kill_node,
    "postgres": _kill_postgres,
    "mlflow": _kill_mlflow,
}


def inspect(world: World, run: Run, *, trials: int, epochs: int) -> None:
    """Look at what a search left behind, and note each promise that does not hold."""

    def promise(holds: bool, what: str) -> None:
        if not holds:
            run.broken.append(what)

    # Without a pool, so that no connection is left open.
    uri = world.postgres.uri(driver="+psycopg")
    storage = optuna.storages.RDBStorage(uri, engine_kwargs={"poolclass": NullPool})
    study = optuna.load_study(study_name=run.study, storage=storage)
    states = Counter(trial.state.name for trial in study.trials)
    run.finished = states["COMPLETE"]
    promise(states == {"COMPLETE": trials}, f"trials in the ledger: {dict(states)}")
    run.trials = {
        trial.number: {
            "candidate": trial.params,
            "values": trial.values,
            "errors": [point[0] for point in trial.user_attrs["curve"]],
            "losses": [point[1] for point in trial.user_attrs["curve"]],
        }
        for trial in study.trials
    }
    promise(all(len(trial["errors"]) == epochs for trial in run.trials.values()), "a learning curve has gaps")
    _inspect_requests(world, run, promise, trials=trials, epochs=epochs)
    if states == {"COMPLETE": trials}:
        front, hypervolume = recomputed_front(world, run)
        _inspect_front(world, run, promise, front, hypervolume)
        _inspect_mlflow(world, run, promise, front, hypervolume)


def _inspect_requests(world: World, run: Run, promise: Callable, *, trials: int, epochs: int) -> None:
    """What the S3 server saw: each trial's end is written once, each epoch's checkpoint as often as it was trained."""
    pattern = re.compile(rf"/?{world.s3.bucket}/store/studies/{re.escape(run.study)}/trials/(\d+)/(.+)")
    puts = [match.groups() for path in world.s3.requests("PUT") if (match := pattern.fullmatch(path))]
    ends = Counter(int(number) for number, name in puts if name == "measurement.json")
    promise(ends == dict.fromkeys(range(trials), 1), f"ends by trial: { {n: c for n, c in ends.items() if c != 1} }")
    checkpoints = sum(name.startswith("checkpoint-") for _, name in puts)
    run.epochs_repeated = checkpoints - trials * epochs
    # At most one epoch of each trial that ran where something died.
    bound = sum({"driver": 2, "worker": 1, "node": 1}.get(victim, 0) for _, victim in run.kills)
    promise(0 <= run.epochs_repeated <= bound, f"{run.epochs_repeated} epochs trained twice, at most {bound} allowed")


def recomputed_front(world: World, run: Run) -> tuple[list[int], float]:
    """Return the front and its hypervolume from the ledger's bare values, by the slow definition."""
    values = np.array([run.trials[number]["values"] for number in sorted(run.trials)])
    front = [
        index
        for index, row in enumerate(values)
        if not any((other <= row).all() and (other < row).any() for other in values)
    ]
    with psycopg.connect(world.postgres.uri()) as connection:
        (header,) = connection.execute(
            "SELECT value_json FROM study_user_attributes JOIN studies USING (study_id) "
            "WHERE study_name = %s AND key = 'repareto'",
            [run.study],
        ).fetchone()
    reference = np.array(json.loads(json.loads(header))["reference"])
    return front, float(moocore.hypervolume(values / reference, ref=np.ones(len(reference))))


def _inspect_front(world: World, run: Run, promise: Callable, front: list[int], hypervolume: float) -> None:
    words = [REPARETO, "front", run.study, "--json", "--ledger", world.ledger]
    done = subprocess.run(words, capture_output=True, text=True, env=world.environment(), check=False)
    promise(done.returncode == 0, f"repareto front: {done.stderr}")
    if done.returncode == 0:
        shown = json.loads(done.stdout)
        promise(sorted(member["trial"] for member in shown["front"]) == front, "the front is not the ledger's")
        promise(bool(np.isclose(shown["hypervolume"], hypervolume)), "the hypervolume is not the ledger's")


def _inspect_mlflow(world: World, run: Run, promise: Callable, front: list[int], hypervolume: float) -> None:
    with _login(world.tracking):
        client = mlflow.MlflowClient(world.tracking.address)
        experiment = client.get_experiment_by_name(run.study)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id], max_results=1000)
        parents = [one for one in runs if one.data.tags.get("role") == "study"]
        children = [one for one in runs if "mlflow.parentRunId" in one.data.tags]
        promise(
            (len(parents), len(runs)) == (1, 1 + len(run.trials)), f"MLflow: {len(parents)} parents, {len(runs)} runs"
        )
        numbers = Counter(int(child.data.tags["repareto.trial"]) for child in children)
        promise(numbers == dict.fromkeys(run.trials, 1), f"MLflow: runs by trial {dict(numbers)}")
        promise(all(one.info.status == "FINISHED" for one in runs), "MLflow: a run is not FINISHED")
        for child in children:
            trial = run.trials[int(child.data.tags["repareto.trial"])]
            shown = [child.data.metrics.get(name) for name in OBJECTIVES]
            promise(shown == trial["values"], f"MLflow: {child.info.run_name} has {shown}, not {trial['values']}")
            history = client.get_metric_history(child.info.run_id, "epoch.error")
            errors = [point.value for point in sorted(history, key=lambda point: point.step)]
            promise(errors == trial["errors"], f"MLflow: {child.info.run_name} has another learning curve")
        members = sorted(
            int(child.data.tags["repareto.trial"]) for child in children if child.data.tags["on_front"] == "true"
        )
        promise(members == front, f"MLflow: front {members}, not {front}")
        promise(bool(np.isclose(parents[0].data.metrics["hypervolume"], hypervolume)), "MLflow: another hypervolume")
        models = [child for child in children if "repareto.model" in child.data.tags]
        logged = client.search_logged_models([experiment.experiment_id], max_results=100)
        promise(len(logged) == len(models), f"MLflow: {len(logged)} models for {len(models)} runs")
        missing = set(front) - {int(child.data.tags["repareto.trial"]) for child in models}
        promise(not missing, f"MLflow: no model of {sorted(missing)}")


@contextmanager
def _login(tracking: TrackingServer) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in tracking.environment()}
    os.environ.update(tracking.environment())
    try:
        yield
    finally:
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)


def differences(run: Run, undisturbed: Run) -> list[str]:
    """Return how trials differ from those of a run that nobody disturbed: bit for bit, they must not."""
    return [
        f"trial {number} is not what it is undisturbed"
        for number, trial in undisturbed.trials.items()
        if run.trials.get(number) != trial
    ]


def plan(seed: int, kills: int) -> list[str]:
    """Return what is to be killed, each kind at least once where there are so many."""
    rng = random.Random(seed)
    order = rng.sample(VICTIMS, len(VICTIMS)) + rng.choices(VICTIMS, k=max(0, kills - len(VICTIMS)))
    chosen = order[:kills]
    rng.shuffle(chosen)
    return chosen
