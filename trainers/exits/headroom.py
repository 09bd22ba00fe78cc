"""How far a network can be made its users' own: what those of its data set get of their labels, and what that takes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np
from torch import nn

from ..data.dataset import Dataset, User
from .adapt import adapt
from .answers import head_features, heads_of
from .personal import head_training_memory_bytes
from .policies import confidence
from .temperature import fit_temperature, softmax
from .thresholds import exits_taken


@dataclass(frozen=True)
class Headroom:
    """Means over the users, on recordings that nothing was learnt from."""

    error_before: float
    """Of the last exit as all users have it."""
    error: float
    """Of all exits as each user has them."""
    memory_bytes: int
    """What the training of one user takes at most, beside the network's own memory."""


def headroom_of(network: nn.Module, dataset: Dataset, *, device: str = "cpu") -> Headroom:
    """Return that of a network in eval mode on ``device``, with early exits or without; the data set has users.

    Raises :class:`UserError` for a network that does not end in a linear layer.
    """
    heads = heads_of(network)
    *_, validation = head_features(network, dataset.validation.features, device=device)
    temperature = fit_temperature(heads[-1](validation), dataset.validation.labels)
    counts = tuple(head.weight.shape[1] for head in heads)
    classes = len(dataset.labels)

    def errors(user: User) -> tuple[float, float]:
        own = adapt(
            heads, head_features(network, user.own.features, device=device), temperature, user.own.labels,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        seen = head_features(network, user.test.features, device=device)
        pairs = zip(own.heads, seen, own.temperatures, strict=True)
        chances = np.stack([softmax(head(features), warmth) for head, features, warmth in pairs], 1)
        taken = exits_taken(confidence(chances), own.thresholds)
        after = chances[np.arange(len(taken)), taken].argmax(1)
        before = heads[-1](seen[-1]).argmax(1)
        return float((before != user.test.labels).mean()), float((after != user.test.labels).mean())

    before, after = zip(*(errors(user) for user in dataset.users), strict=True)
    memory = max(head_training_memory_bytes(counts, len(user.own), classes) for user in dataset.users)
    return Headroom(statistics.mean(before), statistics.mean(after), memory)
