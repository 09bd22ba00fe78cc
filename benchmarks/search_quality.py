"""How many trained epochs a search needs for a front, against its peers; and what each of its ideas is worth.

Simulated: training is looked up in a table of trained RepCNNs and in public problems of whole numbers, so that each
search runs over twenty seeds. ``--keep`` names a file of finished searches, so that a run can be interrupted.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import optuna

from repareto.search import study
from repareto.search.devices.profile import Profile
from repareto.search.front import hypervolume
from repareto.search.frontier import outlook, proposer
from repareto.search.frontier.proposer import STARTUP_TRIALS, FrontierProposer
from repareto.search.objectives import OBJECTIVES, Budget, Objective
from repareto.search.records import TrialRecord
from repareto.search.results import Results
from repareto.search.rungs import ParetoRungs, default_rungs
from repareto.search.sampling import OptunaProposer
from repareto.spaces.space import Candidate, SearchSpace

from .keyword_grid import KeywordGrid
from .report import Claim, arguments, publish
from .sampler_times import sampler_times, time_claims
from .search_peers import PEERS, Trace, run_peer
from .simulated_study import Problem, SimulatedStudy, make_study
from .synthetic_problems import synthetic_problems
from .table import TABLES, Row, Table

SEEDS, TRAININGS = 20, 100
"""A peer has the epochs of so many whole trainings."""
OWN_SHARE = 0.4
"""Of them that our own searches have: they need no more, and their proposals take longer to simulate."""
TENTH = 0.1
ASKED_SHARE, ASKED_HYPERVOLUME = 0.25, 0.99
FRONTIER = "frontier"
LIBRARIES = {"Syne Tune": "syne_tune", "Ax": "ax"}
SLOW_PEERS, SLOW_SEEDS = ("Ax qLogNEHVI",), 3
"""Peers whose own proposals take minutes a search: they search the keyword table only, on so many seeds at most."""
REDUCTION, FIRST_RUNG = 2, 3
"""As a study has them by default."""


@dataclass(frozen=True)
class KeywordProblem:
    """The table of trained RepCNNs."""

    table: Table
    space: SearchSpace = KeywordGrid()
    name: str = "keywords"
    budgets: Sequence[Budget] = ()

    @property
    def objectives(self) -> Sequence[Objective]:
        return tuple(OBJECTIVES[name] for name in ("error", "latency", "peak_memory"))

    @property
    def epochs(self) -> int:
        return self.table.epochs

    @cached_property
    def reference(self) -> tuple[float, ...]:
        """Guessing, and the worst there is of each cost."""
        worst = (max(row.figures[str(o.known_key)] for row in self.table.rows.values()) for o in self.objectives[1:])
        return (5 / 6, *worst)

    def profile(self, candidate: Candidate) -> Profile:
        return self.row(candidate).profile

    def row(self, candidate: Candidate) -> Row:
        return self.table.rows[candidate]

    @cached_property
    def best_hypervolume(self) -> float:
        """That of all rows."""
        keys = [objective.key for objective in self.objectives[1:]]
        values = [[row.errors[-1], *(row.figures[key] for key in keys)] for row in self.table.rows.values()]
        return hypervolume(np.array(values), np.array(self.reference))


def problems() -> list[Problem]:
    """Return all problems, the table first."""
    path = TABLES / "keywords.csv"
    own = [KeywordProblem(Table.read(path, KeywordGrid()))] if path.exists() else []
    return [*own, *synthetic_problems()]


@contextmanager
def changed(module: Any, **constants: Any) -> Iterator[None]:
    """Let a module have other constants for a while: an idea is switched off."""
    with mock.patch.multiple(module, **constants):
        yield


ABLATIONS: dict[str, Callable[[], Any]] = {
    "without children of the front": lambda: changed(proposer, DRAWN=320, BRED=0),
    "error guessed from parameters only": lambda: changed(outlook, TELLING=()),
    "length scales never fitted anew": lambda: changed(proposer, GROWTH=1e9),
    "stopped by rank alone": lambda: changed(study, LEAST_CHANCE=float("inf")),
}
TPE = "tpe with early stopping"
OTHERS = ("frontier without early stopping", TPE)
"""Of our own searches: the sampler alone, and the rungs alone."""
OWN = (*ABLATIONS, *OTHERS)
WHY = {
    "keywords": "the middle seeds need a quarter and a bit more: among 512 models TPE finds nearly all there is too, "
    "and errors are noisy",
    "dtlz2": "what unbuilt candidates cost is guessed, and small differences decide there: with all costs read, "
    "frontier has 0.90 after 25 trainings (benchmarks/LOG.md)",
}
"""A claim of a problem may not hold."""


def run_own(
    name: str,
    problem: Problem,
    seed: int,
    epochs: int,
    train: Callable[[TrialRecord, Results], Row] | None = None,
) -> Trace:
    """Search with ``frontier``, with one of its ideas switched off, or with TPE and rungs.

    ``train`` is that of :class:`.simulated_study.SimulatedStudy`.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rungs = ParetoRungs(default_rungs(problem.epochs, REDUCTION, FIRST_RUNG), REDUCTION)
    with ABLATIONS.get(name, nullcontext)():
        if name == TPE:
            own: Any = OptunaProposer(
                problem.space, len(problem.objectives), sampler="tpe", startup_trials=10, seed=seed
            )
        else:
            own = FrontierProposer(
                problem.space,
                problem.profile,
                objectives=problem.objectives,
                budgets=problem.budgets,
                reference=problem.reference,
                startup_trials=STARTUP_TRIALS,
                seed=seed,
            )
        stops = name != "frontier without early stopping"
        search = SimulatedStudy(problem, make_study(problem, own, rungs=rungs if stops else None), train=train)
        moments = search.run(epochs)
    return [(moment.epochs, moment.hypervolume) for moment in moments]


