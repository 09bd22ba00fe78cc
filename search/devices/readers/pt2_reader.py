"""From a ``.pt2`` file, as ``torch.export.save`` writes it, to the same ``Graph`` that ``torch_reader`` gives."""

from pathlib import Path

import torch

from ....spaces.errors import UserError, first_line
from ..graph import Graph
from .torch_reader import record


def read_pt2(path: str | Path) -> Graph:
    """The graph of a saved program, with a dynamic batch (the first axis of its input) made 1.

    Raises ``UserError`` when the file is missing or corrupt, when it takes another number of inputs than
    one, when its batch is fixed to another number than 1, or when another axis is dynamic.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file (give the path of a .pt2 model)")
    try:
        program = torch.export.load(str(path))
    except Exception as error:  # a broken archive raises whatever its first unreadable part makes it raise
        reason = first_line(error)
        raise UserError(f"{path}: not a valid .pt2 model: {reason} (save it again with torch.export.save)") from error
    return read_program(program, str(path))


def read_program(program: torch.export.ExportedProgram, title: str = "exported program") -> Graph:
    """The graph of an exported program with one input; ``title`` names it in errors, as in ``read_pt2``."""
    names = program.graph_signature.user_inputs
    if len(names) != 1:
        raise UserError(f"{title}: takes {len(names)} inputs; one is profiled (export a model of one tensor)")
    (example,) = (node.meta["val"] for node in program.graph.nodes if node.name == names[0])
    if len(example.shape) > 1 and isinstance(example.shape[0], int) and example.shape[0] != 1:
        raise UserError(
            f"{title}: input {names[0]}: a fixed batch of {example.shape[0]}: figures are of one example "
            "(export it with a dynamic batch, or with one of 1)"
        )
    shape = [1 if axis == 0 and not isinstance(size, int) else size for axis, size in enumerate(example.shape)]
    for axis, size in enumerate(shape):
        if not isinstance(size, int):
            raise UserError(f"{title}: axis {axis} of its input is dynamic ({size}): only the batch, axis 0, may be")
    return record(program.module(check_guards=False), shape, title)
