"""How the answers of exits are held against what is right: of classes one by one, of transcripts by edits.

Shape legend: n examples, s steps, c classes or tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch

from ..data.dataset import Dataset
from ..decoding import greedy
from ..losses import ctc_by_example
from ..tokens import TranscriptionTask, padded, steps_needed, transcripts_of
from ..transcription import edits
from .temperature import expected_calibration_error, fit_temperature, least_temperature, softmax


class Scoring(ABC):
    """Of one exit's answers, by labels as its data set has them."""

    @abstractmethod
    def errors(self, logits: np.ndarray, labels: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return what each example adds to ``error``, (n,), which is their mean, and to others that are only told."""

    @abstractmethod
    def temperature(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Return the T at which softmax(logits / T) makes the labels likeliest."""

    @abstractmethod
    def calibration_error(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Return the expected calibration error of the answers."""


class ScoredClasses(Scoring):
    """Logits (n, c) and classes (n,)."""

    def errors(self, logits: np.ndarray, labels: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"error": (logits.argmax(1) != labels).astype(float)}

    def temperature(self, logits: np.ndarray, labels: np.ndarray) -> float:
        return fit_temperature(logits, labels)

    def calibration_error(self, logits: np.ndarray, labels: np.ndarray) -> float:
        probabilities = softmax(logits)
        return expected_calibration_error(probabilities.max(1), probabilities.argmax(1) == labels)


class ScoredTranscripts(Scoring):
    """Logits (n, s, c) of a CTC network and transcripts (n, longest); an answer is its best path."""

    def __init__(self, task: TranscriptionTask, labels: Sequence[str]) -> None:
        self._task, self._labels = task, labels

    def errors(self, logits: np.ndarray, labels: np.ndarray) -> Mapping[str, np.ndarray]:
        transcripts = (transcripts_of(labels), greedy(logits))
        said, heard = ([self._task.text_of(tokens, self._labels) for tokens in side] for side in transcripts)
        return {
            "error": _shares(*transcripts),
            "word_error": _shares([text.split() for text in said], [text.split() for text in heard]),
            "character_error": _shares(said, heard),
        }

    def temperature(self, logits: np.ndarray, labels: np.ndarray) -> float:
        possible = steps_needed(labels) <= logits.shape[1]
        answers, transcripts = torch.from_numpy(logits[possible]), torch.from_numpy(labels[possible])

        def derivative(temperature: float) -> float:
            inverse = torch.tensor(1 / temperature, dtype=answers.dtype, requires_grad=True)
            ctc_by_example(answers * inverse, transcripts).mean().backward()
            assert inverse.grad is not None
            return float(inverse.grad)

        return least_temperature(derivative)

    def calibration_error(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Of how probable a best path's tokens are, by all of their paths, and how often they are all right."""
        heard, said = greedy(logits), transcripts_of(labels)
        chances = (-ctc_by_example(torch.from_numpy(logits), torch.from_numpy(padded(heard)))).exp().numpy()
        right = [one == other for one, other in zip(heard, said, strict=True)]
        return expected_calibration_error(chances, np.array(right))


def _shares(references: Sequence[Sequence[Hashable]], hypotheses: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Return the edits of each, over the mean length of the references: their mean is the edit rate."""
    return edits(references, hypotheses) / np.mean([len(one) for one in references])


def scoring_of(dataset: Dataset) -> Scoring:
    """Return the scoring of the task that a data set is of."""
    if dataset.transcription is None:
        return ScoredClasses()
    return ScoredTranscripts(dataset.transcription, dataset.labels)
