"""What a network computes on its way: the outputs of its layers, which another network can learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from .conformer.network import ConformerCTC
from .errors import UserError
from .exits.chain import ExitChain
from .exits.conformer import ConformerExits


class HiddenLayers:
    """The layers of a network that have weights, in order of depth, without the classifier.

    Of a chain (``torch.nn.Sequential``), its layers; of a Conformer, its blocks. The same for the fused form. Raises
    :class:`UserError` for a network of another kind, and for one that has no layer before its classifier.
    """

    def __init__(self, network: nn.Module) -> None:
        if isinstance(network, ConformerExits):
            network = network.network
        if isinstance(network, ConformerCTC):
            self._layers, self._channels_axis = list(network.blocks), 2
        elif isinstance(network, nn.Sequential | ExitChain):
            parts = network.segments if isinstance(network, ExitChain) else [network]
            weighty = [layer for layer in _flat(parts) if next(layer.parameters(), None) is not None]
            self._layers, self._channels_axis = weighty[:-1], 1
        else:
            self._layers = []
        if not self._layers:
            raise UserError(
                f"space.distillation.layers: a network of type {type(network).__name__} has no layers that could be "
                "compared: it is neither a chain of several (torch.nn.Sequential) nor a Conformer (set layers: 0)"
            )

    def __len__(self) -> int:
        return len(self._layers)

    @contextmanager
    def recorded(self) -> Iterator[dict[int, Tensor]]:
        """Collect what layers give, by their place, each as (batch, channels, ...), while the network runs inside.

        A layer that is passed by gives nothing.
        """
        outputs: dict[int, Tensor] = {}

        def hook_of(place: int) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
                outputs[place] = output.movedim(self._channels_axis, 1)

            return hook

        hooks = [layer.register_forward_hook(hook_of(place)) for place, layer in enumerate(self._layers)]
        try:
            yield outputs
        finally:
            for hook in hooks:
                hook.remove()


def nearest_layers(layers: int, others: int) -> list[int]:
    """Return for each of a network's layers the one of another network that is nearest in relative depth.

    The last of one meets the last of the other, as in layerwise distillation of a network that lost some.
    """
    return [max(0, round((place + 1) / layers * others) - 1) for place in range(layers)]


def _flat(layers: Sequence[nn.Module] | nn.ModuleList) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _flat(list(layer))
        else:
            yield layer
