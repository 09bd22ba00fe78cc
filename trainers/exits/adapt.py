"""All exits for one user: heads from labels and pseudo-labels, thresholds by what they say of other examples.

Shape legend: n examples of the user, e exits (the last one included), d features of a head, c classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..data.dataset import NO_LABEL
from .personal import Head, personalised, pseudo_labels
from .policies import confidence
from .temperature import fit_temperature, softmax
from .thresholds import Threshold, guarded_thresholds

TAU = 0.9
PSEUDO_WEIGHT = 0.5
"""Of a pseudo-label, where a label has 1."""
FOLDS = 5
MOST_LOST = 0.005
"""Of accuracy, against the last exit."""


@dataclass(frozen=True)
class Adapted:
    """Heads and temperatures of all exits, thresholds of the early ones, by confidence."""

    heads: tuple[Head, ...]
    temperatures: tuple[float, ...]
    thresholds: tuple[Threshold, ...]
    kept_global: tuple[bool, ...]
    """Whether an exit keeps the head that all users have, by which this one loses less."""
    pseudo_labelled: int
    passes: int
    """Over the cached features, for each exit."""


@dataclass(frozen=True)
class Lesson:
    """What a head learns from: which examples, what class each is said to be, and how much that counts."""

    places: np.ndarray
    targets: np.ndarray
    weights: np.ndarray

    def taught(self, head: Head, seen: np.ndarray) -> Head:
        """Return the head after it, for features (n, d) of all examples."""
        if not len(self.places):
            return head
        return personalised(head, seen[self.places], self.targets, self.weights)


@dataclass(frozen=True)
class _Exit:
    """One exit's head as it is for a user, and what heads of other examples said of each, (n, c)."""

    head: Head
    held_out: np.ndarray
    of_folds: tuple[Head, ...]
    """Those that have not seen a fold."""
    kept_global: bool


class _Student:
    """The examples of one user, in folds: who judges has not learnt from what is judged."""

    def __init__(self, labels: np.ndarray, rng: np.random.Generator) -> None:
        self.labels = labels
        self.known, self.unknown = np.flatnonzero(labels != NO_LABEL), np.flatnonzero(labels == NO_LABEL)
        self.folds = rng.permutation(len(labels)) % FOLDS

    def lesson(self, outside: int | None, pseudo: tuple[np.ndarray, np.ndarray] | None = None) -> Lesson:
        """Return the labels and the pseudo-labels (places and classes) that are not of the fold ``outside``."""
        sure, said = (self.unknown[:0], self.labels[:0]) if pseudo is None else pseudo
        places = np.concatenate([self.known, sure])
        targets = np.concatenate([self.labels[self.known], said])
        weights = np.concatenate([np.ones(len(self.known)), np.full(len(sure), PSEUDO_WEIGHT)])
        kept = np.ones(len(places), bool) if outside is None else self.folds[places] != outside
        return Lesson(places[kept], targets[kept], weights[kept])

    def exit(
        self,
        head: Head,
        seen: np.ndarray,
        lesson: Callable[[int | None], Lesson],
        lost: Callable[[np.ndarray], np.ndarray],
    ) -> _Exit:
        """Return a head after its lesson, or as it was where it then loses more; ``lost`` says by logits (n, c)."""
        before = head(seen)
        everything = lesson(None)
        if not len(everything.places):
            return _Exit(head, before, (head,) * FOLDS, kept_global=True)
        of_folds = tuple(lesson(fold).taught(head, seen) for fold in range(FOLDS))
        held_out = np.empty_like(before)
        for fold, other in enumerate(of_folds):
            held_out[self.folds == fold] = other(seen[self.folds == fold])
        if lost(held_out).sum() > lost(before).sum():
            return _Exit(head, before, (head,) * FOLDS, kept_global=True)
        return _Exit(everything.taught(head, seen), held_out, of_folds, kept_global=False)

    def wrong(self, logits: np.ndarray) -> np.ndarray:
        """Return of the examples with a label which are not answered by it."""
        return logits[self.known].argmax(1) != self.labels[self.known]


def adapt(
    heads: Sequence[Head],
    features: Sequence[np.ndarray],
    temperature: float,
    labels: np.ndarray,
    *,
    rng: np.random.Generator,
    tau: float = TAU,
    most_lost: float = MOST_LOST,
) -> Adapted:
    """Return the exits of a user from the cached ``features``, (n, d) of each head, and labels (n,) or ``NO_LABEL``.

    Where there are labels the last head learns from them first, and then gives the pseudo-labels of what has none,
    where it is sure by ``tau``; ``temperature`` is its own. The early heads learn from both. Each head and its
    threshold are judged by examples that a head of other examples was asked about (``FOLDS`` of them), by what it loses
    against the last exit (:func:`losses_against`): no more than ``most_lost`` on average, by
    :func:`.guarded_thresholds`, which of an example without a label expects what the exit is unsure by. An exit that
    would lose more is off.
    """
    student = _Student(labels, rng)
    last = student.exit(heads[-1], features[-1], student.lesson, student.wrong)
    if not last.kept_global:
        temperature = fit_temperature(last.held_out[student.known], labels[student.known])
    answers = last.held_out.argmax(1)

    def pseudo(fold: int | None) -> tuple[np.ndarray, np.ndarray]:
        teacher = last.head if fold is None else last.of_folds[fold]
        sure, said = pseudo_labels(softmax(teacher(features[-1][student.unknown]), temperature), tau)
        return student.unknown[sure], said

    def lost(logits: np.ndarray) -> np.ndarray:
        return losses_against(answers, labels, logits.argmax(1))

    pseudo_of = {fold: pseudo(fold) for fold in (None, *range(FOLDS))}
    early = [
        student.exit(head, seen, lambda fold: student.lesson(fold, pseudo_of[fold]), lost)
        for head, seen in zip(heads[:-1], features[:-1], strict=True)
    ]
    truth = np.where(labels == NO_LABEL, answers, labels)
    temperatures = [fit_temperature(own.held_out, truth) for own in early]
    thresholds: tuple[Threshold, ...] = ()
    if early:
        pairs = zip(early, temperatures, strict=True)
        scores = np.stack([confidence(softmax(own.held_out, warmth)[:, None])[:, 0] for own, warmth in pairs], 1)
        losses = np.stack([lost(own.held_out) for own in early], 1)
        # An exit's probability, by its temperature, is that of answering as the last one does.
        doubts = np.where((labels == NO_LABEL)[:, None], np.maximum(losses, 1.0 - scores), losses)
        thresholds = guarded_thresholds(scores, losses, doubts, most_lost)
    exits = (*early, last)
    return Adapted(
        tuple(own.head for own in exits),
        (*temperatures, temperature),
        thresholds,
        tuple(own.kept_global for own in exits),
        len(pseudo_of[None][0]),
        FOLDS + 1,
    )


def losses_against(last: np.ndarray, labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Return what is lost, (n,), where ``answers`` (n,) are given in place of the last exit's, (n,), in right answers.

    By the label where there is one: 1, 0 or -1. Where there is none all that differs counts as lost: it may be right,
    but nobody says so. The last exit's own probabilities told too little of what was lost (benchmarks/LOG.md).
    """
    differs = (answers != last).astype(float)
    return np.where(labels == NO_LABEL, differs, (last == labels).astype(float) - (answers == labels))
