"""Running a ``.tflite`` file in LiteRT on one thread of this host."""

import json
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np

from ....spaces.errors import UserError, first_line
from ..extras import require
from ..latency.timing import Latency, time_single_runs
from . import layout as layouts
from .equalize import Observed

EXTRA = "litert"
ENDS_KEY = "repareto.ends"


class Interpreter:
    """LiteRT with its XNNPACK kernels, on one thread.

    Raises ``UserError`` when LiteRT refuses the file.
    """

    def __init__(self, content: bytes) -> None:
        self._runtime = make_interpreter(content)
        inputs = len(self._runtime.get_input_details())
        if inputs != 1:
            raise UserError(f"TFLite model: has {inputs} inputs; one is run (a streaming model listens hop by hop)")
        self._ends = Ends(self._runtime, read_metadata(content))

    @property
    def output_scale(self) -> float:
        """What one step of the output is worth; 0 for a float file."""
        return float(self._ends.result["quantization"][0])

    def run(self, features: np.ndarray) -> np.ndarray:
        """The logits (n, ...) in float, for features (n, ...) as torch takes them and of the shape that torch gives."""
        return self._ends.logits(np.stack([self._one(row) for row in self._ends.rows(features)]))

    def _one(self, row: np.ndarray) -> np.ndarray:
        self._runtime.set_tensor(self._ends.source["index"], row)
        self._runtime.invoke()
        return np.array(self._runtime.get_tensor(self._ends.result["index"]))


class Ends:
    """How features as torch has them become what the first input reads, and what one of the outputs holds, logits."""

    def __init__(self, runtime: Any, metadata: Mapping[str, str], output: int = 0) -> None:
        self.source, self.result = runtime.get_input_details()[0], runtime.get_output_details()[output]
        ends = json.loads(metadata.get(ENDS_KEY, "{}"))
        given = ends["inputs"][0]["torch_shape"] if ends else [int(size) for size in self.source["shape"]]
        self.example_shape = tuple(given[1:])
        """Of one example as torch has it, where the file says so."""
        self._result_shape = tuple(ends["outputs"][output]["torch_shape"][1:]) if ends else (-1,)
        self._source_layout = _layout(ends, "inputs", 0, self.source["shape"])
        self._result_layout = _layout(ends, "outputs", output, self.result["shape"])

    def rows(self, features: np.ndarray) -> np.ndarray:
        shape = tuple(int(size) for size in self.source["shape"])
        if features.ndim == 0 or features[:1].size not in (0, math.prod(shape)):
            raise UserError(f"features of shape {features.shape}: the model takes {math.prod(shape)} values an example")
        return quantized(to_file_order(features, self._source_layout, shape), self.source)

    def logits(self, results: np.ndarray) -> np.ndarray:
        flat = real(results, self.result).reshape(len(results), -1)
        ordered = np.empty_like(flat)
        ordered[:, layouts.gather_index(self._result_layout)] = flat
        return ordered.reshape(len(results), *self._result_shape)


def run(content: bytes, features: np.ndarray) -> np.ndarray:
    """The logits (n, ...) of a file for features (n, ...) as torch has both; float in and out for int8 too."""
    return Interpreter(content).run(features)


def measure_latency_us(content: bytes, repeats: int = 2000, seconds: float = 1.0) -> Latency:
    """Time single runs of a file on one thread, as :func:`time_single_runs` does."""
    runtime = make_interpreter(content)
    rng = np.random.default_rng(0)
    for source in runtime.get_input_details():
        values = rng.standard_normal(tuple(source["shape"])).astype(np.float32)
        runtime.set_tensor(source["index"], quantized(values, source))
    return time_single_runs(runtime.invoke, repeats, seconds)


