"""The pictures of docs/gallery.md: ``make gallery``. Figures in them are of results, or of what is drawn here."""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from .report import RESULTS

IMAGES = Path(__file__).parents[1] / "docs" / "images"
WIDTH, COLOURS = 1000, 24
"""Of screenshots, which would be too large for a page otherwise."""
MADE_UP_TRIALS = 1000
GREY, RED = "#8a8a8a", "#a3241f"


def main() -> None:
    """Draw all pictures but screenshots of MLflow; or make those small that a browser's test has left in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shrink", type=Path, help="a folder of screenshots to take over")
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    if options.shrink:
        for screenshot in sorted(options.shrink.glob("*.png")):
            shrink(screenshot, options.out / screenshot.name)
        return
    draw_network(options.out)
    draw_exits(options.out / "exits.svg")
    draw_decision(options.out / "decision.svg")
    photograph_front(options.out / "front_page.png")


def shrink(screenshot: Path, picture: Path) -> None:
    """Write a screenshot as a PNG of fewer points and few colours."""
    from PIL import Image

    with Image.open(screenshot) as image:
        height = round(image.height * WIDTH / image.width)
        small = image.convert("RGB").resize((WIDTH, height), Image.Resampling.LANCZOS)
        small.quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)
    print(f"wrote {picture} ({picture.stat().st_size / 1000:.0f} kB)")


def draw_network(folder: Path) -> None:
    """Draw the network in the middle of a space as it runs on a Cortex-M4, and its memory over time."""
    from repareto.search.devices.report.drawing import network_svg
    from repareto.search.devices.report.memory_map import memory_map_svg
    from repareto.search.devices.targets import device
    from repareto.search.models import fused_skeleton
    from repareto.search.profiles import Subject, report_on
    from repareto.search.tasks import task_named
    from repareto.spaces.space import load_space

    shape = (40, 51)
    space = load_space({"name": "repcnn", "form": "separable", "stages": 2, "width": [8, 48], "squeeze": False})
    form = task_named({}).form(fused_skeleton(space, space.middle(), shape, 12), shape)
    report = report_on(Subject("keywords", form.graph()), device("cortex-m4"))
    title = "the candidate in the middle of a space, on cortex-m4"
    for name, drawing in {
        "network.svg": network_svg(report.graph, report.layers, title),
        "memory.svg": memory_map_svg(report.graph, report.plan, title),
    }.items():
        (folder / name).write_text(drawing, encoding="utf-8")
        print(f"wrote {folder / name}")


def draw_exits(path: Path) -> None:
    """Draw when and how rightly the exits of the balanced network of ``results/exits.json`` answer, first seed."""
    rows = json.loads((RESULTS / "exits.json").read_text())["rows"]
    row = next(row for row in rows if row["backbone"] == "balanced")
    figure, axes = _axes()
    axes.bar(row["up_to_us"], [100 * rate for rate in row["rates"]], width=12, color=GREY)
    for number, (time_us, rate, error) in enumerate(
        zip(row["up_to_us"], row["rates"], row["exit_errors"], strict=True), 1
    ):
        told = f"exit {number}\n{100 * rate:.0f} % leave\n{100 * error:.1f} % errors, if all did"
        behind = {"boxstyle": "square", "facecolor": "white", "edgecolor": "none"}
        axes.annotate(
            told, (time_us, 100 * rate), (0, 8), textcoords="offset points", ha="center", va="bottom", bbox=behind
        )
    marks = {"mean, with exits": (row["expected_us"], RED), "without exits": (row["plain_us"], "black")}
    for name, (time_us, colour) in marks.items():
        axes.axvline(time_us, color=colour, linestyle="--", label=f"{name}: {time_us:.0f} us")
    axes.set(xlabel="time until the answer, us", ylabel="answers, %", ylim=(0, 90), xlim=(0, 270))
    axes.legend(loc="upper right", frameon=False)
    _save(figure, path)


def draw_decision(path: Path) -> None:
    """Draw one decision of the sampler ``frontier`` on the public problem ZDT1."""
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

    trials, shown = 14, 40
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problem = synthetic_problems()[0]
    sampler = FrontierProposer(
        problem.space, lambda candidate: problem.row(candidate).profile, objectives=problem.objectives, budgets=(),
        reference=problem.reference, startup_trials=6, seed=0,
    )  # fmt: skip
    study = make_study(problem, sampler, trials=trials)
    SimulatedStudy(problem, study).run(trials * problem.epochs)
    results = study.results
    rng, encode = random.Random(1), Encoder(problem.space)
    proposal, outlook = sampler.propose(results), sampler.outlook(results)
    assert proposal is not None and outlook is not None
    parents = [record.candidate for record in results.front]
    others = [*random_candidates(problem.space, shown, rng), *children(problem.space, parents, shown, rng)]
    candidates = [proposal.candidate, *others]
    known = [Known(c, problem.row(c).figures, row) for c, row in zip(candidates, encode(candidates), strict=True)]
    guess, gains = outlook.guess(known), outlook.gains(known)

    figure, axes = _axes()
    costs = np.array([one.figures["latency_us"] for one in known])
    unit = problem.reference[0]
    low, high = (unit * (np.exp(guess.mean + side * guess.deviation) - guess.shift) for side in (-1, 1))
    axes.vlines(costs, low, high, color="0.85", zorder=1)
    dots = axes.scatter(costs, unit * guess.median, c=1000 * gains, cmap="viridis", s=22, zorder=2)
    figure.colorbar(dots, label="expected gain in hypervolume, thousandths")
    values = np.array([objective_values(problem.objectives, record) for record in results.finished])
    axes.scatter(values[:, 1], values[:, 0], color="0.5", marker="x", s=30, zorder=3, label="trained")
    front = values[on_front(values)]
    front = front[np.argsort(front[:, 1])]
    axes.step(front[:, 1], front[:, 0], where="post", color="black", label="front so far")
    axes.scatter(costs[:1], unit * guess.median[:1], facecolors="none", edgecolors=RED, s=160, label="trained next")
    axes.set(xlabel="cost (known before training)", ylabel="error (guessed; bars of one deviation)")
    axes.legend(frameon=False)
    _save(figure, path)


def photograph_front(path: Path) -> None:
    """Open the page of a made-up study in Chromium, a candidate under the mouse."""
    from repareto.search.api.study import open_study

    from .front import page_rows
    from .scale import Bench

    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        bench.make_ledger(MADE_UP_TRIALS)
        page, screenshot = Path(folder) / "front.html", Path(folder) / path.name
        page.write_text(open_study(bench.config.study, store=folder).page(), encoding="utf-8")
        page_rows(page, 1, screenshot)
        shrink(screenshot, path)


def _axes() -> tuple[Any, Any]:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    # The same picture from the same figures, in the reader's fonts.
    matplotlib.rcParams |= {"svg.hashsalt": "repareto", "svg.fonttype": "none"}
    return pyplot.subplots(figsize=(7.5, 4.2))


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
