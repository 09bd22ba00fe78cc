"""Real searches, trained by Ray's workers, by ``frontier`` and by TPE, at equal trained epochs.

Both have the same data, trainer, rungs and number of trials; what differs is who proposes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from repareto.search.ledger import Ledger
from repareto.search.run import read_results

from .report import Claim, arguments, over, publish

COMMAND = str(Path(sys.executable).parent / "repareto")
SAMPLERS = ("frontier", "tpe")
SEEDS = 3
SETTINGS = {"keywords": ("data.clips=2700", "search.trials=12"), "digits": ("search.trials=40",)}
"""Of each example that is searched: short searches of a large space, and longer ones of quick trainings."""
WHY = {"keywords": "in twelve trials of thirty parameters little is known before the last ones"}


def search(example: str, sampler: str, seed: int, store: Path, *settings: str) -> list[tuple[int, float]]:
    """Search and return (epochs trained by all trials so far, hypervolume) at the end of each trial."""
    words = [f"store={store}", f"seed={seed}", f"search.sampler={sampler}", *settings]
    command = [COMMAND, "search", f"examples/{example}.yaml", *(word for each in words for word in ("--set", each))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    results = read_results(Ledger.open(store, example))
    steps = zip(results.epochs_by_trial(), results.hypervolume_by_trial(), strict=True)
    return [(epochs, volume) for epochs, (_, volume, _) in steps]


def at(steps: list[tuple[int, float]], epochs: int) -> float:
    """Return the hypervolume of what had ended after so many epochs."""
    return max((volume for trained, volume in steps if trained <= epochs), default=0.0)


def compare(example: str, seeds: int, *settings: str) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Search with each sampler on each seed, the samplers in turns."""
    rows: list[dict[str, Any]] = []
    ratios: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["REPARETO_CACHE"] = f"{folder}/cache"
        for seed in range(seeds):
            steps = {name: search(example, name, seed, Path(folder) / f"{name}{seed}", *settings) for name in SAMPLERS}
            # Stopped trials differ, and so do the epochs of equally many trials: both are read where the first ended.
            epochs = min(each[-1][0] for each in steps.values())
            volumes = {name: at(each, epochs) for name, each in steps.items()}
            ratios.append(volumes["frontier"] / volumes["tpe"])
            rows += [
                {"seed": seed, "sampler": name, "epochs": epochs, "hypervolume": volumes[name], "steps": steps[name]}
                for name in SAMPLERS
            ]
            print(f"seed {seed}, {epochs} epochs: {volumes}", flush=True)
    what = f"{example}: hypervolume of frontier over TPE's at equal trained epochs, median and range of {seeds} seeds"
    return [
        Claim(f"real_search.{example}", **over(ratios), op=">=", target=1.0, what=what, why=WHY.get(example, ""))
    ], rows


def main() -> None:
    """Compare and publish; a quick run searches digits once, with few trials."""
    args = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": SEEDS}),
        ("--example", {"choices": list(SETTINGS), "default": "digits"}),
    )
    name = f"real_search_{args.example}"
    if args.quick:
        claims, rows = compare(args.example, 1, "training.epochs=2", "search.trials=3")
    else:
        claims, rows = compare(args.example, args.seeds, *SETTINGS[args.example])
    command = f"python -m benchmarks.real_search --example {args.example} --seeds {args.seeds}"
    publish(name, command, claims, rows, quick=args.quick, out=args.out)


if __name__ == "__main__":
    main()
