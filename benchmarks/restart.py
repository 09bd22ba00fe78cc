"""How long a driver that was killed takes until it is back at work, on the servers of the chaos test.

From the start of the same command to the next checkpoint that a worker writes, as the S3 server sees it.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.integration import chaos

from .report import Claim, arguments, over, publish

EPOCHS = 3
TRIALS = 1000


def fill_ledger(world: chaos.World, study: str, config: Path, trials: int) -> None:
    """Make a study with that many finished trials, as a long search leaves it."""
    from repareto.search import run
    from repareto.search.config import ConfigFile
    from repareto.search.ledger import Ledger
    from repareto.search.parts import Parts
    from repareto.search.records import EpochPoint, Measurement, profile_figures
    from repareto.search.sampling import distribution

    os.environ.update(world.environment())
    parts = Parts(ConfigFile(config).validated())
    datasets = run.load_data(parts, print)
    appraiser = run.appraiser_for(parts, datasets)
    ledger = Ledger.create(parts.config.ledger_address, study, run.new_header(parts, datasets, appraiser))
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
    """Kill and restart a driver some times and publish how long it took."""
    options = arguments(__doc__, ("--rounds", {"type": int, "default": 7}))
    rounds, trials = (1, 20) if options.quick else (options.rounds, TRIALS)
    with tempfile.TemporaryDirectory(prefix="repareto-restart-") as folder, chaos.world(Path(folder)) as world:
        seconds = restart_seconds(world, rounds, trials)
    claim = Claim(
        "restart.seconds",
        **over(seconds),
        op="<=",
        target=10,
        what="SIGKILL of the driver: from its restart to the next epoch of a worker, ledger of 1,000 trials",
        why="imports, Ray's connection and the actors' imports of torch share two cores with all servers",
    )
    publish("restart", "make bench-restart", [claim], [{"trials": trials, "seconds": seconds}],
            quick=options.quick, out=options.out)  # fmt: skip


if __name__ == "__main__":
    main()