Search = Callable[[str, Any, int, int], Trace]
"""By its name, a problem, a seed and epochs."""


def run_any(name: str, problem: Problem, seed: int, epochs: int) -> Trace:
    """Search as a peer or as we do."""
    return (run_peer if name in PEERS else run_own)(name, problem, seed, epochs)


class Kept:
    """Finished searches, kept in a file of one JSON line each."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self._known = {tuple(json.loads(line)["key"]): json.loads(line) for line in lines}

    def search(self, problem: Problem, name: str, seed: int, epochs: int, run: Search = run_any) -> tuple[Trace, float]:
        """Return what a search found, and the processor's seconds that it took."""
        key = (problem.name, name, seed, epochs)
        if key not in self._known:
            start = time.process_time()
            trace = run(name, problem, seed, epochs)
            seconds = time.process_time() - start
            self._known[key] = {"key": key, "trace": trace, "seconds": seconds}
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("a") as file:
                    file.write(json.dumps(self._known[key]) + "\n")
        known = self._known[key]
        return [(step, value) for step, value in known["trace"]], known["seconds"]


def reached(trace: Trace, level: float) -> float:
    """Return after how many epochs a hypervolume was reached; infinite where it never was."""
    return next((float(epochs) for epochs, value in trace if value >= level), float("inf"))


def at(trace: Trace, epochs: float) -> float:
    """Return the hypervolume that was reached by an epoch."""
    return max(value for step, value in trace if step <= epochs)


def installed(name: str) -> bool:
    """Return whether a peer's library is there; these are no dependencies (``pip install syne-tune ax-platform``)."""
    from importlib.util import find_spec

    modules = [module for library, module in LIBRARIES.items() if name.startswith(library)]
    return all(find_spec(module) is not None for module in modules)


def peers_of(problem: Problem) -> list[str]:
    """Return who searches a problem."""
    return [
        name for name in PEERS if installed(name) and (name not in SLOW_PEERS or isinstance(problem, KeywordProblem))
    ]


