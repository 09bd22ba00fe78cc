"""Costs of stages against those of what they are cut from."""

from dataclasses import replace
from itertools import pairwise

import pytest

from repareto.search.devices.profile import Figure, Profile
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.targets import device
from repareto.search.exits.costs import costs_up_to, refuse_exits, stage_graphs, stage_profiles, whole_profile
from repareto.search.tasks import TASKS
from repareto.spaces.errors import UserError
from repareto.spaces.exits.network import AllAnswers, MultiExit
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from tests.spaces.exits.test_network import SHAPE, network


@pytest.fixture(scope="module")
def fused() -> MultiExit:
    model = fused_copy(network().eval())
    assert isinstance(model, MultiExit)
    return model


def test_stages_together_compute_and_store_what_the_whole_does(fused: MultiExit) -> None:
    graphs = stage_graphs(fused, SHAPE)
    whole = read_module(AllAnswers(fused), (1, *SHAPE))
    assert len(graphs) == 3
    assert sum(graph.macs for graph in graphs) == whole.macs > read_module(fused, (1, *SHAPE)).macs
    assert sum(graph.parameters for graph in graphs) == whole.parameters
    # A stage takes the map that the one before gives.
    for earlier, later in pairwise(graphs):
        assert later.tensors[later.inputs[0]].shape == earlier.tensors[earlier.outputs[0]].shape
        assert earlier.tensors[earlier.outputs[1]].shape == (1, 4)


def test_the_worst_case_is_all_stages_and_memory_that_of_one(fused: MultiExit) -> None:
    target = device("reference")
    stages = stage_profiles(fused, SHAPE, target)
    whole = TASKS["classification"].form(fused, SHAPE).profile(target)
    for name in ("latency_us", "flash_bytes", "macs", "parameters"):
        assert whole.value(name) == pytest.approx(sum(stage.value(name) for stage in stages))
    assert whole.value("peak_memory_bytes") == max(stage.value("peak_memory_bytes") for stage in stages)
    assert whole.graph_digest not in {stage.graph_digest for stage in stages}
    first, second, third = (stage.value("latency_us") for stage in stages)
    assert costs_up_to(stages, "latency_us") == pytest.approx((first, first + second, first + second + third))


def test_intervals_are_of_all_stages_or_of_none(fused: MultiExit) -> None:
    stages = stage_profiles(fused, SHAPE, device("reference"))
    known = [replace(stage, latency_us=Figure(5.0, "us", "estimated", low=4.0, high=7.0)) for stage in stages]
    latency = whole_profile(known).latency_us
    assert latency is not None and (latency.value, latency.low, latency.high) == (15, 12, 21)
    latency = whole_profile([*known[:2], stages[2]]).latency_us
    assert latency is not None and latency.low is None and latency.high is None
    assert whole_profile([replace(stage, latency_us=None) for stage in stages]).latency_us is None


def test_stages_in_one_arena_keep_what_each_of_them_keeps(fused: MultiExit) -> None:
    def stage(peak: float, kept: float) -> Profile:
        memory = Figure(peak, "bytes", "planned")
        return replace(one, peak_memory_bytes=memory, resident_bytes=kept)

    one = stage_profiles(fused, SHAPE, device("reference"))[0]
    whole = whole_profile([stage(1000, 300), stage(1200, 700), stage(900, 100)])
    assert whole.value("peak_memory_bytes") == 800 + 1100 and whole.resident_bytes == 1100
    assert "800 bytes for the one that runs, 1100 kept by all" in str(whole.peak_memory_bytes.error)


def test_who_has_no_exits_is_told_before_anything_is_trained() -> None:
    plain, exits = load_space({"name": "repcnn"}), load_space({"name": "repcnn", "exits": {"count": [0, 2]}})
    refuse_exits(plain, "wakeword")
    refuse_exits(exits, "classification")
    with pytest.raises(
        UserError,
        match=r"space.exits: only classifiers and transcribers have early exits, and this data is for wakeword",
    ):
        refuse_exits(exits, "wakeword")
