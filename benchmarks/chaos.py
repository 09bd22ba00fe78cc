"""Searches whose parts are killed at random moments: what was killed, and whether anything was lost or repeated.

Real servers on loopback: a Ray cluster of a head and two nodes, PostgreSQL, MLflow with a password, S3. Each seed sends
SIGKILL to the driver, a worker process, a worker node, PostgreSQL and the MLflow server at least once; the front, the
ledger, MLflow's runs and every trial are compared with what they must be.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.integration import chaos

from .report import Claim, arguments, exactly, over, publish

EPOCHS = 3


def chaos_row(world: chaos.World, seed: int, undisturbed: chaos.Run, *, trials: int, kills: int) -> dict[str, Any]:
    """Run one disturbed search and return what became of it."""
    run = chaos.run_search(world, f"seed-{seed}", chaos.plan(seed, kills), seed, trials=trials, epochs=EPOCHS)
    return {
        "seed": seed,
        "kills": [f"{victim} at {seconds} s" for seconds, victim in run.kills],
        "driver_starts": run.starts,
        "seconds": run.seconds,
        "finished_trials": run.finished,
        "epochs_trained_twice": run.epochs_repeated,
        "broken_promises": run.broken,
        "trials_that_differ": chaos.differences(run, undisturbed),
    }


def fill_ledger(world: chaos.World, study: str, config: Path, trials: int) -> None:
    """Make a study with that many finished trials, as a long search leaves it."""
    import os

    from repareto.search import run
    from repareto.search.config import ConfigFile
    from repareto.search.ledger import Ledger
    from repareto.search.models import Appraiser
    from repareto.search.parts import Parts
    from repareto.search.records import EpochPoint, Measurement, profile_figures
    from repareto.search.sampling import distribution

    os.environ.update(world.environment())
    parts = Parts(ConfigFile(config).validated())
    dataset = run.load_data(parts, print)
    appraiser = Appraiser(parts.space, parts.device, dataset.input_shape, len(dataset.labels))
    ledger = Ledger.create(parts.config.ledger_address, study, run.new_header(parts, dataset, appraiser))
    rng = random.Random(0)
    keys = [objective.key for objective in parts.config.parsed_objectives()]
    for number in range(trials):
        candidate = parts.space.draw(rng)
        profile = asdict(appraiser(candidate))
        distributions = {p.name: distribution(p.dimension) for p in parts.space.parameters() if p.name in candidate}
        assert ledger.start(candidate, distributions, profile) == number
        ledger.record_curve(number, [EpochPoint(rng.random(), 1.0, 0.1) for _ in range(EPOCHS)])
        figures = {**profile_figures(profile), "error": rng.random(), "test_error": rng.random()}
        fusion = {"largest_absolute_difference": 0.0, "largest_relative_difference": 0.0}
        measurement = Measurement(figures, {**fusion, "tolerance": 1e-4, "fused_blocks": 1}, 0, EPOCHS, 1.0, 1)
        ledger.finish(number, measurement, [figures[key] for key in keys], {})


def restart_seconds(world: chaos.World, repeats: int, trials: int) -> list[float]:
    """Kill the driver of a study of ``trials`` finished trials, and time its restart to the next epoch of a worker."""
    study = f"restart-{trials}"
    config = chaos.write_config(world, study, trials=10 * trials, epochs=1000)
    fill_ledger(world, study, config, trials)
    driver = chaos.Driver(world, config)

    def epochs() -> int:
        return sum(f"/{study}/" in path for path in world.s3.requests("PUT"))

    def start() -> float:
        before, begun = epochs(), time.monotonic()
        driver.start()
        while epochs() == before:
            assert driver.exit_code is None and time.monotonic() - begun < 300, driver.tail()
            time.sleep(0.05)
        return time.monotonic() - begun

    start()
    seconds = []
    for _ in range(repeats):
        driver.kill()
        # Ray ends the workers of a driver that has died; what they still do is not the restarted one's.
        time.sleep(5)
        seconds.append(start())
        print(f"driver killed, back at work after {seconds[-1]:.1f} s", flush=True)
    driver.kill()
    return seconds


def main() -> None:
    """Run the seeds, print a table and publish it."""
    options = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": 20}),
        ("--first", {"type": int, "default": 1, "help": "the first seed"}),
        ("--trials", {"type": int, "default": 24}),
        ("--kills", {"type": int, "default": 6}),
    )
    seeds, trials, kills = (1, 6, 3) if options.quick else (options.seeds, options.trials, options.kills)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="repareto-chaos-") as folder, chaos.world(Path(folder)) as world:
        undisturbed = chaos.run_search(world, "undisturbed", [], 0, trials=trials, epochs=EPOCHS)
        assert not undisturbed.broken, undisturbed.broken
        print(f"undisturbed: {undisturbed.seconds} s", flush=True)
        for seed in range(options.first, options.first + seeds):
            rows.append(chaos_row(world, seed, undisturbed, trials=trials, kills=kills))
            print(rows[-1], flush=True)
        restarts = restart_seconds(world, *((1, 20) if options.quick else (5, 1000)))
    broken = sum(len(row["broken_promises"]) for row in rows)
    differ = sum(len(row["trials_that_differ"]) for row in rows)
    disturbing = sum(victim.split()[0] in ("driver", "worker", "node") for row in rows for victim in row["kills"])
    repeated = sum(row["epochs_trained_twice"] for row in rows)
    claims = [
        Claim(
            "chaos.broken_promises", **exactly(broken), op="<=", target=0, what=f"promises broken over {seeds} seeds"
        ),
        Claim(
            "chaos.trials_that_differ", **exactly(differ), op="<=", target=0, what="trials unlike the undisturbed ones"
        ),
        Claim(
            "chaos.epochs_trained_twice",
            **exactly(repeated / disturbing if disturbing else math.nan),
            op="<=",
            target=2,
            what="epochs trained twice a kill of driver, worker or node; two trials run at once",
        ),
        Claim(
            "chaos.restart_seconds",
            **over(restarts),
            op="<=",
            target=10,
            what="SIGKILL of the driver: from its restart to the next epoch of a worker, ledger of 1,000 trials",
        ),
    ]
    publish("chaos", "make chaos", claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
