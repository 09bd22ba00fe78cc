"""Draws one decision of the sampler ``frontier`` for docs/search.md, on the public problem ZDT1."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import optuna

from repareto.search.front import on_front
from repareto.search.frontier.features import Encoder
from repareto.search.frontier.outlook import Known
from repareto.search.frontier.pool import children, random_candidates
from repareto.search.frontier.proposer import FrontierProposer
from repareto.search.results import objective_values

from .simulated_study import SimulatedStudy, make_study
from .synthetic_problems import synthetic_problems

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "decision.png"
TRIALS, SHOWN = 14, 40
"""Trained before the decision, and shown of each kind of candidate."""


def main() -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problem = synthetic_problems()[0]
    sampler = FrontierProposer(
        problem.space, lambda c: problem.row(c).profile, objectives=problem.objectives, budgets=(),
        reference=problem.reference, startup_trials=6, seed=0,
    )  # fmt: skip
    study = make_study(problem, sampler, trials=TRIALS)
    SimulatedStudy(problem, study).run(TRIALS * problem.epochs)
    results = study.results
    rng, encode = random.Random(1), Encoder(problem.space)
    proposal = sampler.propose(results)
    assert proposal is not None
    parents = [record.candidate for record in results.front]
    others = [*random_candidates(problem.space, SHOWN, rng), *children(problem.space, parents, SHOWN, rng)]
    candidates = [proposal.candidate, *others]
    known = [Known(c, problem.row(c).figures, row) for c, row in zip(candidates, encode(candidates), strict=True)]
    outlook = sampler.outlook(results)
    assert outlook is not None
    guess, gains = outlook.guess(known), outlook.gains(known)

    figure, axes = pyplot.subplots(figsize=(7.5, 4.2), dpi=140)
    latencies = np.array([one.figures["latency_us"] for one in known])
    unit = problem.reference[0]
    low, high = (unit * (np.exp(guess.mean + side * guess.deviation) - guess.shift) for side in (-1, 1))
    axes.vlines(latencies, low, high, color="0.85", zorder=1)
    dots = axes.scatter(latencies, unit * guess.median, c=1000 * gains, cmap="viridis", s=22, zorder=2)
    figure.colorbar(dots, label="expected gain in hypervolume, thousandths")
    values = np.array([objective_values(problem.objectives, record) for record in results.finished])
    axes.scatter(values[:, 1], values[:, 0], color="0.5", marker="x", s=30, zorder=3, label="trained")
    front = values[on_front(values)]
    front = front[np.argsort(front[:, 1])]
    axes.step(front[:, 1], front[:, 0], where="post", color="black", label="front so far")
    axes.scatter(
        latencies[:1], unit * guess.median[:1], facecolors="none", edgecolors="red", s=160, label="trained next"
    )
    axes.set(xlabel="cost (known before training)", ylabel="error (guessed; bars of one deviation)")
    axes.legend()
    figure.tight_layout()
    figure.savefig(PICTURE)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
