"""All early exits for one user: heads from labels and pseudo-labels, thresholds by what they say of other examples.

Shape legend: n examples of the user, e exits (the last one included), d features of a head, c classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .personal import Head, personalised, pseudo_labels
from .policies import confidence
from .temperature import fit_temperature, softmax
from .thresholds import Threshold, quality_thresholds

UNKNOWN = -1
"""The label of an example that has none."""
TAU = 0.9
PSEUDO_WEIGHT = 0.5
"""Of a pseudo-label, where a label has 1."""
FOLDS = 5


@dataclass(frozen=True)
class Adapted:
    """Heads, temperatures and thresholds of the early exits, by confidence."""

    heads: tuple[Head, ...]
    temperatures: tuple[float, ...]
    thresholds: tuple[Threshold, ...]
    kept_global: tuple[bool, ...]
    """Whether an exit keeps the head that all users have, which was no worse for this one."""
    pseudo_labelled: int
    passes: int
    """Over the cached features, for each exit."""


def adapt(
    heads: Sequence[Head],
    features: Sequence[np.ndarray],
    last: np.ndarray,
    labels: np.ndarray,
    aim: float,
    *,
    rng: np.random.Generator,
    tau: float = TAU,
) -> Adapted:
    """Return the exits of a user from the cached ``features``, (n, d) of each head, and labels (n,) or ``UNKNOWN``.

    ``last`` are the last exit's probabilities (n, c), which give pseudo-labels where they are at least ``tau``. Each
    head and its threshold are judged by examples that a head of other examples was asked about (``FOLDS`` of them), by
    labels where there are some, else by agreement with the last exit, of which ``aim`` is what share is right for other
    users. An exit that is not as often right as the last one, with the bound of :func:`.quality_thresholds`, is off.
    """
    known = np.flatnonzero(labels != UNKNOWN)
    unknown = np.flatnonzero(labels == UNKNOWN)
    sure, said = pseudo_labels(last[unknown], tau)
    places = np.concatenate([known, unknown[sure]])
    targets = np.concatenate([labels[known], said])
    weights = np.concatenate([np.ones(len(known)), np.full(len(sure), PSEUDO_WEIGHT)])
    judged = known if len(known) else unknown
    truth = labels[known] if len(known) else last[unknown].argmax(1)
    aim = float((last[known].argmax(1) == truth).mean()) if len(known) else aim
    folds = rng.permutation(len(labels)) % FOLDS
    own, temperatures, kept, scores, right = [], [], [], [], []
    for head, seen in zip(heads, features, strict=True):
        held_out = np.empty((len(labels), last.shape[1]))
        for fold in range(FOLDS):
            outside = folds[places] != fold
            if outside.any():
                trained = personalised(head, seen[places[outside]], targets[outside], weights[outside])
                held_out[folds == fold] = trained(seen[folds == fold])
            else:
                held_out[folds == fold] = head(seen[folds == fold])
        before = head(seen[judged])
        is_worse = (held_out[judged].argmax(1) == truth).sum() < (before.argmax(1) == truth).sum()
        keeps = bool(is_worse) or len(places) == 0
        logits = before if keeps else held_out[judged]
        own.append(head if keeps else personalised(head, seen[places], targets, weights))
        kept.append(keeps)
        temperatures.append(fit_temperature(logits, truth))
        scores.append(confidence(softmax(logits, temperatures[-1])[:, None])[:, 0])
        right.append(logits.argmax(1) == truth)
    thresholds = quality_thresholds(np.stack(scores, 1), np.stack(right, 1), aim)
    return Adapted(tuple(own), tuple(temperatures), thresholds, tuple(kept), len(sure), FOLDS + 1)
