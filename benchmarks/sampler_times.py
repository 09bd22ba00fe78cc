"""What a proposal of the sampler ``frontier`` takes, after a hundred and after ten thousand finished trials."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from repareto.search.devices.profile import Profile
from repareto.search.devices.targets import device
from repareto.search.frontier.proposer import STARTUP_TRIALS, FrontierProposer
from repareto.search.models import Appraiser
from repareto.search.objectives import OBJECTIVES
from repareto.search.records import EpochPoint, State, TrialRecord, profile_figures
from repareto.search.results import Results
from repareto.spaces.space import Candidate, load_space

from .report import Claim, exactly
from .simulated_study import measurement_of
from .table import Row, profile_of


def sampler_times(finished: Sequence[int]) -> list[dict[str, Any]]:
    """Return what a proposal takes after so many finished trials, in the space of ``make search``.

    Costs are made up, so that the time is the sampler's own, and once they are read from networks that are built.
    """
    config = yaml.safe_load((Path(__file__).parents[1] / "examples" / "keywords.yaml").read_text())
    space = load_space(config["space"])
    objectives = tuple(OBJECTIVES[name] for name in ("error", "latency", "peak_memory"))
    build = Appraiser(space, device("reference"), lambda _: (40, 50), 12)

    def made_up(candidate: Candidate) -> Profile:
        sizes = [candidate.integer(name) for name in candidate if name.endswith(("width", "blocks"))]
        size = float(np.prod(sizes))
        return profile_of(
            {"latency_us": size, "peak_memory_bytes": 64.0 * max(sizes), "macs": size, "parameters": size}
        )

    rows = []
    for count in finished:
        for label, appraise in (("made up", made_up), ("built", build)):
            if label == "built" and count != finished[0]:
                continue
            rng = random.Random(0)
            records = [_finished(number, space.draw(rng), made_up, rng) for number in range(count)]
            results = Results(objectives, (0.9, 2000.0, 4096.0), records)
            sampler = FrontierProposer(
                space, appraise, objectives=objectives, budgets=(), reference=results.reference.tolist(),
                startup_trials=STARTUP_TRIALS, seed=0,
            )  # fmt: skip
            times = []
            for number in range(count, count + 4):
                start = time.process_time()
                proposal = sampler.propose(results)
                times.append(time.process_time() - start)
                assert proposal is not None
                results.update(_finished(number, proposal.candidate, made_up, rng))
            # The first one learns what there is, as a driver does that goes on.
            rows.append(
                {"finished": count, "costs": label, "seconds": statistics.median(times[1:]), "first_seconds": times[0]}
            )
            print(rows[-1])
    return rows


def _finished(
    number: int, candidate: Candidate, appraise: Callable[[Candidate], Profile], rng: random.Random
) -> TrialRecord:
    profile = appraise(candidate)
    errors = [rng.uniform(0.9, 1.1) * profile.value("latency_us") ** -0.3 * (1 + 1 / epoch) for epoch in range(1, 11)]
    row = Row(candidate, tuple(errors), errors[-1], 10.0, profile_figures(asdict(profile)))
    measurement = measurement_of(row)
    return TrialRecord(
        number=number,
        state=State.FINISHED,
        candidate=candidate,
        profile=asdict(profile),
        curve=tuple(EpochPoint(error, 0.0, 1.0) for error in errors),
        measurement=replace(measurement, figures={**row.figures, **measurement.figures}),
        ended=float(number),
    )


def time_claims(rows: Sequence[dict[str, Any]]) -> list[Claim]:
    """Return the claims about the sampler's own time."""
    own = {row["finished"]: row["seconds"] for row in rows if row["costs"] == "made up"}
    claims = [
        Claim("search_quality.seconds", **exactly(own[count]), op="<=", target=0.5, what=f"seconds a proposal, {count}")
        for count in own
        if count == 1000
    ]
    first, last = min(own), max(own)
    growth = own[last] / own[first] / (last / first)
    what = f"time a proposal, {last} finished trials over {first}, divided by {last // first}"
    return [*claims, Claim("search_quality.growth", **exactly(growth), op="<=", target=1.0, what=what)]
