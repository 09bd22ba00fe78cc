"""From a candidate to its model."""

from dataclasses import replace

import pytest

from repareto.search.models import _refuse_free_operators
from repareto.spaces.errors import UserError


def test_what_a_simulator_leaves_out_is_no_free_work(lab) -> None:
    profile = replace(lab.profile(lab.candidate()), unknown_operators=("LOG_SOFTMAX",))
    _refuse_free_operators(profile)  # estimated: the end of a search measures it
    simulated = replace(profile, latency_us=replace(profile.latency_us, method="simulated"))
    with pytest.raises(UserError, match="the time of LOG_SOFTMAX is in no figure"):
        _refuse_free_operators(simulated)
    _refuse_free_operators(replace(simulated, unknown_operators=()))
