"""CTC against the sum over all paths, and what several answers count."""

import math

import pytest
import torch
from torch import Tensor, nn

from repareto.spaces.early import AnswersEarly
from repareto.trainers.losses import CrossEntropy, Ctc, TooFewStepsError
from repareto.trainers.tokens import padded
from tests.trainers.test_decoding import probabilities


class Fixed(nn.Module):
    """Answers the same logits whatever it hears."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, features: Tensor) -> Tensor:
        return self.logits[: len(features)]


class Early(AnswersEarly):
    def __init__(self, last: Tensor, early: Tensor) -> None:
        super().__init__()
        self.last, self.early = Fixed(last), Fixed(early)

    def forward(self, features: Tensor) -> Tensor:
        return self.last(features)

    def weighted_answers(self, x: Tensor) -> tuple[tuple[float, Tensor], ...]:
        return ((0.75, self.last(x)), (0.25, self.early(x)))


LOGITS = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
TRANSCRIPTS = [(1, 1), (2, 3, 1)]
LABELS = torch.from_numpy(padded(TRANSCRIPTS))
FEATURES = torch.zeros(2, 3)


def test_ctc_sums_over_all_paths() -> None:
    chances = [
        probabilities(logits.double().numpy())[tokens] for logits, tokens in zip(LOGITS, TRANSCRIPTS, strict=True)
    ]
    expected = sum(-math.log(chance) / len(tokens) for chance, tokens in zip(chances, TRANSCRIPTS, strict=True)) / 2
    loss = Ctc()(Fixed(LOGITS), FEATURES, LABELS)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_early_answers_count_by_their_weights() -> None:
    other = LOGITS.flip(1)
    loss = Ctc()(Early(LOGITS, other), FEATURES, LABELS)
    parts = [Ctc()(Fixed(logits), FEATURES, LABELS) for logits in (LOGITS, other)]
    torch.testing.assert_close(loss, 0.75 * parts[0] + 0.25 * parts[1])


def test_a_transcript_that_needs_more_steps_is_told() -> None:
    with pytest.raises(TooFewStepsError, match="answers for 2 steps and a transcript needs 3"):
        Ctc()(Fixed(LOGITS[:, :2]), FEATURES, LABELS)
    assert torch.isfinite(Ctc()(Fixed(LOGITS[:, :3]), FEATURES, LABELS))


def test_cross_entropy_smooths_its_labels() -> None:
    logits, labels = LOGITS[:, 0], torch.tensor([1, 3])
    loss = CrossEntropy(0.1)(Fixed(logits), FEATURES, labels)
    chances = logits.log_softmax(1)
    expected = -(0.9 * chances[[0, 1], labels] + 0.1 * chances.mean(1)).mean()
    torch.testing.assert_close(loss, expected)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_early_classifiers_learn_from_labels_and_from_the_last(share: float) -> None:
    last, early, labels = LOGITS[:, 0], LOGITS[:, 1], torch.tensor([1, 3])
    network = Early(last, early)
    network.distillation = share
    loss = CrossEntropy(0.0)(network, FEATURES, labels)
    aims = (last / 2).softmax(1)
    divergence = (aims * (aims.log() - (early / 2).log_softmax(1))).sum(1).mean()
    taught = (1 - share) * cross_entropy(early, labels) + share * 4 * divergence
    torch.testing.assert_close(loss, 0.75 * cross_entropy(last, labels) + 0.25 * taught)


def test_early_transcribers_learn_from_the_last_too() -> None:
    other = LOGITS.flip(1)
    network = Early(LOGITS, other)
    network.distillation = 0.3
    ctc = Ctc()
    taught = 0.7 * ctc.of(other, LABELS) + 0.3 * ctc.divergence(other, LOGITS, LABELS)
    torch.testing.assert_close(ctc(network, FEATURES, LABELS), 0.75 * ctc.of(LOGITS, LABELS) + 0.25 * taught)


def test_the_last_answer_does_not_learn_from_early_ones() -> None:
    network = Early(LOGITS[:, 0], LOGITS[:, 1])
    network.distillation = 1.0
    CrossEntropy(0.0)(network, FEATURES, torch.tensor([1, 3])).backward()
    alone = Fixed(LOGITS[:, 0])
    (0.75 * CrossEntropy(0.0)(alone, FEATURES, torch.tensor([1, 3]))).backward()
    torch.testing.assert_close(network.last.logits.grad, alone.logits.grad)
    assert network.early.logits.grad is not None and network.early.logits.grad.abs().sum() > 0
