"""TFLite files of fused models: lowered, quantised, written, read and run, without TensorFlow."""

from .convert import convert
from .lower import lower
from .read import read_tflite
from .runtime import Interpreter, measure_latency_us, run
from .streams import TfliteStream, convert_stream

__all__ = [
    "Interpreter",
    "TfliteStream",
    "convert",
    "convert_stream",
    "lower",
    "measure_latency_us",
    "read_tflite",
    "run",
]
