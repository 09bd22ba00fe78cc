"""What tests of networks share."""

import torch
from torch import nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def randomise_norms(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give each batch normalisation statistics and weights as after training, so that folding one has work to do."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, NORMS):
            module.weight.data.uniform_(-1.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.5, generator=generator)
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.5, generator=generator)
            module.running_var.uniform_(0.2, 3, generator=generator)
    return network
