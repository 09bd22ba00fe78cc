"""Batch normalisation put back into a fused network, so that it can be trained on.

Fusion folds normalisations into kernels, and a network without them does not bear that channels are taken out: what
is left is of another scale, and dies. Here each convolution gets one again that changes nothing at first.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from .exits.network import AllAnswers
from .layers import Normed


@torch.no_grad()
def renormalised(fused: nn.Module, examples: Tensor) -> nn.Module:
    """Return a copy of a fused network in which a batch normalisation follows each 2-D convolution that has a bias.

    Statistics are those of ``examples`` (n, *input_shape); scale and shift undo them, so that the copy computes the
    same in eval mode, and is fused into the same layers under the same names.
    """
    model = copy.deepcopy(fused).eval()
    names = [name for name, module in model.named_modules() if _is_fused_convolution(module)]
    outputs: dict[str, Tensor] = {}

    def hook_of(name: str) -> Any:
        def hook(_module: nn.Module, _given: tuple[Tensor, ...], output: Tensor) -> None:
            outputs[name] = output

        return hook

    hooks = [model.get_submodule(name).register_forward_hook(hook_of(name)) for name in names]
    AllAnswers(model)(examples)
    for hook in hooks:
        hook.remove()
    for name, output in outputs.items():
        owner, _, own = name.rpartition(".")
        setattr(model.get_submodule(owner), own, _normed(model.get_submodule(name), output))
    return model


def _is_fused_convolution(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.bias is not None and not isinstance(module.padding, str)


def _normed(convolution: Any, output: Tensor) -> Normed:
    vertical, horizontal = convolution.padding
    plain = copy.deepcopy(convolution)
    plain.bias, plain.padding = None, (0, 0)
    normed = Normed(plain, (horizontal, horizontal, vertical, vertical)).eval()
    norm = normed.norm
    assert norm.running_mean is not None and norm.running_var is not None
    variance, mean = torch.var_mean(output, (0, 2, 3))
    norm.running_mean.copy_(mean - convolution.bias)
    norm.running_var.copy_(variance)
    norm.weight.copy_((variance + norm.eps).sqrt())
    norm.bias.copy_(mean)
    return normed
