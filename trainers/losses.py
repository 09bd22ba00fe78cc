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


DISTILLATION_TEMPERATURE = 2.0


class CrossEntropy:
    """Of logits (batch, classes) and classes (batch,).

    Of a network that answers early all answers count, by their weights. An early one may take a share of its loss from
    the last answer, which does not learn from it (Phuong and Lampert, "Distillation-based training for multi-exit
    architectures", ICCV 2019): ``(1 - d) CE + d T^2 KL(softmax(last / T), softmax(early / T))``.
    """

    def __init__(self, label_smoothing: float) -> None:
        self._label_smoothing = label_smoothing

    def __call__(self, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        (weight, last), *early = _weighted_answers(model, features)
        share = model.distillation if isinstance(model, AnswersEarly) else 0.0
        parts = [weight * self._of(last, labels)]
        for weight, logits in early:
            parts.append(weight * (1 - share) * self._of(logits, labels))
            if share:
                parts.append(weight * share * _distillation(logits, last.detach()))
        return torch.stack(parts).sum()

    def _of(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, label_smoothing=self._label_smoothing)


class Ctc:
    """Connectionist temporal classification (Graves et al. 2006) of logits (batch, steps, tokens) and padded tokens.

    Each example counts by its loss a token. Of a network that answers early all answers count, by their weights.
    """

    def __call__(self, model: nn.Module, features: Tensor, labels: Tensor) -> Tensor:
        parts = [weight * _ctc(logits, labels) for weight, logits in _weighted_answers(model, features)]
        return torch.stack(parts).sum()


def loss_of(dataset: Dataset, label_smoothing: float) -> Loss:
    """The loss of the task that a data set is of."""
    return Ctc() if dataset.transcription else CrossEntropy(label_smoothing)


def _weighted_answers(model: nn.Module, features: Tensor) -> tuple[tuple[float, Tensor], ...]:
    return model.weighted_answers(features) if isinstance(model, AnswersEarly) else ((1.0, model(features)),)


def _distillation(logits: Tensor, teacher: Tensor) -> Tensor:
    temperature = DISTILLATION_TEMPERATURE
    aims = (teacher / temperature).log_softmax(1)
    tried = (logits / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(tried, aims, reduction="batchmean", log_target=True)


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
