"""One user's own exits: the last layer of each early head learns on cached features, the rest of the network stays.

After PersEPhonEE (arXiv 2102.01393), a reconstruction: of the paper only the abstract could be read. Plain arrays, for
this is what a device has to compute.

Shape legend: n examples, d features of a head, c classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .temperature import softmax

STEPS = 300
PULL = 0.001
"""Towards the head that all users have, in units of the features' greatest variance: of few labels little is learnt."""


@dataclass(frozen=True)
class Head:
    """``logits = features @ weight.T + bias``: weight (c, d), bias (c,)."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return logits (n, c) of features (n, d)."""
        return features @ self.weight.T + self.bias


def pseudo_labels(probabilities: np.ndarray, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the last exit's answers (n, c) are sure enough to learn from, and what they say."""
    sure = np.flatnonzero(probabilities.max(axis=1) >= tau)
    return sure, probabilities[sure].argmax(axis=1)


def personalised(head: Head, features: np.ndarray, labels: np.ndarray, weights: np.ndarray, steps: int = STEPS) -> Head:
    """Return a head that fits labels (n,) of features (n, d), not far from the one given.

    Least of the cross-entropy, weighted by ``weights`` (n,), and of the squared distance from the head, which makes it
    strictly convex: accelerated gradient descent (Nesterov 1983) with the step that the curvature allows (of a softmax
    at most half the greatest eigenvalue of the features' second moments). The same from the same data.
    """
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(float)
    shares = weights / weights.sum()
    moments = (inputs * shares[:, None]).T @ inputs
    curvature = float(np.linalg.eigvalsh(moments)[-1]) / 2
    pull = PULL * curvature
    start = np.concatenate([head.weight, head.bias[:, None]], axis=1).astype(float)
    aims = np.eye(len(start))[labels]
    now = ahead = start
    for step in range(steps):
        errors = (softmax(inputs @ ahead.T) - aims) * shares[:, None]
        new = ahead - (errors.T @ inputs + pull * (ahead - start)) / (curvature + pull)
        ahead = new + step / (step + 3) * (new - now)
        now = new
    return Head(now[:, :-1], now[:, -1])


@dataclass(frozen=True)
class TrainingCost:
    """Of one user's training on the device."""

    macs: int
    memory_bytes: int


def head_training_cost(counts: tuple[int, ...], steps: int, examples: int, macs: int, classes: int) -> TrainingCost:
    """Return what it costs to cache features of ``examples`` once and to train heads on them.

    ``counts`` are the features of each head, ``macs`` those of the whole network. A step is two products of all
    examples; kept are the cached features, and of the head in training its weights, their gradient and two sets of the
    descent, in float32.
    """
    products = 2 * steps * examples * classes * sum(count + 1 for count in counts)
    return TrainingCost(examples * macs + products, head_training_memory_bytes(counts, examples, classes))


def head_training_memory_bytes(counts: tuple[int, ...], examples: int, classes: int) -> int:
    """Return what is kept meanwhile, arguments as of :func:`head_training_cost`."""
    return 4 * (examples * sum(counts) + 4 * classes * (max(counts) + 1))


def fine_tuning_macs(examples: int, macs: int, passes: int = 10) -> int:
    """Return those of training the whole network in ``passes``: once forward, and backward at twice that."""
    return 3 * passes * examples * macs
