"""A chain can go on without some of its blocks, and what is left keeps its names."""

import torch
from torch import nn

from repareto.spaces.chain import Chain


def test_what_is_left_out_is_passed_by() -> None:
    layers = [nn.Linear(3, 3) for _ in range(5)]
    chain = Chain(*layers, blocks=[range(1, 3), range(3, 4)])
    assert chain.optional_parts() == {"1": ("1", "2"), "3": ("3",)}
    chain.leave_out("1")
    assert chain.optional_parts() == {"3": ("3",)}
    assert list(chain.state_dict()) == [f"{name}.{part}" for name in (0, 3, 4) for part in ("weight", "bias")]
    inputs = torch.randn(2, 3)
    assert torch.equal(chain(inputs), layers[4](layers[3](layers[0](inputs))))
