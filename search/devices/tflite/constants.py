"""The values of a module's constants, as its operators see them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from ....spaces.errors import UserError
from ..readers.torch_reader import Recorder, Shapes, each_shape


def read_constants(module: nn.Module, input_shape: Shapes) -> dict[str, np.ndarray]:
    """The values of every constant that ``read_module`` names, of the shapes that it notes.

    A linear weight, which torch reads transposed, comes transposed. The module has its weights on the CPU.
    Raises ``UserError`` for a weight that is read in two orders.
    """
    state = {name: tensor.detach() for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    examples = tuple(torch.empty(shape, device="meta") for shape in each_shape(input_shape))
    recorder = _ValueRecorder(state, examples)
    with torch.no_grad(), recorder:
        functional_call(module, state, examples)
    return {name: tensor.float().numpy() for name, tensor in recorder.values.items()}


class _ValueRecorder(Recorder):
    """Keeps what each constant holds: activations are on ``meta``, constants are real."""

    def __init__(self, state: dict[str, torch.Tensor], examples: Sequence[torch.Tensor]) -> None:
        self.values: dict[str, torch.Tensor] = {}
        super().__init__(state, examples)

    def _name_of(self, tensor: torch.Tensor) -> Any:
        name = super()._name_of(tensor)
        if not tensor.is_meta:
            known = self.values.setdefault(name, tensor)
            if known.shape != tensor.shape or known.stride() != tensor.stride():
                raise UserError(f"weight {name}: is read in two orders; give each use a weight of its own")
        return name
