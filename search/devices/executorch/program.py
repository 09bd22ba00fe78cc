"""ExecuTorch programs (``.pte``) whose kernels are XNNPACK's: made from a fused torch module, and run on this host."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ....spaces.errors import UserError, first_line
from ....spaces.exits.network import MultiExit
from ..extras import require
from ..stages import Stages

EXTRA = "executorch"


def make_program(module: nn.Module, input_shape: Sequence[int], samples: np.ndarray | None = None) -> bytes:
    """The ``.pte`` file of a fused module in evaluation mode, for one example of ``input_shape`` at a time.

    With ``samples`` (n, *input_shape) the weights and activations are int8, per channel and static, their ranges those
    of the samples; without them all is float32. Raises ``UserError`` where ExecuTorch refuses the module.
    """
    return _program({"forward": module}, torch.zeros(1, *input_shape), samples)


def make_staged_program(network: MultiExit, input_shape: Sequence[int], samples: np.ndarray | None = None) -> bytes:
    """The ``.pte`` file of the stages of a fused network with early exits: a method for each, "stage1", "stage2", ….

    A method gives the map for the next one and its logits, the last one logits alone; all in float32 at its ends.
    ``samples`` and errors as of :func:`make_program`; the ranges of a stage are those of the float maps that it takes.
    """
    stages = {stage_method(number): stage for number, stage in enumerate(network.stages(), 1)}
    return _program(stages, torch.zeros(1, *input_shape), samples)


def stage_method(number: int) -> str:
    """What the method of a stage, counted from 1, is called."""
    return f"stage{number}"


def _program(methods: Mapping[str, nn.Module], example: torch.Tensor, samples: np.ndarray | None) -> bytes:
    """The file of modules, of which each takes what the one before gives first."""
    exir = _part("executorch.exir")
    partition = _part("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    rows = [] if samples is None else [_one(row) for row in samples]
    captured = {}
    with _quiet(), torch.no_grad():
        try:
            for name, module in methods.items():
                captured[name] = torch.export.export(module, (example,))
                if rows:
                    captured[name] = torch.export.export(_quantised(captured[name], rows), (example,))
                    rows = [_first(module(row)) for row in rows]
                example = _first(module(example))
            lowered = exir.to_edge_transform_and_lower(captured, partitioner=[partition.XnnpackPartitioner()])
            return bytes(lowered.to_executorch().buffer)
        except Exception as error:  # its passes raise what they like: the module is at fault, not the search
            raise UserError(f"ExecuTorch cannot lower the model: {first_line(error)}") from error


def _first(outputs: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return outputs if isinstance(outputs, torch.Tensor) else outputs[0]


def _quantised(captured: torch.export.ExportedProgram, rows: Sequence[torch.Tensor]) -> nn.Module:
    """Torchao's static quantisation with XNNPACK's rules."""
    quantizer = _part("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    pt2e = _part("torchao.quantization.pt2e.quantize_pt2e")
    rules = quantizer.get_symmetric_quantization_config(is_per_channel=True)
    # Guards would refuse the observers that preparation puts between the operators.
    prepared = pt2e.prepare_pt2e(captured.module(check_guards=False), quantizer.XNNPACKQuantizer().set_global(rules))
    for row in rows:
        prepared(row)
    converted = pt2e.convert_pt2e(prepared)
    assert isinstance(converted, nn.Module)
    return converted


def run_program(content: bytes, features: np.ndarray) -> np.ndarray:
    """The logits (n, classes) of a ``.pte`` file for features (n, ...) on this host; ``UserError`` where it fails."""
    # The program has to outlive its method.
    program = _load(content)
    try:
        method = program.load_method("forward")
        return np.concatenate([method.execute([_one(row)])[0].numpy().copy() for row in features])
    except RuntimeError as error:
        raise UserError(f"ExecuTorch cannot run the file: {first_line(error)}") from error


def _one(row: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(row[None], dtype=np.float32))


class ProgramStages(Stages):
    """The methods of a file of :func:`make_staged_program` on this host; ``UserError`` where one cannot be run."""

    def __init__(self, content: bytes) -> None:
        # The program has to outlive its methods.
        self._program = _load(content)
        names = sorted(self._program.method_names, key=lambda name: (len(name), name))
        self._methods = [self._program.load_method(name) for name in names]

    def answers(self, features: np.ndarray) -> Iterator[np.ndarray]:
        x = _one(features)
        for method in self._methods:
            try:
                *hidden, logits = method.execute([x])
            except RuntimeError as error:
                raise UserError(f"ExecuTorch cannot run the file: {first_line(error)}") from error
            yield logits.numpy()[0].copy()
            x = hidden[0].clone() if hidden else x


def undelegated_operators(content: bytes) -> tuple[str, ...]:
    """The operators of a ``.pte`` file that XNNPACK does not take, by name: portable kernels run them, and slowly."""
    return tuple(sorted({str(operator.name) for plan in _plans(content) for operator in plan.operators}))


def planned_buffer_bytes(content: bytes) -> int:
    """What ExecuTorch itself sets aside for activations: inputs, outputs and all between delegated parts; of the method
    that needs the most, for one runs at a time."""
    return int(max(sum(plan.non_const_buffer_sizes) for plan in _plans(content)))


def _plans(content: bytes) -> Any:
    serialize = _part("executorch.exir._serialize._program")
    try:
        found = serialize.deserialize_pte_binary(content)
    except Exception as error:  # flatbuffers that do not hold raise anything
        raise UserError(f"not an ExecuTorch program: {first_line(error)}") from error
    return getattr(found, "program", found).execution_plan


def _load(content: bytes) -> Any:
    runtime = _part("executorch.runtime")
    try:
        return runtime.Runtime.get().load_program(content)
    except RuntimeError as error:
        raise UserError(f"not an ExecuTorch program: {first_line(error)}") from error


def _part(name: str) -> Any:
    with _quiet():
        return require(name, EXTRA)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings that ExecuTorch and torch give each other."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
