"""The arena that TensorFlow Lite Micro itself asks for, from its recording allocator.

The package ``tflite-micro`` is the interpreter with reference kernels, built for 64-bit hosts. The head (activations
and kernels' scratch buffers) is the same on a board with these kernels; the tail (what lives as long as the model) is
smaller there, as pointers have four bytes.
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ....spaces.errors import UserError
from ..extras import require
from .isolated import Output, ToolError, run_python

TOOL = "TensorFlow Lite Micro"
LIMIT_S = 30.0
# Only touched pages cost memory, so an arena can be asked for that no microcontroller has.
_ARENA_BYTES = 512 * 2**20

_SCRIPT = f"""
import sys
from tflite_micro.python.tflite_micro.runtime import Interpreter
Interpreter.from_file(sys.argv[1], arena_size={_ARENA_BYTES}).print_allocations()
"""
_TOTAL = re.compile(r"\[RecordingMicroAllocator\] Arena allocation (total|head|tail) (\d+) bytes")
_PART = re.compile(r"\[RecordingMicroAllocator\] '([^']+)' used (\d+) bytes")
_MISSING = re.compile(r"Didn't find op for builtin opcode '(\w+)'")
_FAILED_NODE = re.compile(r"Node (\S+) \(number (\d+)f?\) failed to (?:prepare|invoke)")


@dataclass(frozen=True)
class Arena:
    """The arena of one model: ``head_bytes`` are used anew by each operator, ``tail_bytes`` live with the model.

    ``parts`` are what the recording allocator names in the tail; they do not add up to it, as it does not name all.
    """

    head_bytes: int
    tail_bytes: int
    parts: tuple[tuple[str, int], ...] = ()

    @property
    def total_bytes(self) -> int:
        """The smallest arena that the model runs in."""
        return self.head_bytes + self.tail_bytes


def measure_arena(content: bytes, limit_s: float = LIMIT_S) -> Arena:
    """The arena of a ``.tflite`` model, asked of the real interpreter in a process of its own.

    Raises ``UserError`` for a file that is no TFLite model or has an operator that TensorFlow Lite Micro has not, and
    ``ToolError`` where the interpreter crashes, refuses or does not answer within ``limit_s`` seconds.
    """
    require("tflite_micro", "mcu")
    # The interpreter trusts the offsets in the file, and reads where they point.
    if content[4:8] != b"TFL3":
        raise UserError(f"{TOOL}: the file is no TFLite model (it lacks the mark TFL3); give a .tflite file")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(content)
        try:
            printed = run_python(TOOL, "this model", _SCRIPT, [str(path)], limit_s)
        except ToolError as error:
            raise _explained(error) from error
    return _parse(printed)


def _parse(printed: Output) -> Arena:
    text = f"{printed.stdout}\n{printed.stderr}"
    totals = {name: int(nbytes) for name, nbytes in _TOTAL.findall(text)}
    if not {"head", "tail"} <= totals.keys():
        raise ToolError(f"{TOOL}: printed no arena (its version is not known here)", text)
    parts = tuple((name, int(nbytes)) for name, nbytes in _PART.findall(text))
    return Arena(totals["head"], totals["tail"], parts)


def _explained(error: ToolError) -> UserError:
    """The interpreter's own reason, which stands above Python's traceback."""
    if "flatbuffers" in error.output and "struct.error" in error.output:
        return UserError(f"{TOOL}: the file is cut short or corrupt; write it again")
    missing = _MISSING.search(error.output)
    if missing:
        return UserError(f"{TOOL}: has no operator {missing[1]}; write the model without it")
    node = _FAILED_NODE.search(error.output)
    if node:
        before = error.output[: node.start()].strip().splitlines()
        reason = f" ({before[-1][:200]})" if before else ""
        return ToolError(f"{TOOL}: operator {node[2]} ({node[1]}) cannot be prepared{reason}", error.output)
    return error
