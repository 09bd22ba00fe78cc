"""From a search to a model of one user's own, by the commands, on a real speaker whom the network never heard."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.integration.commands import EXAMPLES, repareto

FIXED = {"form": "full", "stages": 2, "width": 32, "blocks": 2, "kernel": 9, "stride": 1, "conv_branches": 1}
QUICK = (
    "training.epochs=12", "search.trials=1", "search.early_stopping=false", "workers.count=1", "study=own",
    "objectives=[error, expected_latency]", "space.learning_rate=0.004", "space.dropout=0", "space.exits.count=2",
    "space.exits.head=conv", "space.exits.backbone=balanced", "budgets={}",
    *(f"space.{name}={value}" for name, value in FIXED.items()),
)  # fmt: skip


@pytest.mark.skipif("REPARETO_RECORDINGS" not in os.environ, reason="REPARETO_RECORDINGS names no folder of recordings")
def test_a_speaker_who_was_never_heard_gets_exits_of_their_own(tmp_path: Path) -> None:
    recordings = Path(os.environ["REPARETO_RECORDINGS"]) / "digits"
    settings = (*QUICK, f"data.folder={recordings}")
    words = [word for setting in settings for word in ("--set", setting)]
    searched = repareto("search", EXAMPLES / "spoken_digits.yaml", *words, cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr
    exported = repareto("export", "own", "--out", "kws", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr

    # Who tests is in neither training nor validation; every fourth recording comes without its label.
    heard = [recordings / line for line in (recordings / "testing_list.txt").read_text().split()]
    speakers = {path.name.split("_nohash_")[0] for path in heard}
    assert len(speakers) == 1
    for number, path in enumerate(heard):
        place = tmp_path / "user" / (path.parent.name if number % 4 else ".")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"{path.parent.name}{path.name}")

    def exits_taken() -> list[int]:
        said = repareto("predict", "kws", *heard[:40], "--json", cwd=tmp_path)
        assert said.returncode == 0, said.stderr
        return [json.loads(line)["exit"] for line in said.stdout.splitlines()]

    assert set(exits_taken()) <= {1, 2, 3}
    personal = repareto("personalize", "kws", "--data", "user", "--labels", "60", cwd=tmp_path)
    assert personal.returncode == 0, personal.stderr
    print(personal.stdout)
    rows = [line for line in personal.stdout.splitlines() if "all users" in line or "this user" in line]
    before, after = (float(row.split("│")[2].split("%")[0]) for row in rows)
    assert after < before
    exits = json.loads((tmp_path / "kws" / "manifest.json").read_text())["exits"]
    off = all(bar is None for bar in exits["points"][0]["thresholds"])
    assert off or min(exits_taken()) < 3
