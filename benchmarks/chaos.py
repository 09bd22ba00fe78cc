"""Searches whose parts are killed at random moments: what was killed, and whether anything was lost or repeated.

Real servers on loopback: a Ray cluster of a head and two nodes, PostgreSQL, MLflow with a password, S3. Each seed sends
SIGKILL to the driver, a worker process, a worker node, PostgreSQL and the MLflow server at least once; the front, the
ledger, MLflow's runs and every trial are compared with what they must be.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from tests.integration import chaos

from .report import Claim, arguments, exactly, publish

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
    ]
    publish("chaos", "make chaos", claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