def compare(
    problem: Problem, kept: Kept, seeds: int, trainings: int, others: Sequence[str]
) -> tuple[list[dict[str, Any]], list[Claim]]:
    """Return a row for each search of a problem, and the claim against the best peer; ``others`` are of our own."""
    budget = trainings * problem.epochs
    own = [kept.search(problem, FRONTIER, seed, round(OWN_SHARE * budget))[0] for seed in range(seeds)]
    rows, shares_by_name = [], {}
    for name in (FRONTIER, *others, *peers_of(problem)):
        epochs = budget if name in PEERS else round(OWN_SHARE * budget)
        own_seeds = min(seeds, SLOW_SEEDS) if name in SLOW_PEERS else seeds
        searches = [kept.search(problem, name, seed, epochs) for seed in range(own_seeds)]
        ends = [trace[-1][1] for trace, _ in searches]
        shares = [min(reached(mine, end), epochs) / epochs for mine, end in zip(own, ends, strict=False)]
        shares_by_name[name] = shares
        rows.append(
            {
                "problem": problem.name,
                "search": name,
                "epochs": epochs,
                "seeds": own_seeds,
                "hypervolume": statistics.median(ends),
                "low": min(ends),
                "high": max(ends),
                "after_a_tenth": statistics.median(at(trace, budget / 10) for trace, _ in searches),
                "after_a_quarter": statistics.median(at(trace, budget / 4) for trace, _ in searches),
                "share_that_frontier_needs": float(np.median(shares)),
                "cpu_seconds": statistics.median(seconds for _, seconds in searches),
            }
        )
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in rows[-1].items()})
    best = max((row for row in rows if row["search"] in PEERS), key=lambda row: row["hypervolume"])["search"]
    what = f"{problem.name}: epochs of frontier for what {best} has after {trainings} trainings, as a share"
    low, middle, high = (float(np.quantile(shares_by_name[best], q)) for q in (0.25, 0.5, 0.75))
    return rows, [
        Claim(f"search_quality.{problem.name}", middle, low, high, "<=", ASKED_SHARE, what, WHY.get(problem.name, ""))
    ]


def front_of_table(problem: KeywordProblem, kept: Kept, seeds: int) -> Claim:
    """Return how much of the table's front is found by training a tenth of it."""
    epochs = round(TENTH * len(problem.table.rows)) * problem.epochs
    shares = [
        kept.search(problem, FRONTIER, seed, epochs)[0][-1][1] / problem.best_hypervolume for seed in range(seeds)
    ]
    low, middle, high = (float(np.quantile(shares, q)) for q in (0.25, 0.5, 0.75))
    what = "hypervolume of the table's front that frontier has after the epochs of a tenth of it"
    return Claim("search_quality.table", middle, low, high, ">=", ASKED_HYPERVOLUME, what)


def main() -> None:
    args = arguments(
        __doc__,
        ("--seeds", {"type": int, "default": SEEDS}),
        ("--peers-only", {"action": "store_true", "help": "leave out our own searches without one of their ideas"}),
        ("--keep", {"type": Path, "help": "a file of the searches that are finished"}),
    )
    seeds, trainings = (2, 15) if args.quick else (args.seeds, TRAININGS)
    kept, rows, claims = Kept(args.keep), [], []
    for problem in problems()[-1:] if args.quick else problems():
        more, its_claims = compare(problem, kept, seeds, trainings, () if args.peers_only else OWN)
        rows, claims = rows + more, claims + its_claims
        if isinstance(problem, KeywordProblem):
            claims.append(front_of_table(problem, kept, seeds))
    times = sampler_times((50, 200) if args.quick else (100, 1000, 10_000))
    command = f"python -m benchmarks.search_quality --seeds {seeds}{' --peers-only' * args.peers_only}"
    publish("search_quality", command, [*claims, *time_claims(times)], rows + times, quick=args.quick, out=args.out)


if __name__ == "__main__":
    main()
