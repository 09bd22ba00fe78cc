"""An exported model that listens: detections in time, and one clear line for what cannot be heard."""

import io
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from torch import nn

from repareto.search.devices.host.onnx_streaming import streaming_onnx
from repareto.search.listen import STREAM_FILE, Listener, blocks_of, detector_of, pause_seconds
from repareto.spaces.errors import UserError
from repareto.spaces.streaming import streaming
from repareto.trainers.detection import Detector
from repareto.trainers.features import LogMel

LOG_MEL = LogMel(bands=8)
FRAMES = 10
LABELS = ["low", "high", "silence"]


def network() -> nn.Module:
    """Tells a low from a high tone by the level of the bands: a causal mean over 10 frames of 20 ms."""
    layers = nn.Sequential(
        nn.Unflatten(1, (8, 1)),
        nn.ConstantPad2d((1, 0, 0, 0), 0.0),
        nn.Conv2d(8, 3, (1, 2)),
        nn.AvgPool2d((1, FRAMES)),
        nn.Flatten(),
    ).eval()
    convolution = layers[2]
    assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
    convolution.weight.data.zero_()
    convolution.bias.data.zero_()
    # Log powers: the lower and the upper bands against a level between noise and a tone.
    for label, bands in ((0, slice(0, 3)), (1, slice(5, 8))):
        convolution.weight.data[label, bands, 0, 1] = 1.0
        convolution.bias.data[label] = 6.0
    return layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    shape = (LOG_MEL.bands, FRAMES)
    (place / STREAM_FILE).write_bytes(streaming_onnx(streaming(network(), shape), shape, LABELS))
    front_end = {**LOG_MEL.describe(), "mean": 0.0, "std": 1.0}
    (place / "manifest.json").write_text(json.dumps({"front_end": front_end, "labels": LABELS}))
    return place


