"""ExecuTorch programs (``.pte``) whose kernels are XNNPACK's: made from a fused torch module, and run on this host."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ....spaces.errors import UserError, first_line
from ..extras import require

EXTRA = "executorch"


def make_program(module: nn.Module, input_shape: Sequence[int], samples: np.ndarray | None = None) -> bytes:
    """The ``.pte`` file of a fused module in evaluation mode, for one example of ``input_shape`` at a time.

    With ``samples`` (n, *input_shape) the weights and activations are int8, per channel and static, their ranges those
    of the samples; without them all is float32. Raises ``UserError`` where ExecuTorch refuses the module.
    """
    exir = _part("executorch.exir")
    partition = _part("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    example = (torch.zeros(1, *input_shape),)
    with _quiet(), torch.no_grad():
        try:
            captured = torch.export.export(module, example)
            if samples is not None:
                captured = torch.export.export(_quantised(captured, samples), example)
            lowered = exir.to_edge_transform_and_lower(captured, partitioner=[partition.XnnpackPartitioner()])
            return bytes(lowered.to_executorch().buffer)
        except Exception as error:  # its passes raise what they like: the module is at fault, not the search
            raise UserError(f"ExecuTorch cannot lower the model: {first_line(error)}") from error


def _quantised(captured: torch.export.ExportedProgram, samples: np.ndarray) -> nn.Module:
    """Torchao's static quantisation with XNNPACK's rules."""
    quantizer = _part("executorch.backends.xnnpack.quantizer.xnnpack_quantizer")
    pt2e = _part("torchao.quantization.pt2e.quantize_pt2e")
    rules = quantizer.get_symmetric_quantization_config(is_per_channel=True)
    # Guards would refuse the observers that preparation puts between the operators.
    prepared = pt2e.prepare_pt2e(captured.module(check_guards=False), quantizer.XNNPACKQuantizer().set_global(rules))
    for sample in samples:
        prepared(torch.from_numpy(np.ascontiguousarray(sample[None], dtype=np.float32)))
    converted = pt2e.convert_pt2e(prepared)
    assert isinstance(converted, nn.Module)
    return converted


def run_program(content: bytes, features: np.ndarray) -> np.ndarray:
    """The logits (n, classes) of a ``.pte`` file for features (n, ...) on this host; ``UserError`` where it fails."""
    # The program has to outlive its method.
    program = _load(content)
    try:
        method = program.load_method("forward")
        rows = [torch.from_numpy(np.ascontiguousarray(row[None], dtype=np.float32)) for row in features]
        return np.concatenate([method.execute([row])[0].numpy().copy() for row in rows])
    except RuntimeError as error:
        raise UserError(f"ExecuTorch cannot run the file: {first_line(error)}") from error


def undelegated_operators(content: bytes) -> tuple[str, ...]:
    """The operators of a ``.pte`` file that XNNPACK does not take, by name: portable kernels run them, and slowly."""
    return tuple(sorted({str(operator.name) for operator in _plan(content).operators}))


def planned_buffer_bytes(content: bytes) -> int:
    """What ExecuTorch itself sets aside for activations: inputs, outputs and all between delegated parts."""
    return int(sum(_plan(content).non_const_buffer_sizes))


def _plan(content: bytes) -> Any:
    serialize = _part("executorch.exir._serialize._program")
    try:
        found = serialize.deserialize_pte_binary(content)
    except Exception as error:  # flatbuffers that do not hold raise anything
        raise UserError(f"not an ExecuTorch program: {first_line(error)}") from error
    return getattr(found, "program", found).execution_plan[0]


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
