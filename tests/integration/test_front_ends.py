"""The command line searches the front end: real workers, and exports that say what their features are."""

import json
from pathlib import Path

from tests.integration.commands import repareto, results_of
from tests.tones import write_tones

CONFIG = """
study: tones
data: {source: speech_commands, folder: tones, cache: cache}
space: {name: repcnn, stages: 1, width: [4, 8], blocks: 1, kernel: 3, front_end: {bands: [20, 40]}}
training: {epochs: 1}
device: reference
objectives: [error, macs]
search: {trials: 4, sampler: random, early_stopping: false}
workers: {count: 1}
"""


def test_a_search_over_front_ends(tmp_path: Path) -> None:
    write_tones(tmp_path / "tones", {"low": 500, "high": 2000})
    (tmp_path / "c.yaml").write_text(CONFIG)
    done = repareto("search", "c.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "16 train, 4 validation, 4 test, 2 front ends" in done.stdout + done.stderr
    trial_of = {r.candidate["front_end.bands"]: str(r.number) for r in results_of(tmp_path / "runs", "tones").records}
    assert trial_of.keys() == {20, 40}
    for bands, trial in trial_of.items():
        exported = repareto("export", "tones", "--trial", trial, "--out", f"out{bands}", cwd=tmp_path)
        assert exported.returncode == 0, exported.stderr
        manifest = json.loads((tmp_path / f"out{bands}" / "manifest.json").read_text())
        assert manifest["candidate"]["values"]["front_end.bands"] == bands
        assert manifest["input"]["shape"] == ["batch", bands, 50]
        assert manifest["front_end"]["bands"] == bands
