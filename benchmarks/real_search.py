"""Searches whose candidates are trained for real, by ``frontier``, by what was the default before, and by peers.

All have the same space, data, worker and budgets, one worker each and equal trained epochs; a candidate that several
of them choose on a seed is trained once. What is trained is kept (``--keep``), so that a run can be interrupted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repareto.search.config import ConfigFile

from .error_guess import gains_by_costs
from .report import Claim, arguments, over, publish
from .search_peers import PEERS, Trace
from .search_quality import FRONTIER, TPE, Kept, installed, reached, run_any, run_own
from .trained_problem import TrainedProblem

EXAMPLES = Path(__file__).parents[1] / "examples"
SEEDS = 3
INHERITING = "frontier with inheritance"
TRAININGS = {"keywords": 16, "digits": 40}
"""Of each example, as many whole trainings as a search has the epochs of; keywords as ``make search`` has."""
WHY = "in a space of some forty parameters all know little before the last of a few dozen trainings"
"""Of a share that is larger than was asked."""
LEAST = 1e-6
"""Of a hypervolume that another is divided by."""
LEFT_OUT = ("random", "Syne Tune MO-ASHA", "Ax qLogNEHVI")
"""Unless asked for: MO-ASHA looks at an epoch each of many candidates, which are all trained in full here, and Ax's
proposals take longer than the trainings."""


def search(name: str, problem: TrainedProblem, seed: int, epochs: int) -> Trace:
    """Return epochs trained and hypervolume at each improvement."""
    if name == INHERITING:
        return run_own(FRONTIER, problem, seed, epochs, train=problem.by_inheritance("heirs"))
    return run_any(name, problem, seed, epochs)


def compare(
    example: str, seeds: int, names: Sequence[str], trainings: int, folder: Path, *settings: str
) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Search an example with each of ``names`` on each seed."""
    rows: list[dict[str, Any]] = []
    gains: list[float] = []
    for seed in range(seeds):
        config = ConfigFile(EXAMPLES / f"{example}.yaml", [*settings, f"seed={seed}"])
        problem = TrainedProblem(config.validated(), folder)
        kept = Kept(problem.folder / "searches.jsonl")
        for name in names:
            epochs = trainings * problem.epochs
            found, _ = kept.search(problem, name, seed, epochs, search)
            trace = [each for each in found if each[0] <= epochs]
            rows.append({"seed": seed, "search": name, "hypervolume": trace[-1][1], "trace": trace, "epochs": epochs})
            print({key: value for key, value in rows[-1].items() if key != "trace"}, flush=True)
        gains += gains_by_costs(problem.space, problem.trained, problem.reference[0])
    what = (
        f"{example}: how far guessed errors are off with costs as features over without, logarithms, unseen candidates"
    )
    return [
        *claims_of(example, rows),
        Claim(f"real_search.{example}.costs", **over(gains), op="<=", target=1, what=what),
    ], rows


def claims_of(example: str, rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Return what ``frontier`` reaches over each other search, and the share of its epochs that it needs."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["search"], []).append(row)
    own, claims = by_name.pop(FRONTIER), []
    for name, others in by_name.items():
        pairs = list(zip(own, others, strict=True))
        ratios = [mine["hypervolume"] / max(other["hypervolume"], LEAST) for mine, other in pairs]
        shares = [
            min(reached(mine["trace"], other["hypervolume"]), other["epochs"]) / other["epochs"]
            for mine, other in pairs
        ]
        key = f"real_search.{example}.{name.lower().replace(' ', '_')}"
        what = f"{example}: hypervolume of frontier over that of {name}, equal epochs, median and range of seeds"
        claims.append(Claim(key, **over(ratios), op=">=", target=1.0, what=what))
        what = f"{example}: epochs of frontier for what {name} has at its end, as a share"
        if name in PEERS:
            claims.append(Claim(f"{key}.share", **over(shares), op="<=", target=0.25, what=what, why=WHY))
    return claims


def main() -> None:
    """Compare and publish; a quick run searches digits once, with few trials."""
    args = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": SEEDS}),
        ("--example", {"choices": list(TRAININGS), "default": "digits"}),
        (
            "--searches",
            {
                "nargs": "+",
                "default": [FRONTIER, TPE, INHERITING, *(name for name in PEERS if name not in LEFT_OUT)],
                "help": "frontier among them",
            },
        ),
        ("--keep", {"type": Path, "help": "a folder of what is trained and searched"}),
    )
    names = [name for name in args.searches if installed(name)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        if args.quick:
            claims, rows = compare(args.example, 1, names, 3, folder, "training.epochs=3", "device=reference")
        else:
            claims, rows = compare(args.example, args.seeds, names, TRAININGS[args.example], folder)
    command = f"python -m benchmarks.real_search --example {args.example} --seeds {args.seeds} --searches"
    command = " ".join([command, *(f'"{name}"' for name in names)])
    publish(f"real_search_{args.example}", command, claims, rows, quick=args.quick, out=args.out)


if __name__ == "__main__":
    main()
