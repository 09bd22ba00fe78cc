"""What every exit of a network answers on a split, and what its head answers from."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ...spaces.errors import UserError
from ...spaces.exits.chain import ExitChain
from ...spaces.exits.network import AllAnswers, MultiExit
from .personal import Head


@torch.no_grad()
def exit_logits(network: MultiExit, features: np.ndarray, *, device: str = "cpu", batch_size: int = 512) -> np.ndarray:
    """Return the logits (n, e, *steps, c), float64, of a network in eval mode on ``device`` for its inputs."""
    assert not network.training
    whole = AllAnswers(network)
    parts = [
        whole(torch.from_numpy(features[start : start + batch_size].astype(np.float32)).to(device)).cpu().double()
        for start in range(0, len(features), batch_size)
    ]
    return torch.cat(parts).numpy()


def heads_of(network: nn.Module) -> tuple[Head, ...]:
    """Return the linear layers that classify, of a network without early exits the only one; the last exit's last.

    Raises :class:`UserError` for a network that does not end in one.
    """
    return tuple(
        Head(layer.weight.detach().cpu().double().numpy(), layer.bias.detach().cpu().double().numpy())
        for layer in _classifiers(network)
    )


@torch.no_grad()
def head_features(
    network: nn.Module, features: np.ndarray, *, device: str = "cpu", batch_size: int = 512
) -> tuple[np.ndarray, ...]:
    """Return what each of :func:`heads_of` sees of features (n, *input_shape): (n, d) of each, float64."""
    assert not network.training
    seen: dict[int, list[Tensor]] = {}
    hooks = []
    for place, layer in enumerate(_classifiers(network)):
        parts = seen.setdefault(place, [])
        hooks.append(layer.register_forward_pre_hook(lambda _, inputs, parts=parts: parts.append(inputs[0].cpu())))
    whole = AllAnswers(network) if isinstance(network, ExitChain) else network
    try:
        for start in range(0, len(features), batch_size):
            whole(torch.from_numpy(features[start : start + batch_size].astype(np.float32)).to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(torch.cat(parts).double().numpy() for parts in seen.values())


def _classifiers(network: nn.Module) -> list[nn.Linear]:
    ends = [*network.heads, network.segments[-1]] if isinstance(network, ExitChain) else [network]
    return [_last_linear(end) for end in ends]


def _last_linear(module: nn.Module) -> nn.Linear:
    last = [layer for layer in module.modules() if not any(True for _ in layer.children())][-1]
    if not isinstance(last, nn.Linear):
        raise UserError(
            f"a network whose last layer is {type(last).__name__} has no linear one that a user could make their own "
            "(take data.users out, or name another space)"
        )
    return last
