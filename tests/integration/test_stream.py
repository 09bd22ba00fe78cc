"""From a folder of recordings to a model that listens: searched, exported, and heard at work on a long recording."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import soxr
from mlflow import MlflowClient

from repareto.search import cli
from tests.integration.commands import REPARETO, environment, repareto, runs_of

RATE_HZ = 16000
WORD_SECONDS = 0.4
SPACE = """
space:
  name: repcnn
  padding: causal
  form: separable
  stages: 2
  width: [8, 16]
  blocks: 1
  kernel: [5, 7]
  stride: 2
"""
CONFIG = """
study: sweeps
data: {source: speech_commands, folder: recordings, clip_seconds: 0.6, silence: true}
training: {epochs: 12, batch_size: 32}
device: reference
objectives: [error, latency]
search: {trials: 2, early_stopping: false}
"""


def word(name: str, rng: np.random.Generator) -> np.ndarray:
    """A sweep of a tone, up or down, by a speaker of a pitch of his own."""
    low, high = rng.uniform(300, 600), rng.uniform(1800, 3000)
    start, end = (low, high) if name == "rise" else (high, low)
    times = np.arange(round(WORD_SECONDS * RATE_HZ)) / RATE_HZ
    frequency = start * (end / start) ** (times / WORD_SECONDS)
    fade = np.minimum(1, np.minimum(times, WORD_SECONDS - times) / 0.03)
    return rng.uniform(0.1, 0.4) * fade * np.sin(2 * np.pi * np.cumsum(frequency) / RATE_HZ)


def noise(seconds: float, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(0, 0.003, round(seconds * RATE_HZ))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    rng = np.random.default_rng(0)
    for name in ("rise", "fall"):
        (folder / "recordings" / name).mkdir(parents=True)
        for number in range(120):
            clip = np.concatenate([noise(0.1, rng), word(name, rng), noise(0.1, rng)])
            path = folder / "recordings" / name / f"speaker{number % 20}_nohash_{number // 20}.wav"
            soundfile.write(path, clip + noise(len(clip) / RATE_HZ, rng), RATE_HZ)
    (folder / "sweeps.yaml").write_text(CONFIG + SPACE)
    done = repareto("search", "sweeps.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    done = repareto("export", "sweeps", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out"


WAKE_CONFIG = """
study: wake
data: {source: wakeword, word: rise, folder: recordings, negatives: noise, clip_seconds: 0.6}
training: {epochs: 10, batch_size: 32}
device: host-litert-int8
objectives: [error, latency, peak_memory]
search: {trials: 2, early_stopping: false}
"""


@pytest.fixture(scope="module")
def wake_export(export):
    """The same recordings, one word of them to wake up on, in int8 for LiteRT."""
    pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    folder = export.parent
    (folder / "noise").mkdir()
    rng = np.random.default_rng(5)
    pieces = [np.concatenate([noise(0.6, rng), word("fall", rng)]) for _ in range(120)]
    soundfile.write(folder / "noise" / "long.wav", np.concatenate(pieces), RATE_HZ)
    (folder / "wake.yaml").write_text(WAKE_CONFIG + SPACE)
    done = repareto("search", "wake.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "streams: validation 0.0" in done.stdout
    assert "of other sound it scores highest" in done.stdout and "noise/long.wav" in done.stdout
    done = repareto("export", "wake", "--out", "wake", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "wake"


@pytest.fixture(scope="module")
def recording() -> tuple[np.ndarray, list[tuple[str, float]]]:
    """Half a minute of noise with words that no training saw, and when each of them ends, in seconds."""
    rng = np.random.default_rng(99)
    samples, spoken = noise(30, rng), []
    for number, start in enumerate(range(2, 28, 3)):
        name = ("rise", "fall")[number % 2]
        said = word(name, rng)
        samples[start * RATE_HZ : start * RATE_HZ + len(said)] += said
        spoken.append((name, start + WORD_SECONDS))
    return samples, spoken


def check(lines: list[str], spoken: list[tuple[str, float]]) -> None:
    found = [json.loads(line) for line in lines]
    assert [detection["word"] for detection in found] == [name for name, _ in spoken]
    for detection, (_, end) in zip(found, spoken, strict=True):
        assert end - WORD_SECONDS < detection["seconds"] < end + 0.6
        assert 0.5 <= detection["score"] <= 1


def test_the_exported_stream_answers_as_its_window_does(export) -> None:
    manifest = json.loads((export / "manifest.json").read_text())
    streaming = manifest["streaming"]
    assert streaming["file"] == "streaming.onnx" and streaming["file"] in manifest["sha256"]
    assert streaming["precision"] == "fp32"
    assert 0 <= streaming["largest_difference_from_window"] <= 1e-4
    assert streaming["hop_frames"] == 4 and streaming["state_bytes"] > 0
    assert f"The states hold {streaming['state_bytes']} bytes" in (export / "README.md").read_text()
    assert 0 < streaming["hop_latency_us"]["minimum"] <= streaming["hop_latency_us"]["median"]
    ships = streaming["ships"]
    assert ships["file"] in manifest["sha256"] and ships["precision"] == "fp32"
    assert ships["state_bytes"] == streaming["state_bytes"]
    assert ships["hop_latency_us"]["method"].startswith("measured on the host")


def test_words_are_heard_in_a_file(export, recording, tmp_path) -> None:
    samples, spoken = recording
    # Stereo at another rate, as a recorder leaves it.
    path = tmp_path / "long.flac"
    resampled = soxr.resample(samples, RATE_HZ, 44100)
    soundfile.write(path, np.stack([resampled, resampled], 1), 44100)
    done = repareto("stream", export, path, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    check(done.stdout.splitlines(), spoken)
    assert f"{len(spoken)} detections of fall, rise in 30.0 s" in done.stderr


def test_words_are_heard_in_a_pipe(export, recording, tmp_path) -> None:
    samples, spoken = recording
    content = np.round(samples * 32767).astype("<i2").tobytes()
    words = [REPARETO, "stream", str(export), "-", "--json"]
    # A stream that stops in the middle of a sample and of a hop.
    done = subprocess.run(words, input=content[:-33], capture_output=True, env=environment(), cwd=tmp_path, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    check(done.stdout.decode().splitlines(), spoken)


def test_a_wake_word_is_detected_by_the_int8_file_that_ships(wake_export, recording, tmp_path) -> None:
    manifest = json.loads((wake_export / "manifest.json").read_text())
    assert manifest["task"] == "wakeword" and manifest["ships"] == "streaming.tflite"
    assert [row["false_alarms_per_hour"] for row in manifest["misses"]] == [0.5, 1.0, 2.0, 5.0, 10.0]
    ships = manifest["streaming"]["ships"]
    assert ships["precision"] == "int8" and 4 * ships["state_bytes"] == manifest["streaming"]["state_bytes"]
    assert 0 < manifest["detector"]["threshold"] < 1
    assert "% of words missed in the test" in (wake_export / "README.md").read_text()
    samples, spoken = recording
    soundfile.write(tmp_path / "long.wav", samples, RATE_HZ)
    done = repareto("stream", wake_export, tmp_path / "long.wav", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # The threshold is the one that calibration chose; of the words only the wake word is told.
    heard = [json.loads(line) for line in done.stdout.splitlines()]
    assert {detection["word"] for detection in heard} == {"rise"}
    ends = [end for name, end in spoken if name == "rise"]
    near = [any(end - WORD_SECONDS < found["seconds"] < end + 0.7 for end in ends) for found in heard]
    assert all(near) and len(heard) >= len(ends) - 1


def test_the_wake_word_is_heard_in_a_recording_of_several_files_and_noise(wake_export, tmp_path) -> None:
    rng = np.random.default_rng(7)
    joined, ends = [noise(2, rng)], []
    for number, (name, rate_hz) in enumerate((("rise", 44100), ("fall", 22050), ("rise", 8000), ("rise", 16000))):
        said = np.concatenate([noise(0.5, rng), word(name, rng), noise(0.5, rng)])
        path = tmp_path / f"{number}.wav"
        part = soxr.resample(said, RATE_HZ, rate_hz)
        soundfile.write(path, np.stack([part, part], 1) if number % 2 else part, rate_hz)
        # Recorders and editors bring files to one rate when they are joined.
        samples, _ = soundfile.read(path, always_2d=True)
        joined.append(soxr.resample(samples.mean(1), rate_hz, RATE_HZ))
        if name == "rise":
            ends.append(sum(map(len, joined)) / RATE_HZ - 0.5)
        joined.append(noise(2, rng))
    whole = np.concatenate(joined)
    # In stereo at a rate of its own, cut off in the middle of a hop.
    recording = soxr.resample(whole, RATE_HZ, 48000)[:-1234]
    soundfile.write(tmp_path / "joined.flac", np.stack([recording, recording], 1), 48000)
    done = repareto("stream", wake_export, tmp_path / "joined.flac", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    heard = [json.loads(line) for line in done.stdout.splitlines()]
    assert {detection["word"] for detection in heard} == {"rise"}
    near = [any(end - WORD_SECONDS < found["seconds"] < end + 0.7 for end in ends) for found in heard]
    assert all(near) and len(heard) >= len(ends) - 1


def test_a_front_member_has_its_misses_over_false_alarms_in_mlflow(wake_export) -> None:
    store = wake_export.parent / "runs"
    _, runs = runs_of(store, "wake")
    members = [run for run in runs if run.data.tags["on_front"] == "true"]
    assert members
    client = MlflowClient(tracking_uri=f"sqlite:///{store / 'mlflow.db'}")
    for run in members:
        names = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"detection.png", "detection.json", "streaming.tflite"} <= names
        for name in ("test_error", "test_error_high", "test_false_alarms_per_hour", "float32_test_error", "threshold"):
            assert name in run.data.metrics


REFUSED = (
    (("nowhere.wav",), "nowhere.wav: no such file"),
    (("sweeps.txt",), "sweeps.txt: format not recogni"),
    (("sweeps.txt", "--rate", "8000"), "--rate 8000: sweeps.txt says its own rate"),
    (("-", "--threshold", "2"), "threshold 2.0: is a probability"),
    (("-", "--pause", "soon"), '--pause: "soon": not a duration'),
)


@pytest.mark.parametrize(("words", "reason"), REFUSED)
def test_what_cannot_be_heard_is_one_line(export, tmp_path, monkeypatch, capsys, words, reason) -> None:
    (tmp_path / "sweeps.txt").write_text("no sound")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["repareto", "stream", str(export), *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    assert reason in said.err and len(said.err.splitlines()) == 1