def make_interpreter(content: bytes, keep_all_tensors: bool = False) -> Any:
    """A LiteRT interpreter on one thread; with ``keep_all_tensors`` its plain kernels, each result left to be read.

    Raises ``UserError`` when LiteRT refuses the file.
    """
    litert = require("ai_edge_litert.interpreter", EXTRA)
    kinds = litert.OpResolverType
    try:
        interpreter = litert.Interpreter(
            model_content=content,
            num_threads=1,
            experimental_preserve_all_tensors=keep_all_tensors,
            experimental_op_resolver_type=kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep_all_tensors else kinds.AUTO,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = first_line(error)
        raise UserError(f"TFLite model: LiteRT does not load it: {reason}") from error
    return interpreter


def observe(content: bytes, rows: np.ndarray, names: Container[str]) -> dict[str, Observed]:
    """What some tensors of a float file hold over ``rows`` (n, *shape of the input), by their last axis."""
    observer = Observer(content, names)
    for row in rows:
        observer.run([row])
    return observer.seen


class Observer:
    """A float file at work, and what some of its tensors have held so far, by their last axis."""

    def __init__(self, content: bytes, names: Container[str]) -> None:
        self._interpreter = make_interpreter(content, keep_all_tensors=True)
        self._inputs = self._interpreter.get_input_details()
        self._outputs = self._interpreter.get_output_details()
        self._written = [detail for detail in self._interpreter.get_tensor_details() if detail["name"] in names]
        self._seen: dict[str, Observed] = {}
        self._runs = 0

    @property
    def seen(self) -> dict[str, Observed]:
        """What was held in all runs; the mean squares are over all of them."""
        share = 1 / max(1, self._runs)
        return {name: Observed(seen.low, seen.high, seen.mean_square * share) for name, seen in self._seen.items()}

    def silence(self) -> list[np.ndarray]:
        """Zeros for the inputs after the first."""
        return [np.zeros(detail["shape"], np.float32) for detail in self._inputs[1:]]

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run once and return the outputs after the first."""
        for detail, values in zip(self._inputs, inputs, strict=True):
            self._interpreter.set_tensor(detail["index"], values)
        self._interpreter.invoke()
        for detail in self._written:
            self._note(detail["name"], self._interpreter.get_tensor(detail["index"]))
        self._runs += 1
        return [self._interpreter.get_tensor(detail["index"]) for detail in self._outputs[1:]]

    def _note(self, name: str, values: np.ndarray) -> None:
        values = values.reshape(-1, values.shape[-1] if values.ndim else 1)
        new = Observed(values.min(axis=0), values.max(axis=0), np.square(values, dtype=np.float64).mean(axis=0))
        old = self._seen.get(name)
        self._seen[name] = old.with_more(new) if old else new


def to_file_order(features: np.ndarray, layout: layouts.Layout, shape: Sequence[int]) -> np.ndarray:
    """Features (n, ...) as torch has them as rows (n, *shape) for a file whose input has this layout and shape."""
    flat = np.asarray(features, np.float32).reshape(len(features), -1)
    return flat[:, layouts.gather_index(layout)].reshape(len(features), *shape)


def file_input(content: bytes, features: np.ndarray) -> np.ndarray:
    """Features (n, ...) as torch has them as what the input of a file holds, for runtimes other than this one."""
    return _ends(content).rows(features)


def file_logits(content: bytes, results: np.ndarray) -> np.ndarray:
    """The logits (n, classes) in float from what the output of a file held, (n, *shape of the output)."""
    return _ends(content).logits(results)


def _ends(content: bytes) -> Ends:
    return Ends(make_interpreter(content), read_metadata(content))


def read_metadata(content: bytes) -> dict[str, str]:
    """The texts that a file keeps, by name."""
    model = require("ai_edge_litert.schema_py_generated", EXTRA).Model.GetRootAs(content)
    notes = [model.Metadata(number) for number in range(model.MetadataLength())]
    return {
        note.Name().decode(): model.Buffers(note.Buffer()).DataAsNumpy().tobytes().decode(errors="replace")
        for note in notes
        if not model.Buffers(note.Buffer()).DataIsNone()
    }


def _layout(ends: dict[str, Any], side: str, place: int, shape: Sequence[int]) -> layouts.Layout:
    if ends:
        return tuple((int(size), int(stride)) for size, stride in ends[side][place]["layout"])
    sizes = [int(size) for size in shape]
    if side == "inputs" and len(sizes) == 4:  # TFLite images are channels last
        channels_first = [sizes[axis] for axis in (0, 3, 1, 2)]
        return layouts.of_axes(channels_first, (0, 2, 3, 1))
    return layouts.plain(sizes)


def quantized(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """Float values as the tensor of ``detail`` has them."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / np.float32(scale)) + zero_point, limits.min, limits.max).astype(detail["dtype"])


def real(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """The values of the tensor of ``detail`` in float."""
    if detail["dtype"] == np.float32:
        return np.array(values)
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
