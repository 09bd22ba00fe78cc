"""What answers are held against: sums by hand, likelihoods over all paths, and a temperature that no other betters."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.trainers.decoding import greedy
from repareto.trainers.exits.operating_points import Calibration, errors_by_exit, point_at, sweep
from repareto.trainers.exits.scoring import ScoredClasses, ScoredTranscripts, scoring_of
from repareto.trainers.exits.temperature import softmax
from repareto.trainers.losses import ctc_by_example
from repareto.trainers.tokens import TranscriptionTask, padded, transcripts_of
from repareto.trainers.transcription import edit_rate
from tests.trainers.test_decoding import probabilities
from tests.trainers.test_transcription import dataset

LABELS = ("<blank>", "ab", "c", "abc")
WORDS = ScoredTranscripts(TranscriptionTask("word"), LABELS)


def answers(seed: int, count: int = 30, steps: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, s, c) and transcripts that are heard now and then."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((count, steps, len(LABELS)))
    said = [tokens if tokens and rng.random() < 0.7 else (1, 2) for tokens in greedy(logits)]
    return logits, padded(said)


def test_classes_by_hand() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0]])
    assert ScoredClasses().errors(logits, np.array([0, 0, 1]))["error"].tolist() == [0, 1, 1]


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_mean_of_what_examples_add_is_the_edit_rate(seed: int) -> None:
    logits, labels = answers(seed)
    said, heard = transcripts_of(labels), greedy(logits)
    errors = WORDS.errors(logits, labels)
    assert errors["error"].mean() == pytest.approx(edit_rate(said, heard))
    texts = [[" ".join(LABELS[token] for token in tokens) for tokens in side] for side in (said, heard)]
    assert errors["word_error"].mean() == pytest.approx(errors["error"].mean())
    assert errors["character_error"].mean() == pytest.approx(edit_rate(*texts))


@given(st.integers(0, 1000), st.floats(0.3, 3))
@settings(max_examples=8, deadline=None)
def test_no_temperature_near_by_makes_the_transcripts_likelier(seed: int, scale: float) -> None:
    logits, labels = answers(seed)
    found = WORDS.temperature(scale * logits, labels)

    def surprise(temperature: float) -> float:
        scaled = torch.from_numpy(scale * logits / temperature)
        return float(ctc_by_example(scaled, torch.from_numpy(labels)).mean())

    if 0.06 < found < 19:
        assert all(surprise(found) <= surprise(found * factor) + 1e-9 for factor in (0.8, 0.95, 1.05, 1.2))
        assert WORDS.temperature(2 * scale * logits, labels) == pytest.approx(2 * found, rel=1e-4)


def test_a_transcript_without_enough_steps_tells_nothing_of_the_temperature() -> None:
    logits, labels = answers(3)
    longer = np.concatenate([padded([(1, 1, 1, 1)])[:, :4], np.pad(labels, ((0, 0), (0, 4)))[:, :4]])
    expected = WORDS.temperature(logits, labels[:, :4])
    assert WORDS.temperature(np.concatenate([logits[:1], logits]), longer) == pytest.approx(expected)


def test_a_transcript_is_as_sure_as_all_of_its_paths() -> None:
    logits, labels = answers(1, count=1)
    (heard,) = greedy(logits)
    chance = probabilities(logits[0])[heard]
    is_right = heard == transcripts_of(labels)[0]
    assert WORDS.calibration_error(logits, labels) == pytest.approx(abs(chance - is_right))
    silent = np.zeros((1, 3, 4))
    silent[..., 0] = 2.0
    assert greedy(silent) == [()]
    assert WORDS.calibration_error(silent, labels) == pytest.approx(softmax(silent)[0, 0, 0] ** 3)


def test_points_are_swept_by_edits() -> None:
    """An exit that hears the first of two tokens alone, and a last one that hears both."""
    good, half = np.full((4, 5, 4), -4.0), np.full((4, 5, 4), -4.0)
    for logits in (good, half):
        logits[:, :, 0] = 0
        logits[:, 0, 1] = 8
    good[:, 2, 2] = 8
    # Two strings are of one token, and the early exit is surer of them.
    labels = padded([(1, 2), (1, 2), (1,), (1,)])
    good[2:, 2, 2] = -4
    half[:2, 3] = 0
    logits = np.stack([half, good], 1)
    calibration = Calibration.of(logits, labels, WORDS)
    assert calibration.errors == pytest.approx((2 / 6, 0))
    chances, errors = softmax(logits), errors_by_exit(WORDS, logits, labels)["error"]
    points = sweep(("confidence", "entropy"), chances, errors, (1.0, 3.0))
    assert [(point.error, point.rates) for point in points] == [
        (pytest.approx(2 / 6), (1.0, 0.0)), (pytest.approx(0), (0.5, 0.5)),
    ]  # fmt: skip
    again = point_at(points[1].policy, points[1].thresholds, chances, errors, (1.0, 3.0))
    assert again == points[1] and again.expected_cost == 2.0


def test_the_task_of_a_data_set_says_which() -> None:
    assert isinstance(scoring_of(dataset()), ScoredTranscripts)
