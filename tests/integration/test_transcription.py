"""The command line searches transcribers: real workers, a front, and an export that answers as torch does."""

import json
from pathlib import Path

import numpy as np
import onnxruntime

from repareto.search.records import State
from tests.integration.commands import repareto, results_of
from tests.tones import write_tones

CONFIG = """
study: strings
data:
  source: joined_recordings
  folder: tones
  cache: cache
  utterances: 60
  fewest_words: 1
  most_words: 2
  window_seconds: 1.3
space: {name: conformer_ctc, blocks: [1, 2], width: [16, 24], strides: 2, head_width: 8, kernel: [3, 5]}
training: {epochs: 1, batch_size: 8}
device: reference
objectives: [error, latency, peak_memory]
search: {trials: 2, sampler: random, early_stopping: false}
workers: {count: 1}
"""


def test_a_search_for_transcribers(tmp_path: Path) -> None:
    write_tones(tmp_path / "tones", {"low": 500, "high": 2000})
    (tmp_path / "c.yaml").write_text(CONFIG)
    done = repareto("search", "c.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3 tokens, 42 train" in done.stdout + done.stderr
    results = results_of(tmp_path / "runs", "strings")
    assert results.front and results.counts[State.FINISHED] == 2
    trial = str(results.front[0].number)
    exported = repareto("export", "strings", "--trial", trial, "--out", "out", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["labels"] == ["<blank>", "high", "low"] and manifest["transcription"]["unit"] == "word"
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (logits,) = session.run(None, {"features": np.zeros((1, 40, 65), np.float32)})
    assert list(logits.shape[1:]) == manifest["output"]["shape"][1:] == [17, 3]
