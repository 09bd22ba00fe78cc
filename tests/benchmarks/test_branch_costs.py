"""The networks that branches are compared with: what runs branch by branch is what a branched network is."""

import pytest
import torch
from torch import nn

from benchmarks.branch_costs import unfused, with_branches_apart
from benchmarks.repcnn import TOPOLOGIES, candidate
from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.repcnn import RepCNN
from tests.spaces.networks import randomise_norms

SHAPE = (6, 20)


@pytest.mark.parametrize("form", ["separable", "full"])
@torch.no_grad()
def test_branches_apart_compute_what_their_folded_form_does(form: str) -> None:
    chosen = RepCNN().candidate(dict(candidate(TOPOLOGIES["4conv+1x1+skip"])) | {"form": form})
    apart = randomise_norms(with_branches_apart(RepCNN().build(chosen, SHAPE, 3))).double().eval()
    features = torch.randn(2, *SHAPE, dtype=torch.float64)
    shipped = unfused(apart)
    norms = [layer for layer in shipped.modules() if isinstance(layer, nn.BatchNorm2d)]
    # Of skips alone: one in front of each convolution that keeps its input's shape.
    assert len(norms) == {"separable": 6, "full": 2}[form]
    torch.testing.assert_close(shipped(features), apart(features))


def test_every_branch_is_run() -> None:
    def macs(topology: str) -> int:
        model = unfused(with_branches_apart(RepCNN().build(candidate(TOPOLOGIES[topology]), SHAPE, 3)))
        return read_module(model, (1, *SHAPE)).macs

    one, four = macs("1conv"), macs("4conv+1x1+skip")
    assert 4 * one < four < 5 * one
