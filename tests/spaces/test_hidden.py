"""Which layers of a network can be learnt from, the same before and after fusion."""

import pytest
import torch

from repareto.spaces.fusion import fused_copy
from repareto.spaces.hidden import HiddenLayers
from repareto.spaces.space import BUILT_IN, load_space

SHAPES = {"mlperf_tiny": (49, 10)}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_space_has_layers(name: str) -> None:
    settings = {"model": "ds_cnn"} if name == "mlperf_tiny" else {}
    space = load_space({"name": name, **settings})
    shape = SHAPES.get(name, (40, 50))
    torch.manual_seed(0)
    model = space.build(space.middle(), shape, 4).eval()
    inputs = torch.randn(2, *shape)
    outputs = []
    for network in (model, fused_copy(model)):
        layers = HiddenLayers(network)
        with torch.no_grad(), layers.recorded() as recorded:
            network(inputs)
        assert sorted(recorded) == list(range(len(layers)))
        outputs.append(recorded)
    before, after = outputs
    # A layer whose normalisation is folded in is another one; the last before the classifier is there in both.
    torch.testing.assert_close(before[max(before)], after[max(after)], rtol=1e-3, atol=1e-3)