def tones(*spans: tuple[float, float, float], seconds: float = 6.0, rate_hz: int = 16000) -> np.ndarray:
    """Faint noise, and a tone of a frequency (Hz) from a start to an end (s) for each span."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = np.random.default_rng(0).normal(0, 1e-4, len(times))
    for frequency_hz, start, end in spans:
        samples += 0.3 * np.sin(2 * np.pi * frequency_hz * times) * ((times >= start) & (times < end))
    return samples.astype(np.float32)


def heard(folder: Path, samples: np.ndarray, detector: Detector | None = None) -> list[tuple[str, float]]:
    listener = Listener(folder, **({} if detector is None else asdict(detector)))
    blocks = np.array_split(samples, 17)
    return [(found.word, round(found.seconds, 2)) for found in listener.listen(blocks)]


def test_words_are_detected_when_they_are_spoken(folder: Path) -> None:
    found = heard(folder, tones((300, 1.0, 1.6), (5000, 3.0, 3.6)))
    assert [word for word, _ in found] == ["low", "high"]
    for (_, seconds), start in zip(found, (1.0, 3.0), strict=True):
        assert start < seconds < start + 0.6
    assert heard(folder, tones()) == []


def test_a_long_word_is_heard_again_after_the_pause(folder: Path) -> None:
    long = tones((300, 1.0, 5.0))
    assert len(heard(folder, long, Detector(pause_seconds=10))) == 1
    times = [seconds for _, seconds in heard(folder, long, Detector(pause_seconds=1.0))]
    assert len(times) == 4 and np.diff(times) == pytest.approx([1.02] * 3, abs=1e-6)


def test_nothing_is_said_before_a_whole_window(folder: Path) -> None:
    ((_, first),) = heard(folder, tones((300, 0.0, 0.5)), Detector(smoothing_hops=1, pause_seconds=5))
    assert first == pytest.approx(FRAMES * 0.02)


@pytest.mark.parametrize("detector", [Detector(), Detector(0.7, 3, 0.13), Detector(0.9, 1, 0.0)])
def test_what_is_heard_live_is_what_is_counted_offline(folder: Path, detector: Detector) -> None:
    samples = tones((300, 1.0, 2.9), (5000, 3.0, 3.6), (300, 5.0, 5.1))
    listener = Listener(folder, **asdict(detector))
    scores = np.array(list(listener.scores([samples])))
    assert listener.words == ("low", "high") and scores.shape == (300, 2)
    assert not scores[: FRAMES - 1].any() and scores[FRAMES:].all()
    # Of several words the likeliest counts: here one is heard at a time.
    smoothed = np.max([detector.smoothed(of_word) for of_word in scores.T], axis=0)
    hops = detector.detections(smoothed, listener.hop_seconds)
    live = [found.seconds for found in Listener(folder, **asdict(detector)).listen([samples])]
    assert live == pytest.approx([(hop + 1) * 0.02 for hop in hops]) and len(live) > 1


def test_how_the_sound_was_cut_makes_no_difference(folder: Path) -> None:
    samples = tones((300, 1.0, 1.6), (5000, 3.0, 3.6))
    whole = list(Listener(folder).listen([samples]))
    pieces = list(Listener(folder).listen(np.array_split(samples, 211)))
    assert [(f.word, f.seconds) for f in whole] == [(f.word, f.seconds) for f in pieces]


@pytest.mark.parametrize("missing", [1, 160, 319, 320, 5000])
def test_a_sound_that_stops_within_a_hop_is_heard_to_its_last_whole_one(folder: Path, missing: int) -> None:
    samples = tones((300, 1.0, 1.6), (5000, 3.0, 3.6))
    cut = Listener(folder)
    scores = np.array(list(cut.scores(np.array_split(samples[:-missing], 17))))
    whole = np.array(list(Listener(folder).scores([samples])))
    assert len(scores) == (len(samples) - missing) // 320
    np.testing.assert_allclose(scores, whole[: len(scores)], atol=1e-5)
    assert [found.word for found in Listener(folder).listen([samples[:-missing]])] == ["low", "high"]


def test_threshold_and_pause_are_those_of_the_export(folder: Path, tmp_path: Path) -> None:
    (tmp_path / STREAM_FILE).write_bytes((folder / STREAM_FILE).read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    long = tones((300, 1.0, 5.0))
    for detector, times in (
        ({"threshold": 0.5, "smoothing_hops": 1, "pause_seconds": 1.98}, 2),
        ({"threshold": 0.5, "smoothing_hops": 1, "pause_seconds": 10.0}, 1),
        ({"threshold": 1.0, "smoothing_hops": 1, "pause_seconds": 1.0}, 0),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "detector": detector}))
        assert len(heard(tmp_path, long)) == times


@pytest.mark.parametrize(
    ("samples", "remark"),
    [
        (np.zeros(0, np.float32), "nothing was heard"),
        (np.zeros(16000, np.float32), "is silent: its peak is 0"),
        (np.ones(16000, np.float32), "is clipped: 100.0% of its samples"),
        (tones(seconds=0.1), "lasts 0.10 s, less than a window of 0.20 s"),
    ],
)
def test_a_sound_that_is_no_good_is_remarked_on(folder: Path, samples: np.ndarray, remark: str) -> None:
    listener = Listener(folder)
    assert list(listener.listen([samples])) == [] or remark.startswith("is clipped")
    assert any(remark in line for line in listener.remarks())
    fine = Listener(folder)
    list(fine.listen([tones((300, 1, 2))]))
    assert fine.remarks() == []


def test_folders_that_cannot_listen_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no export"):
        Listener(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for told, reason in (({"refused": "Conv2d(…) is not causal"}, "is not causal"), ({}, "an older version")):
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "streaming": told}))
        with pytest.raises(UserError, match=rf"has no streaming\.onnx: .*{reason}"):
            Listener(tmp_path)
    (tmp_path / STREAM_FILE).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"streaming\.onnx: ONNX model: ONNX Runtime does not load it"):
        Listener(tmp_path)
    for content in ("{}", "[]", '{"front_end": 3}'):
        (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(UserError, match="has no front_end"):
            Listener(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"front_end": {"kind": "pixels"}}))
    with pytest.raises(UserError, match="takes pixels"):
        Listener(tmp_path)


def test_a_recording_joined_of_files_of_any_rate_and_noise(folder: Path, tmp_path: Path) -> None:
    spans = ((300, 0.4, 1.0), (5000, 0.5, 1.2), (300, 0.3, 0.8))
    listener, joined, ends = Listener(folder), [], []
    for number, (span, rate_hz) in enumerate(zip(spans, (8000, 44_100, 22_050), strict=True)):
        path = tmp_path / f"{number}.flac"
        # At 8 kHz nothing is above 4.
        samples = tones(span, seconds=1.7, rate_hz=rate_hz)
        soundfile.write(path, np.stack([samples, 0.5 * samples], 1) if number else samples, rate_hz)
        joined += [0.01 * tones(seconds=2.0), *blocks_of(str(path), None, listener.sample_rate_hz)]
        ends.append(sum(len(block) for block in joined) / 16_000 - 1.7 + span[2])
    # Clipped at the end, and then digital silence.
    joined += [np.ones(1600, np.float32), np.zeros(16_000, np.float32)]
    found = list(listener.listen(joined))
    assert [detection.word for detection in found][:3] == ["low", "high", "low"]
    for detection, end in zip(found, ends, strict=False):
        assert end - 0.7 < detection.seconds < end + 0.3
    assert any("is clipped" in remark for remark in listener.remarks())


def test_sounds_come_from_files_and_pipes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = tones((300, 1.0, 1.6), rate_hz=8000)
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([samples, samples], 1), 8000)
    listener = Listener(folder)
    assert [found.word for found in listener.listen(blocks_of(str(path), None, listener.sample_rate_hz))] == ["low"]

    content = np.round(samples * 32767).astype("<i2").tobytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    listener = Listener(folder)
    assert [found.word for found in listener.listen(blocks_of("-", 8000, listener.sample_rate_hz))] == ["low"]
    with pytest.raises(UserError, match=r"--rate 8000: .* says its own rate"):
        list(blocks_of(str(path), 8000, 16000))
    with pytest.raises(UserError, match=r"nowhere\.wav: no such file"):
        list(blocks_of(str(tmp_path / "nowhere.wav"), None, 16000))


def test_an_export_says_how_its_word_is_detected() -> None:
    manifest = {"detector": {"threshold": 0.9, "smoothing_hops": 3, "pause_seconds": 1.5, "hop_seconds": 0.04}}
    assert detector_of({}, {}) == Detector()
    assert detector_of(manifest, {}) == Detector(0.9, 3, 1.5)
    assert detector_of(manifest, {"threshold": 0.4, "pause_seconds": 0.0}) == Detector(0.4, 3, 0.0)
    with pytest.raises(UserError, match="threshold 7"):
        detector_of(manifest, {"threshold": 7})


def test_a_pause_is_a_duration_or_none() -> None:
    assert (pause_seconds("500 ms"), pause_seconds("0s"), pause_seconds("0")) == (0.5, 0.0, 0.0)
    with pytest.raises(UserError, match='--pause: "soon": not a duration'):
        pause_seconds("soon")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_file_that_ships_is_what_listens(folder: Path, tmp_path: Path, precision: str) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    from repareto.search.devices.tflite.streams import convert_stream

    shape = (LOG_MEL.bands, FRAMES)
    samples = tones((300, 1.0, 1.6), (5000, 3.0, 3.6))
    windows = LOG_MEL(samples[None])[0]
    cut = np.stack([windows[:, start : start + FRAMES] for start in range(0, windows.shape[1] - FRAMES, 5)])
    content = convert_stream(streaming(network(), shape), shape, precision, cut, LABELS)
    (tmp_path / "streaming.tflite").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(
        json.dumps({**manifest, "streaming": {"ships": {"file": "streaming.tflite"}}})
    )
    assert [word for word, _ in heard(tmp_path, samples)] == [word for word, _ in heard(folder, samples)] != []
    (tmp_path / "streaming.tflite").unlink()
    with pytest.raises(UserError, match=r"has no streaming\.tflite"):
        Listener(tmp_path)
