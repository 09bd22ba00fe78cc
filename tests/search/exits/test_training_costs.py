"""The memory of fine-tuning, against what torch keeps for backward."""

import torch
from torch import nn

from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.exits.training_costs import fine_tuning_memory_bytes
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space


def test_maps_that_backward_reads_and_weights_four_times() -> None:
    space = load_space({"name": "repcnn", "form": "full", "stages": 2, "blocks": 2, "width": 8, "dropout": 0.0})
    model: nn.Module = fused_copy(space.build(space.middle(), (6, 20), 4).eval())
    graph = read_module(model, (1, 6, 20))
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    batch = 5
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(torch.randn(batch, 6, 20)).sum()
    of_parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    maps = sum(size for place, size in kept.items() if place not in of_parameters)
    assert loss.requires_grad
    counted = fine_tuning_memory_bytes(graph, batch) - 4 * weights
    assert abs(counted - maps) <= 0.1 * maps, (counted, maps)
