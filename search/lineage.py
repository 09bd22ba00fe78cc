"""Whose weights a candidate begins with, and what training it owes to its ancestors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..spaces.morphism import UnrelatedError, inherit_network
from ..spaces.space import Candidate, SearchSpace
from ..trainers.data.dataset import Dataset
from .files import WEIGHTS, BrokenFileError, Files, trial_folder, unseal
from .frontier.features import Encoder
from .models import fused_skeleton
from .records import TrialRecord, inherited_of
from .results import Results

RELATIVES = 3
"""The nearest, of whom a candidate begins as the first that can become it."""
EXAMPLES = 256
"""By which normalisations of a network that inherits are set."""


@dataclass(frozen=True)
class Relative:
    """A finished trial as a child knows it."""

    number: int
    candidate: Candidate
    epochs: int
    """Of its training, that of its own ancestors included."""

    @classmethod
    def of(cls, record: TrialRecord) -> Relative:
        assert record.measurement is not None
        return cls(record.number, record.candidate, record.measurement.epochs + inherited_of(record).get("epochs", 0))

    def to_json(self) -> dict[str, Any]:
        return {"number": self.number, "candidate": self.candidate.to_json(), "epochs": self.epochs}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Relative:
        return cls(fields["number"], Candidate.from_json(fields["candidate"]), fields["epochs"])


class Lineage:
    """Finds a candidate's nearest relatives among the trials of a study."""

    def __init__(self, space: SearchSpace) -> None:
        self._encode = Encoder(space)

    def relatives(self, candidate: Candidate, results: Results) -> list[Relative]:
        """Return the finished trials that differ least in their parameters, the nearest first.

        There are none of a candidate with sparsity or early exits: what ships of it is not the network that it trains.
        """
        if candidate.sparsity() or candidate.exits():
            return []
        known = [record for record in results.finished if record.candidate.front_end() == candidate.front_end()]
        if not known:
            return []
        rows = self._encode([candidate, *(record.candidate for record in known)])
        distances = np.linalg.norm(rows[1:] - rows[0], axis=1)
        return [Relative.of(known[place]) for place in np.argsort(distances, kind="stable")[:RELATIVES]]


def begin_as_relative(
    model: nn.Module,
    relatives: Sequence[Relative],
    space: SearchSpace,
    study_folder: Files,
    dataset: Dataset,
    say: Callable[[str], None],
) -> Relative | None:
    """Let an untrained ``model`` begin as the first of its relatives that can become it, and return that one.

    Where there is none, or its weights are gone, which is said, the model is left as it was built and None returned.
    """
    step = max(1, len(dataset.train) // EXAMPLES)
    examples = torch.from_numpy(dataset.train.features[::step][:EXAMPLES].copy()).float()
    device = next(model.parameters()).device
    gone: list[int] = []
    for relative in relatives:
        weights = _weights_of(relative, study_folder)
        if weights is None:
            gone.append(relative.number)
            continue
        skeleton = fused_skeleton(space, relative.candidate, dataset.input_shape, len(dataset.labels))
        parent = skeleton.to_empty(device="cpu")
        parent.load_state_dict(weights)
        try:
            inherit_network(model.cpu(), parent, examples)
        except UnrelatedError:
            continue
        finally:
            model.to(device)
        return relative
    if gone:
        say(
            f"the weights of its relatives are gone (trial {', '.join(map(str, gone))}), so that it trains from scratch"
        )
    return None


def _weights_of(relative: Relative, study_folder: Files) -> dict[str, Any] | None:
    content = trial_folder(study_folder, relative.number).read(WEIGHTS)
    try:
        return None if content is None else unseal(content)
    except BrokenFileError:
        return None
