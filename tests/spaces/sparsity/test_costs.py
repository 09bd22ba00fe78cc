"""What a network costs by its channels, against the sliced network itself."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.costs import Costs, best_within
from repareto.spaces.sparsity.slicing import sliced_to_counts
from repareto.spaces.sparsity.walk import flow_of
from repareto.spaces.sparsity.widths import widths_of

SHAPE = (40, 16)
NARROW = {
    "repcnn": {"width": [8, 16], "stages": 2},
    "bc_resnet": {"width": [8, 16]},
    "conformer_ctc": {"blocks": 1, "width": 16, "heads": 3},
    "ds_cnn": {},
    "matchboxnet": {},
}


@pytest.mark.parametrize("name", NARROW)
def test_equal_those_of_the_sliced_network(name: str) -> None:
    space = load_space({"name": name, **NARROW[name]})
    with torch.device("meta"):
        fused = fused_copy(space.build(space.draw(random.Random(1)), SHAPE, 4).eval())
    flow = flow_of(fused, SHAPE)
    widths = widths_of(flow)
    costs = Costs(fused, flow, widths)
    draw = random.Random(0)
    for counts in ([len(width.labels) for width in widths], [draw.randint(1, len(width.labels)) for width in widths]):
        sliced, _ = sliced_to_counts(fused, SHAPE, counts)
        with FlopCounterMode(display=False) as counter:
            sliced(torch.empty(1, *SHAPE, device="meta"))
        there = costs.even(counts)
        assert costs(there).tolist() == [sum(p.numel() for p in sliced.parameters()), counter.get_total_flops() / 2]
        assert costs.more(there)[:, there == 0].gt(0).any(0).all()


def small_costs() -> Costs:
    space = load_space({"name": "repcnn", "stages": 1, "width": 8, "blocks": [2, 2], "form": "full"})
    with torch.device("meta"):
        fused = fused_copy(space.build(space.middle(), SHAPE, 4).eval())
    flow = flow_of(fused, SHAPE)
    return Costs(fused, flow, widths_of(flow))


COSTS = small_costs()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0))
def test_the_best_within_a_cost_leave_no_room(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(sum(COSTS.sizes), generator=generator)
    least = COSTS(COSTS.even([1] * len(COSTS.sizes)))
    limit = least + share * (COSTS(torch.ones(len(scores))) - least)
    mask = best_within(COSTS, scores, limit)
    assert bool((COSTS(mask) <= limit).all())
    for own, scored in zip(mask.split(COSTS.sizes), scores.split(COSTS.sizes), strict=True):
        assert own[scored.argmax()]
    for channel in (~mask).nonzero().flatten():
        more = mask.clone()
        more[channel] = True
        assert bool((COSTS(more) > limit).any())
        # One by one, and all that it costs.
        assert (COSTS(more) - COSTS(mask)).tolist() == COSTS.more(mask)[:, channel].tolist()


def test_what_is_closed_stays_closed() -> None:
    scores = torch.rand(sum(COSTS.sizes))
    scores[2:6] = -torch.inf
    assert (~best_within(COSTS, scores, COSTS(torch.ones(len(scores))))).nonzero().flatten().tolist() == [2, 3, 4, 5]
