"""What training minimises: of classes the cross-entropy, of transcripts CTC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spaces.early import AnswersEarly
from .data.dataset import Dataset
from .tokens import BLANK, steps_needed


class TooFewStepsError(RuntimeError):
    """A network answers for fewer steps than a transcript needs: it can never learn that one."""


Answers = Sequence[tuple[float, Tensor]]
"""Weights, which sum to 1, and logits, the last answer first."""
TEMPERATURE = 2.0
"""Of distillation (Hinton et al., arXiv 1503.02531)."""


class Loss(ABC):
    """A mean over a batch's examples, differentiable. Of a network that answers early all answers count, by weight.

    An early one may take a share of its loss from the last answer, which does not learn from it (Phuong and Lampert,
    "Distillation-based training for multi-exit architectures", ICCV 2019): ``(1 - d) L + d T^2 KL(softmax(last / T),
    softmax(early / T))``.
    """

    def __call__(self, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        return self.of_answers(model, answers_of(model, features), labels)

    def of_answers(self, model: nn.Module, answers: Answers, labels: Tensor) -> Tensor:
        """Return the loss of what a model answered."""
        (weight, last), *early = answers
        share = model.distillation if isinstance(model, AnswersEarly) else 0.0
        parts = [weight * self.of(last, labels)]
        for weight, logits in early:
            parts.append(weight * (1 - share) * self.of(logits, labels))
            if share:
                parts.append(weight * share * self.divergence(logits, last, labels))
        return torch.stack(parts).sum()

    @abstractmethod
    def of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of one answer."""

    @abstractmethod
    def divergence(self, logits: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Return ``T^2 KL(softmax(teacher / T), softmax(logits / T))``, of which the logits alone learn."""


class CrossEntropy(Loss):
    """Of logits (batch, classes) and classes (batch,)."""

    def __init__(self, label_smoothing: float) -> None:
        self._label_smoothing = label_smoothing

    def of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self._label_smoothing)

    def divergence(self, logits: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        del labels
        aims, tried = ((one / TEMPERATURE).log_softmax(1) for one in (teacher.detach(), logits))
        return TEMPERATURE**2 * F.kl_div(tried, aims, reduction="batchmean", log_target=True)


class Ctc(Loss):
    """Connectionist temporal classification (Graves et al. 2006) of logits (batch, steps, tokens) and padded tokens.

    Each example counts by its loss a token.
    """

    def of(self, logits: Tensor, labels: Tensor) -> Tensor:
        needed, steps = int(steps_needed(labels).max()), logits.shape[1]
        if needed > steps:
            raise TooFewStepsError(
                f"the network answers for {steps} steps and a transcript needs {needed} "
                "(fewer strides, or longer windows)"
            )
        return (ctc_by_example(logits.float(), labels) / (labels != BLANK).sum(1).clamp_min(1)).mean()

    def divergence(self, logits: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """The same summed over steps, for each token that was said, as CTC is.

        Where one of the two answers more often, its probabilities are averaged over the other's steps.
        """
        steps = min(logits.shape[1], teacher.shape[1])
        aims, tried = (_log_probabilities(one, steps) for one in (teacher.detach(), logits))
        by_example = F.kl_div(tried, aims, reduction="none", log_target=True).sum((1, 2))
        return TEMPERATURE**2 * (by_example / (labels != BLANK).sum(1).clamp_min(1)).mean()


def loss_of(dataset: Dataset, label_smoothing: float) -> Loss:
    """The loss of the task that a data set is of."""
    return Ctc() if dataset.transcription else CrossEntropy(label_smoothing)


def answers_of(model: nn.Module, features: Tensor) -> Answers:
    """Return all that a model in training answers."""
    return model.weighted_answers(features) if isinstance(model, AnswersEarly) else ((1.0, model(features)),)


def _log_probabilities(logits: Tensor, steps: int) -> Tensor:
    """Return logarithms (batch, steps, tokens) of probabilities at the temperature."""
    softened = logits.float() / TEMPERATURE
    if logits.shape[1] == steps:
        return softened.log_softmax(2)
    pooled = F.adaptive_avg_pool1d(softened.softmax(2).transpose(1, 2), steps)
    return pooled.transpose(1, 2).clamp_min(1e-8).log()


def ctc_by_example(logits: Tensor, labels: Tensor) -> Tensor:
    """Return ``-ln P(transcript)`` (batch,) of logits (batch, steps, tokens); infinite where steps are too few."""
    count, steps = logits.shape[:2]
    lengths = torch.full((count,), steps, dtype=torch.long, device=labels.device)
    log_probabilities = logits.log_softmax(2).transpose(0, 1)
    return F.ctc_loss(log_probabilities, labels, lengths, (labels != BLANK).sum(1), blank=BLANK, reduction="none")
