"""Heads of every kind answer for any map, and fuse."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repareto.spaces.exits.heads import HEADS, head
from repareto.spaces.fusion import fuse
from tests.spaces.networks import NORMS, randomise_norms


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(HEADS), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))
def test_a_head_answers_for_any_map_and_fuses(kind: str, channels: int, height: int, width: int) -> None:
    network = randomise_norms(head(kind, (channels, height, width), 4).eval())
    x = torch.randn(3, channels, height, width, generator=torch.Generator().manual_seed(0))
    fused, report = fuse(network, x)
    assert fused(x).shape == (3, 4) and report.ok
    assert not any(isinstance(module, NORMS) for module in fused.modules())


@pytest.mark.parametrize(("kind", "values"), [("linear", 5 * 7 * 9 * 4 + 4), ("pool-linear", 5 * 4 + 4)])
def test_what_a_head_stores(kind: str, values: int) -> None:
    network: nn.Module = head(kind, (5, 7, 9), 4)
    assert sum(parameter.numel() for parameter in network.parameters()) == values
