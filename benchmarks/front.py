"""What looking at a study of 1,000 trials costs: its page, each update of its view, `repareto front`; and an export.

The page is the one of the study's parent run in MLflow, opened in headless Chromium. The study's trials are written to
its ledger directly; the export is of a study of digits that is trained for the purpose.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .report import Claim, arguments, exactly, over, publish
from .scale import Bench

REPARETO = str(Path(sys.executable).parent / "repareto")
ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def page_rows(page: Path, repeats: int, picture: Path | None = None) -> list[dict[str, Any]]:
    """Open the page in a fresh tab each time, until a point has answered to the mouse; the last time keep a picture."""
    from playwright.sync_api import sync_playwright

    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(repeats):
            tab = browser.new_page(viewport={"width": 1600, "height": 1000})
            start = time.perf_counter()
            tab.goto(page.as_uri(), wait_until="commit")
            tab.locator("circle.point").last.hover(force=True)
            tab.locator("#tip:not([hidden])").wait_for()
            rows.append({"what": "page", "interactive_seconds": time.perf_counter() - start})
            points = tab.locator("circle.point").count()
            if picture is not None:
                tab.screenshot(path=picture)
            tab.close()
        browser.close()
    return [{**row, "points": points, "bytes": page.stat().st_size} for row in rows]


def update_rows(bench: Bench, repeats: int) -> list[dict[str, Any]]:
    """Write the view after one more trial, again and again, and at a time when pictures are due."""
    from repareto.search.facts import StudyFacts
    from repareto.search.ledger import Ledger
    from repareto.search.mlflow_runs import MlflowRuns
    from repareto.search.results import Results
    from repareto.search.run import read_results

    store = bench.folder
    ledger = Ledger.open(store, bench.config.study)
    results = read_results(ledger)
    facts = StudyFacts.of(bench.config, ledger.header())
    runs = MlflowRuns(f"sqlite:///{store / 'mlflow.db'}", (store / "files").as_uri(), facts)
    last = results.finished[-repeats:]
    numbers = {record.number for record in last}
    before = [record for record in results.records if record.number not in numbers]
    early = Results(results.objectives, results.reference.tolist(), before)
    runs.write_trials(early.records)
    runs.write_progress(early)
    runs.write_front(early, complete=True)
    rows = []
    for record in last:
        start, cpu = time.perf_counter(), time.process_time()
        early.update(record)
        runs.write_trial(record)
        runs.write_progress(early)
        runs.write_front(early)
        spent = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        rows.append({"what": "update", **spent})
    cpu = time.process_time()
    runs.write_front(early, complete=True)
    return [*rows, {"what": "update with pictures", "cpu_seconds": time.process_time() - cpu}]


def command_seconds(*words: str, cwd: Path) -> dict[str, float]:
    """Run a command in a process of its own, and return how long it took, and how much of a processor."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([REPARETO, *words], cwd=cwd, env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - start, "cpu_seconds": spent}


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--trials", {"type": int, "default": 1000, "help": "of the study that is looked at"}),
        ("--repeats", {"type": int, "default": 5}),
    )
    trials, repeats = (60, 1) if options.quick else (options.trials, options.repeats)
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs"
        store.mkdir()
        bench = Bench(store)
        bench.make_ledger(trials)
        fronts = [command_seconds("front", bench.config.study, cwd=Path(folder)) for _ in range(repeats)]
        updates = update_rows(bench, repeats)
        pages = page_rows(next((store / "files").rglob("front.html")), repeats)
        digits = ["search", str(ROOT / "examples" / "digits.yaml"), "--set", "training.epochs=1", "--trials", "1"]
        if options.quick:
            # This machine need not be calibrated for it.
            digits += ["--set", "device=reference"]
        command_seconds(*digits, cwd=Path(folder))
        exports = [
            command_seconds("export", "digits", "--out", f"exported{number}", cwd=Path(folder))
            for number in range(repeats)
        ]
    rows = [
        *pages,
        *updates,
        *({"what": "repareto front", **spent} for spent in fronts),
        *({"what": "repareto export", **spent} for spent in exports),
    ]
    after_a_trial = [row["cpu_seconds"] for row in updates if row["what"] == "update"]
    fronts_cpu, exports_cpu = ([spent["cpu_seconds"] for spent in rows_] for rows_ in (fronts, exports))
    claims = make_claims(trials, pages, after_a_trial, fronts_cpu, exports_cpu)
    command = f"python -m benchmarks.front --trials {trials} --repeats {repeats}"
    publish("front", command, claims, rows, quick=options.quick, out=options.out)


def make_claims(
    trials: int, pages: list[dict[str, Any]], updates: list[float], fronts: list[float], exports: list[float]
) -> list[Claim]:
    """Return what was promised of each, against what was measured."""
    interactive = [row["interactive_seconds"] for row in pages]
    of = f"a study of {trials} trials"
    busy = "the machine had other work meanwhile"
    return [
        Claim("front.page_megabytes", **exactly(pages[0]["bytes"] / 1e6), op="<=", target=2, what=f"page of {of}"),
        Claim("front.interactive_seconds", **over(interactive), op="<=", target=2,
              what=f"from opening the page of {of} in Chromium to the answer of a point to the mouse", why=busy),
        Claim("front.update_seconds", **over(updates), op="<=", target=1,
              what=f"CPU time of the driver for the view after one more trial, {of}", why=busy),
        Claim("front.command_seconds", **over(fronts, min), op="<=", target=1.5,
              what=f"processor time of `repareto front` of {of}, which is what it takes where nothing else runs; least "
              f"of {len(fronts)}", why=busy),
        Claim("front.export_seconds", **over(exports, statistics.median), op="<=", target=15,
              what="processor time of `repareto export` of a small network: ONNX, .pt2, examples, card, checked on the "
              "test split and registered", why=busy),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
