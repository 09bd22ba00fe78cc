"""Errors of transcripts, and a small Conformer that learns to spell tones."""

import copy

import numpy as np
import pytest
import torch

from repareto.spaces.conformer.network import cut
from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.fusion import fuse
from repareto.trainers.augment import Augment
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig
from repareto.trainers.tokens import TranscriptionTask, padded
from repareto.trainers.transcription import answers_of, edit_rate, judge_transcripts, token_error

BANDS, FRAMES = 6, 32
LABELS = ("<blank>", "low", "middle", "high")
QUIET = Augment(room_probability=0, shift_probability=0, noise_probability=0, gain_probability=0)


def tones(count: int, seed: int, *, ragged: bool = False) -> Split:
    """One to three tones of six frames each, one pair of bands for each token; silence behind them where ragged."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 0.3, (count, BANDS, FRAMES)).astype(np.float32)
    transcripts = [tuple(int(token) for token in rng.integers(1, 4, rng.integers(1, 4))) for _ in range(count)]
    for example, tokens in zip(features, transcripts, strict=True):
        for place, token in enumerate(tokens):
            example[2 * token - 2 : 2 * token, 10 * place + 1 : 10 * place + 7] += 2
    frames = np.array([10 * len(tokens) for tokens in transcripts])
    return Split(features.astype(np.float16), padded(transcripts), frames if ragged else None)


def dataset(*, ragged: bool = False) -> Dataset:
    return Dataset(
        "tones",
        LABELS,
        tones(192, 0, ragged=ragged),
        tones(40, 1),
        tones(40, 2),
        {"kind": "log_mel", "mean": 0.0, "std": 1.0, "hop_ms": 20.0},
        transcription=TranscriptionTask("word"),
    )


def trained(data: Dataset, epochs: int) -> SupervisedTrainer:
    space = ConformerSpace()
    small = {
        "blocks": 2, "width": 16, "strides": 1, "heads": 2, "head_width": 8, "kernel": 5, "expansion": 1,
        "dropout": 0.0, "stochastic_depth": 0.1, "intermediate_weight": 0.3,
    }  # fmt: skip
    torch.manual_seed(0)
    model = space.build(space.candidate(dict(space.middle()) | small), data.input_shape, len(data.labels))
    config = TrainingConfig(epochs=10, batch_size=16, learning_rate=1e-2, augment=QUIET)
    trainer = SupervisedTrainer(model, data, config, seed=0)
    for _ in range(epochs):
        trainer.train_epoch()
    return trainer


@pytest.mark.parametrize("ragged", [False, True])
def test_a_conformer_learns_and_is_judged(ragged: bool) -> None:
    data = dataset(ragged=ragged)
    model = trained(data, 10).model
    fused, report = fuse(model.eval(), torch.from_numpy(data.validation.features).float())
    assert report.ok
    judged = judge_transcripts(answers_of(fused), data)
    # Also where batches ended with their sound, and windows do not.
    assert judged.figures["error"] < 0.1 and judged.figures["test_error"] < 0.1
    assert judged.figures["error"] == token_error(answers_of(fused), data.validation)
    assert judged.figures["test_word_error"] == judged.figures["test_error"]
    assert set(judged.figures) == {
        "error", "test_error", "test_beam_error", "test_word_error", "test_character_error",
    }  # fmt: skip
    # What was trained to be cut is no guess at half its depth.
    assert token_error(answers_of(cut(fused, 1)), data.test) < 0.3  # type: ignore[arg-type]


def test_training_goes_on_bit_for_bit() -> None:
    data = dataset(ragged=True)
    whole = trained(data, 1)
    saved = copy.deepcopy(whole.state_dict())
    expected = whole.train_epoch().loss
    other = trained(data, 0)
    other.load_state_dict(saved)
    assert other.train_epoch().loss == expected


def test_the_mode_that_a_model_is_in_stays() -> None:
    model = torch.nn.Sequential(torch.nn.Dropout(0.5))
    answer = answers_of(model)
    assert np.array_equal(answer(np.ones((3, 2, 2), np.float16)), np.ones((3, 2, 2)))
    assert model.training


def test_edit_rates() -> None:
    assert edit_rate([(1, 2, 3)], [(1, 3)]) == pytest.approx(1 / 3)
    assert edit_rate([(1,), (2, 2)], [(1, 4, 4), (2, 3)]) == 1.0
    assert edit_rate(["kitten"], ["sitting"]) == 0.5
    assert edit_rate([(1,)], [(2, 2, 2)]) == 3.0
