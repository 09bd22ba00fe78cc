"""With which chance a trial that runs will reach the front: ranks after a few epochs are noisy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from .frontier.observations import Observer, to_scale
from .objectives import Objective
from .records import TrialRecord, error_of, profile_figures
from .results import Results

LEAST_VARIANCE = 1e-6
"""Of a logarithm of an error: curves that are all alike say much, but not all."""


def chance_of_front(
    record: TrialRecord, results: Results, objectives: Sequence[Objective], reference: Sequence[float]
) -> float:
    """Return with which probability nothing on the front will dominate a running trial when it is trained in full.

    Where its curve ends is guessed from where others went on from the epoch that it reached (see
    :mod:`.frontier.observations`); what it costs is known.
    """
    observation = Observer(results.records, reference[0])(record)
    assert observation is not None, record.state
    costs = _known_costs(record.profile, objectives)
    no_dearer = [m for m in results.front if (_known_costs(m.profile, objectives) <= costs).all()]
    needed = min((error_of(member) for member in no_dearer), default=reference[0])
    end = NormalDist(observation.scaled, max(observation.variance, LEAST_VARIANCE) ** 0.5)
    return end.cdf(float(to_scale(np.array(needed / reference[0]))))


def _known_costs(profile: Mapping[str, object], objectives: Sequence[Objective]) -> np.ndarray:
    figures = profile_figures(profile)
    return np.array([figures[str(o.known_key)] for o in objectives if o.known_key is not None])
