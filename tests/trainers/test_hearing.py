"""How a wake word's model hears a long sound, and how it is judged by what it heard."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Int
from repareto.trainers.data.dataset import Dataset, SoundStream, Source, Split
from repareto.trainers.detection import DetectionTask
from repareto.trainers.hearing import Heard, hear_with, judge, misses, streaming_or_none
from repareto.trainers.supervised import TrainingDivergedError
from tests.spaces.networks import randomise_norms

BANDS, FRAMES = 6, 23
FRONT_END = {"kind": "log_mel", "hop_ms": 20.0, "hop_samples": 320, "sample_rate_hz": 16_000, "mean": 0.0, "std": 1.0}


def dataset(**streams: SoundStream) -> Dataset:
    split = Split(np.zeros((2, BANDS, FRAMES), np.float16), np.array([0, 1]))
    return Dataset(
        "made", ("hey", "unknown"), split, split, split, FRONT_END, streams=streams,
        detection=DetectionTask("hey", 400.0, smoothing_ms=1, pause_seconds=0.1, patience_seconds=0.2),
    )  # fmt: skip


def network(padding: str, seed: int = 1) -> nn.Module:
    space = RepCNN(width=Int(4, 8, step=4), stages=Int(1, 3), padding=padding)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    built = space.build(space.draw(random.Random(seed)), (BANDS, FRAMES), 2)
    return fused_copy(randomise_norms(built.eval(), seed))


def sound(frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((BANDS, frames)).astype(np.float16)


@torch.no_grad()
def test_a_causal_network_hears_hop_by_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = network("causal")
    stream = streaming_or_none(fused, (BANDS, FRAMES))
    assert stream is not None
    features = sound(40 * stream.hop_frames + 1)
    monkeypatch.setattr("repareto.trainers.hearing._HOPS_A_PIECE", 7)
    heard = hear_with(fused, dataset())(features)
    states, expected = stream.silence(), []
    for hop in torch.from_numpy(features[None, :, :-1]).float().split(stream.hop_frames, dim=-1):
        logits, *states = stream(hop, *states)  # type: ignore[assignment]
        expected.append(torch.softmax(logits[0], 0)[0].item())
    scores = heard.word_scores()
    assert heard.hop_frames == stream.hop_frames and len(scores) == 40
    assert (scores[: stream.window_hops - 1] == 0).all()
    np.testing.assert_allclose(scores[stream.window_hops - 1 :], expected[stream.window_hops - 1 :], atol=1e-5)


@torch.no_grad()
def test_any_other_network_looks_at_windows() -> None:
    fused = network("same")
    assert streaming_or_none(fused, (BANDS, FRAMES)) is None
    features = sound(64)
    heard = hear_with(fused, dataset())(features)
    assert heard.hop_frames == 5  # a tenth of a second
    scores = heard.word_scores()
    assert len(scores) == 12 and (scores[:4] == 0).all()
    for place in range(4, 12):
        end = 5 * (place + 1)
        window = torch.from_numpy(features[None, :, end - FRAMES : end]).float()
        assert scores[place] == pytest.approx(torch.softmax(fused(window)[0], 0)[0].item(), abs=1e-5)


def made_stream(peaks: dict[int, float], words: list[tuple[float, float]], hops: int = 500) -> SoundStream:
    """A stream whose only band is the score of the word at each hop of 20 ms."""
    features = np.full((1, hops), 0.1)
    for hop, score in peaks.items():
        features[0, hop] = score
    return SoundStream(features, np.array(words).reshape(-1, 2), (Source(0.0, "a.wav"), Source(5.0, "b.wav", 60.0)))


def hear_scores(features: np.ndarray) -> Heard:
    odds = np.log(features[0] / (1 - features[0]))
    return Heard(np.stack([odds, np.zeros_like(odds)], axis=1), 1, 0)


def test_thresholds_are_chosen_on_one_stream_and_told_of_the_other() -> None:
    # Ten seconds with at most one false alarm: the threshold may let the alarm of 0.6 pass, and not that of 0.4.
    calibration = made_stream({100: 0.9, 200: 0.6, 300: 0.4, 400: 0.5}, [(1.9, 2.0), (7.9, 8.0)])
    test = made_stream({50: 0.95, 150: 0.55, 250: 0.55, 350: 0.3}, [(0.9, 1.0), (6.9, 7.0)])
    data = dataset(validation=calibration, test=test)
    assert misses(hear_scores, data) == 0.0
    found = judge(hear_scores, data)
    assert found.figures["error"] == 0.0 and 0.4 < found.figures["threshold"] <= 0.5
    # On the other stream one word scores too low, and two other sounds are taken for it.
    assert found.figures["test_error"] == 0.5
    hours = (10 - 2 * 0.3) / 3600
    assert found.figures["test_false_alarms_per_hour"] == pytest.approx(2 / hours)
    assert found.figures["test_error_low"] < 0.5 < found.figures["test_error_high"]
    assert [row["false_alarms_per_hour"] for row in found.details["misses"]] == [0.5, 1.0, 2.0, 5.0, 10.0]
    # Ten an hour mean none in ten seconds: the threshold is above 0.6, and a word of 0.5 is missed.
    assert found.details["misses"][0]["validation_misses"] == 0.5
    assert found.details["suspects"][0] == {"score": pytest.approx(0.6), "where": "a.wav at 3.9 s"}
    assert found.details["suspects"][1] == {"score": pytest.approx(0.4), "where": "b.wav at 60.9 s"}
    corners = found.details["curves"]["validation"]
    assert [corner["misses"] for corner in corners] == [0.5, 0.0]
    assert all(low <= corner["misses"] <= high for corner in corners for low, high in [corner["misses_interval"]])


def test_what_was_made_is_no_suspect() -> None:
    stream = SoundStream(np.full((1, 500), 0.1), np.zeros((0, 2)), (Source(0.0, "a pause"), Source(5.0, "b.wav")))
    stream.features[0, [100, 300]] = 0.9, 0.6
    assert stream.is_made(np.array([0.0, 4.9, 5.0])).tolist() == [True, True, False]
    found = judge(hear_scores, dataset(validation=replace_words(stream), test=replace_words(stream)))
    assert found.details["suspects"][0]["where"].startswith("b.wav")


def replace_words(stream: SoundStream) -> SoundStream:
    """The same with a word at its end."""
    return SoundStream(stream.features, np.array([[9.8, 9.9]]), stream.sources)


def test_scores_that_are_no_numbers_fail_the_candidate() -> None:
    stream = made_stream({}, [(1.0, 2.0)])
    with pytest.raises(TrainingDivergedError, match="validation stream are no numbers"):
        misses(lambda features: Heard(np.full((features.shape[1], 2), np.nan), 1, 0), dataset(validation=stream))
