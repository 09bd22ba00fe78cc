"""A chain of layers from which whole blocks can be left out: their input goes on in their place."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


class Chain(nn.Sequential):
    """Layers that run one after the other; ``blocks`` are places of those that can go together.

    A block is of convolutions that keep the shape of what they read, each with a ReLU behind it, and reads nothing
    negative: with identities for its convolutions it passes its input on. Layers keep their names when others go.
    """

    def __init__(self, *layers: nn.Module, blocks: Sequence[range] = ()) -> None:
        super().__init__(*layers)
        self._blocks = [tuple(str(place) for place in block) for block in blocks]

    def optional_parts(self) -> dict[str, tuple[str, ...]]:
        """Return the blocks that are there, by the name of the first layer, each with the names of its layers."""
        return {names[0]: names for names in self._blocks if names[0] in self._modules}

    def leave_out(self, part: str) -> None:
        """Go on without a block."""
        for name in self.optional_parts()[part]:
            del self._modules[name]
