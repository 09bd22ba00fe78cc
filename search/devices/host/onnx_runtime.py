"""Exporting a model to ONNX, and running it in ONNX Runtime on one thread of this host.

Running needs no torch: what an export's user has may be without it.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....spaces.errors import UserError, first_line
from ..latency.timing import Latency, time_single_runs
from ..shipped import INPUT_NAME, LABELS_KEY, OUTPUT_NAME

if TYPE_CHECKING:
    import torch

BATCH_NAME = "batch"
_BATCHES_TO_COMPARE = (1, 3)
_RUN_BATCH = 64


def export_onnx(
    module: torch.nn.Module,
    example_input: torch.Tensor,
    path: str | Path,
    labels: Sequence[str] | None = None,
) -> None:
    """Write what :func:`onnx_bytes` returns to a file."""
    Path(path).write_bytes(onnx_bytes(module, example_input, labels))


def onnx_bytes(module: torch.nn.Module, example_input: torch.Tensor, labels: Sequence[str] | None = None) -> bytes:
    """Return ``module``, in evaluation mode, as one self-contained ONNX file.

    ``example_input`` has shape (batch, ...); the file takes any batch. Its input is called "features", its
    output "logits"; ``labels``, when given, are kept as JSON in the metadata under "repareto.labels".
    Raises ``UserError`` in training mode or when the model does not export.
    """
    import torch

    # A batch of one would be taken for a constant.
    pair = torch.cat([example_input[:1], example_input[:1]])
    names = ((INPUT_NAME,), (OUTPUT_NAME,))
    properties = {} if labels is None else {LABELS_KEY: json.dumps(list(labels))}
    return exported(module, (pair,), names, properties, dynamic_shapes=({0: torch.export.Dim(BATCH_NAME)},))


def exported(
    module: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    names: tuple[Sequence[str], Sequence[str]],
    properties: Mapping[str, str],
    dynamic_shapes: Any = None,
) -> bytes:
    """Return the ONNX file of a module in evaluation mode, ``names`` of its inputs and outputs, with ``properties``.

    Raises ``UserError`` in training mode, where the model does not export and where it has other outputs.
    """
    import onnx
    import torch

    title = type(module).__name__
    if module.training:
        raise UserError(f"{title}: in training mode; call .eval() before it is exported")
    inputs, outputs = names
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                examples,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=dynamic_shapes,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = first_line(error.__cause__ or error)
        raise UserError(f"{title}: cannot be exported to ONNX: {reason}") from error
    assert program is not None
    model = program.model_proto
    if len(model.graph.output) != len(outputs):
        raise UserError(f"{title}: has {len(model.graph.output)} outputs, and {len(outputs)} are exported")
    _strip_notes(model.graph)
    if properties:
        onnx.helper.set_model_props(model, dict(properties))
    return model.SerializeToString()


def _strip_notes(graph: Any) -> None:
    """Take out the exporter's notes for debugging: a kilobyte for each operator, with paths of this machine."""
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info):
        del part.metadata_props[:]


def largest_difference(path: str | Path, module: torch.nn.Module, inputs: torch.Tensor) -> float:
    """The largest absolute difference between an exported file and its module.

    Both get ``inputs`` of shape (batch, ...) as they are, and their first rows repeated to batches of 1 and 3.
    """
    import torch

    session = make_session(path)
    name = session.get_inputs()[0].name
    largest = 0.0
    for batch in (len(inputs), *_BATCHES_TO_COMPARE):
        rows = inputs[torch.arange(batch) % len(inputs)]
        with torch.no_grad():
            expected = module(rows)
        got = torch.from_numpy(session.run(None, {name: rows.numpy()})[0])
        if got.shape != expected.shape:
            return math.inf
        largest = max(largest, float((got - expected).abs().max()))
    return largest


def run_onnx(content: bytes, features: np.ndarray) -> np.ndarray:
    """Return the outputs of an ONNX file for ``features`` of shape (n, ...): shape (n, classes)."""
    session = make_session(content)
    name = session.get_inputs()[0].name
    batches = np.array_split(features.astype(np.float32), max(1, len(features) // _RUN_BATCH))
    return np.concatenate([session.run(None, {name: batch})[0] for batch in batches])


def measure_latency_us(
    source: str | Path | bytes, input_shape: Sequence[int] | None = None, repeats: int = 2000, seconds: float = 1.0
) -> Latency:
    """Time single runs of an ONNX model on one thread, as :func:`time_single_runs` does.

    Without an ``input_shape``, those of its inputs are the model's own with a batch of one.
    """
    session = make_session(source)
    feed = _example_feed(session, input_shape)
    return time_single_runs(lambda: session.run(None, feed), repeats, seconds)


def peak_allocated_bytes(content: bytes) -> int:
    """The most bytes that ONNX Runtime's allocator had given out while it ran a model twice, by its own profile.

    Its copies of the weights in other layouts are among them; the model as it was loaded is not.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = make_session(content, profile_prefix=str(Path(folder) / "profile"))
        feed = _example_feed(session)
        for _ in range(2):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text())
    return max(int(event.get("args", {}).get("mem_in_use_peak", 0)) for event in events)


def _example_feed(session: Any, input_shape: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """Seeded values for each input; for states in int8 of all magnitudes that they can have."""
    rng = np.random.default_rng(0)
    feed: dict[str, np.ndarray] = {}
    for source in session.get_inputs():
        shape = tuple(input_shape or (1, *source.shape[1:]))
        is_int8 = source.type == "tensor(int8)"
        values = rng.integers(-128, 128, shape) if is_int8 else rng.standard_normal(shape)
        feed[source.name] = values.astype(np.int8 if is_int8 else np.float32)
    return feed


def make_session(source: str | Path | bytes, profile_prefix: str = "") -> Any:
    """An ONNX Runtime session on one CPU thread, without spinning; with a prefix of a file, one that profiles itself.

    Raises ``UserError`` when the runtime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    options.enable_profiling = bool(profile_prefix)
    if profile_prefix:
        options.profile_file_prefix = profile_prefix
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            source if isinstance(source, bytes) else str(source), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its exceptions share no public base class
        title = "ONNX model" if isinstance(source, bytes) else str(source)
        reason = first_line(error)
        raise UserError(f"{title}: ONNX Runtime does not load it: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress lines, its log and the deprecation warnings of its own imports."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
