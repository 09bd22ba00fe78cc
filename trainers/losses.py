"""What training minimises: of classes the cross-entropy, of transcripts CTC."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spaces.early import AnswersEarly
from .data.dataset import Dataset
from .tokens import BLANK, steps_needed


class TooFewStepsError(RuntimeError):
    """A network answers for fewer steps than a transcript needs: it can never learn that one."""


class Loss(Protocol):
    """A mean over a batch's examples, differentiable."""

    def __call__(self, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor: ...


class CrossEntropy:
    """Of logits (batch, classes) and classes (batch,)."""

    def __init__(self, label_smoothing: float) -> None:
        self._label_smoothing = label_smoothing

    def __call__(self, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(model(features), labels, label_smoothing=self._label_smoothing)


class Ctc:
    """Connectionist temporal classification (Graves et al. 2006) of logits (batch, steps, tokens) and padded tokens.

    Each example counts by its loss a token. Of a network that answers early all answers count, by their weights.
    """

    def __call__(self, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        answers = (
            model.weighted_answers(features) if isinstance(model, AnswersEarly) else ((1.0, model(features)),)
        )  # fmt: skip
        parts = [weight * _ctc(logits, labels) for weight, logits in answers]
        return torch.stack(parts).sum()


def loss_of(dataset: Dataset, label_smoothing: float) -> Loss:
    """The loss of the task that a data set is of."""
    return Ctc() if dataset.transcription else CrossEntropy(label_smoothing)


def _ctc(logits: Tensor, labels: Tensor) -> Tensor:
    count, steps = logits.shape[:2]
    needed = int(steps_needed(labels).max())
    if needed > steps:
        raise TooFewStepsError(
            f"the network answers for {steps} steps and a transcript needs {needed} (fewer strides, or longer windows)"
        )
    lengths = torch.full((count,), steps, dtype=torch.long, device=labels.device)
    log_probabilities = logits.float().log_softmax(2).transpose(0, 1)
    return F.ctc_loss(log_probabilities, labels, lengths, (labels != BLANK).sum(1), blank=BLANK)
