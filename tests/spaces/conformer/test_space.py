"""Every Conformer of the space builds, fuses exactly, is known before it is trained, and costs what torch counts."""

import random
from math import ceil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.branches import BranchedConv
from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.space import Candidate, Int
from tests.spaces.networks import NORMS, randomise_norms

SHAPE, TOKENS = (7, 29), 5
# Small, so that the tests are quick; every head count, kernel and topology of the space is drawn.
SPACE = ConformerSpace(blocks=Int(1, 3), width=Int(16, 32, step=8))


def built(candidate: Candidate, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return randomise_norms(SPACE.build(candidate, SHAPE, TOKENS).to(dtype).eval())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_every_candidate_builds_and_fuses(seed: int) -> None:
    candidate = SPACE.draw(random.Random(seed))
    assert SPACE.candidate(dict(candidate)) == candidate
    inputs = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(seed))
    steps = ceil(SHAPE[1] / 2 ** candidate.integer("strides"))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        model = built(candidate, dtype)
        fused, report = fuse(model, inputs.to(dtype))
        assert fused(inputs.to(dtype)).shape == (2, steps, TOKENS)
        assert report.ok and report.largest_relative_difference <= tolerance
        assert report.fused_blocks == candidate.integer("blocks") + candidate.integer("strides")
        assert not any(isinstance(module, (*NORMS, BranchedConv)) for module in fused.modules())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_the_skeleton_is_the_fused_model_and_costs_what_torch_counts(seed: int) -> None:
    candidate = SPACE.draw(random.Random(seed))
    with torch.device("meta"):
        skeleton = fused_copy(SPACE.build(candidate, SHAPE, TOKENS).eval())
    graph = read_module(skeleton, (1, *SHAPE))
    assert graph.unknown == ()
    with FlopCounterMode(display=False) as counter:
        skeleton(torch.empty(1, *SHAPE, device="meta"))
    assert graph.macs == counter.get_total_flops() // 2
    fused = fused_copy(built(candidate))
    assert {name: value.shape for name, value in skeleton.state_dict().items()} == {
        name: value.shape for name, value in fused.state_dict().items()
    }
    # Reading the trained one gives the same graph, and leaves it as it was.
    assert read_module(fused, (1, *SHAPE)).digest == graph.digest
    assert not any(tensor.is_meta for tensor in fused.state_dict().values())


def test_training_branches_cost_nothing() -> None:
    values = dict(SPACE.middle())
    graphs = []
    for branches in (1, 4):
        candidate = SPACE.candidate(values | {"conv_branches": branches, "pointwise": True, "identity": True})
        graphs.append(read_module(fused_copy(built(candidate)), (1, *SHAPE)).digest)
    assert graphs[0] == graphs[1]


def test_images_are_refused() -> None:
    with pytest.raises(UserError, match=r"conformer_ctc: takes features \(bands, frames\), not .*\(1, 8, 8\)"):
        SPACE.build(SPACE.middle(), (1, 8, 8), TOKENS)
