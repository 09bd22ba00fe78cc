"""The way of a first user: the default search, continued; the budget check; what fusion gains; how soon help comes."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from repareto.search.devices.host.onnx_runtime import export_onnx, largest_difference, make_session
from repareto.search.devices.targets import device
from repareto.search.models import Appraiser
from repareto.spaces.fusion import fuse
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Candidate

from .report import Claim, arguments, over, publish

COMMAND = str(Path(sys.executable).parent / "repareto")
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "front.png"
INPUT_SHAPE, CLASSES = (40, 50), 12


def run(*words: str, environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Run a command and return its seconds and its standard output."""
    start = time.perf_counter()
    done = subprocess.run(
        words, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    return time.perf_counter() - start, done.stdout


def _picture(store: Path, study: str) -> bytes:
    from repareto.search.ledger import Ledger
    from repareto.search.plots import front_png
    from repareto.search.run import read_results, stored_config

    ledger = Ledger.open(store, study)
    return front_png(read_results(ledger), stored_config(ledger, store).parsed_budgets(), f"make search: {study}")


def default_search(config: str, *words: str, picture: Path | None = None) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Run the default search from nothing, data set and calibration included, and run it again."""
    with tempfile.TemporaryDirectory() as folder:
        command = (COMMAND, "search", config, "--set", f"store={folder}/runs", *words)
        environment = {"REPARETO_CACHE": f"{folder}/cache"}
        seconds, _ = run(*command, environment=environment)
        again_seconds, _ = run(*command, environment=environment)
        name = Path(config).stem
        front = json.loads(run(COMMAND, "front", name, "--store", f"{folder}/runs", "--json")[1])
        if picture is not None:
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(_picture(Path(folder) / "runs", name))
    trials = front["trials"]
    trained = trials["finished"] + trials["stopped"] + trials["failed"]
    # The member that the validation split takes for the best, scored on voices that decided nothing.
    best = min(front["front"], key=lambda member: member["figures"]["error"])
    accuracy = 1 - best["figures"]["test_error"]
    claims = [
        Claim("first_light.minutes", *[seconds / 60] * 3, "<=", 8, "minutes of the default search from nothing"),
        Claim("first_light.again_seconds", *[again_seconds] * 3, "<=", 15, "seconds of the same command again"),
        Claim("first_light.trained", *[trained] * 3, ">=", 12, "trained trials"),
        Claim("first_light.in_full", *[trials["finished"]] * 3, ">=", 12, "trials trained in full"),
        Claim("first_light.front", *[len(front["front"])] * 3, ">=", 4, "models on the front"),
        Claim("first_light.accuracy", *[accuracy] * 3, ">=", 0.85, "accuracy of the best on held-out test voices"),
    ]
    rows = [{"front_member": member["trial"], **member["figures"]} for member in front["front"]]
    return claims, rows


def budget_check(candidates: int) -> Claim:
    """Time profiling new candidates in a warm process."""
    appraise = Appraiser(RepCNN(), device("reference"), lambda _: INPUT_SHAPE, CLASSES)
    rng = random.Random(0)
    for _ in range(3):
        appraise(RepCNN().draw(rng))
    milliseconds = []
    for _ in range(candidates):
        candidate = RepCNN().draw(rng)
        start = time.perf_counter()
        appraise(candidate)
        milliseconds.append(1000 * (time.perf_counter() - start))
    what = f"ms of a budget check, median and range over {candidates} candidates of the whole RepCNN space"
    return Claim("first_light.budget_check_ms", **over(milliseconds), op="<=", target=300, what=what)


def three_branches(width: int, kernel: int, form: str) -> Candidate:
    """Return a RepCNN of three stages, each with a convolution, a 1x1 and an identity branch."""
    values: dict[str, Any] = {
        "form": form, "stages": 3, "dropout": 0.0,
        "training.learning_rate": 4e-3, "training.weight_decay": 1e-2,
    }  # fmt: skip
    for stage in (1, 2, 3):
        values |= {
            f"stage{stage}.width": width, f"stage{stage}.blocks": 2, f"stage{stage}.kernel": kernel,
            f"stage{stage}.stride": 2 if stage == 2 else 1, f"stage{stage}.conv_branches": 1,
            f"stage{stage}.pointwise": True, f"stage{stage}.identity": True, f"stage{stage}.average": False,
            f"stage{stage}.sequential": False, f"stage{stage}.small": False,
            f"stage{stage}.squeeze": False,
        }  # fmt: skip
    return RepCNN().candidate(values)


def fusion_gain(rounds: int, runs: int) -> tuple[list[Claim], list[dict[str, Any]]]:
    """Time branched and fused networks in ONNX Runtime in turns; the ratio of minima over each round."""
    rows: list[dict[str, Any]] = []
    ratios: list[float] = []
    differences: list[float] = []
    for form, width, kernel in (("separable", 24, 9), ("separable", 48, 5), ("full", 16, 5), ("full", 32, 3)):
        torch.manual_seed(0)
        model = RepCNN().build(three_branches(width, kernel, form), INPUT_SHAPE, CLASSES)
        inputs = torch.randn(64, *INPUT_SHAPE)
        model(inputs)  # batch statistics that are not the initial ones
        fused, _ = fuse(model.eval(), inputs)
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / "branched.onnx", Path(folder) / "fused.onnx"]
            for path, module in zip(paths, (model, fused), strict=True):
                export_onnx(module, inputs[:1], path)
            # The fused file against the branched torch model: fusion and export together.
            differences.append(largest_difference(paths[1], model, inputs[:16]))
            sessions = [make_session(path) for path in paths]
            of_model = [_ratio_of_minima(sessions, inputs[:1].numpy(), runs) for _ in range(rounds)]
        ratios.append(statistics.median(of_model))
        rows.append(
            {"form": form, "width": width, "kernel": kernel, "speed_up": ratios[-1], "rounds": of_model,
             "largest_difference": differences[-1]}
        )  # fmt: skip
    what = "times faster fused than branched in ONNX Runtime, 3 branches, one thread; least of 4 networks"
    return [
        Claim("first_light.fusion_speed_up", **over(ratios, min), op=">=", target=2, what=what),
        Claim("first_light.fusion_difference", **over(differences, max), op="<=", target=1e-4,
              what="largest difference of outputs, fused ONNX against branched torch"),
    ], rows  # fmt: skip


def _ratio_of_minima(sessions: list[Any], features: Any, runs: int) -> float:
    least = [float("inf"), float("inf")]
    for _ in range(runs):
        for index, session in enumerate(sessions):
            start = time.perf_counter()
            session.run(None, {"features": features})
            least[index] = min(least[index], time.perf_counter() - start)
    return least[0] / least[1]


def help_seconds(repeats: int) -> Claim:
    """Time ``repareto --help`` as a whole process."""
    seconds = [run(COMMAND, "--help")[0] for _ in range(repeats + 1)][1:]
    return Claim("first_light.help_seconds", **over(seconds), op="<=", target=1, what="seconds of repareto --help")


def main() -> None:
    """Measure and publish; a quick run searches scikit-learn's digits a little."""
    options = arguments(__doc__)
    gains, rows = fusion_gain(*((2, 100) if options.quick else (7, 400)))
    claims = [*gains, budget_check(20 if options.quick else 200), help_seconds(3 if options.quick else 9)]
    if options.quick:
        search_claims, search_rows = default_search("examples/digits.yaml", "--trials", "4")
    else:
        search_claims, search_rows = default_search("examples/keywords.yaml", picture=PICTURE)
    publish(
        "first_light",
        "make bench-first_light",
        [*search_claims, *claims],
        [*rows, *search_rows],
        quick=options.quick,
        out=options.out,
    )


if __name__ == "__main__":
    main()
