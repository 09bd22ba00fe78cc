"""What zeros are worth on a device.

Removed channels count everywhere: the graph is smaller. Zeros that stay count nowhere but in flash, and there only
where the file is kept compressed: in ONNX Runtime, LiteRT and ExecuTorch on a CPU, a network of 90 % zeros, in blocks
or not, ran as long as a dense one. So no latency, memory or plain flash is credited for them.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..profile import Figure

# The level that a build makes once and a device never sees: decompression costs the same for each.
_LEVEL = 9
_RAW_DEFLATE = -zlib.MAX_WBITS


@dataclass(frozen=True)
class Zeros:
    """How sparse weights are: ``values`` in all, ``zeros`` among them, and those in channels that are all zero."""

    values: int
    zeros: int
    removable: int

    @property
    def share(self) -> float:
        """Zeros over values; 0 where there are none."""
        return self.zeros / self.values if self.values else 0.0


def compressed_flash(content: bytes) -> Figure:
    """The size of the file that ships, compressed: what a device needs that inflates its model into RAM at start.

    Raw deflate at its highest level, without a header. Not what a device needs that reads its weights in place.
    """
    note = "deflate; only for a device that inflates the file at start, into RAM as large as the file"
    return Figure(len(deflated(content)), "bytes", "measured", note)


def deflated(content: bytes) -> bytes:
    """Return ``content`` as raw deflate (RFC 1951)."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE)
    return compressor.compress(content) + compressor.flush()


def inflated(content: bytes) -> bytes:
    """Return what ``deflated`` was given; ``zlib.error`` for other bytes."""
    return zlib.decompress(content, _RAW_DEFLATE)


def count_zeros(weights: Mapping[str, np.ndarray]) -> Zeros:
    """The zeros of named weights, whose first axis is that of the output channels.

    ``removable`` are the values of output channels that are all zero. Removing those is what pays: it makes this layer
    and the next smaller (the constant that a bias leaves goes into the next layer's bias).
    """
    values = zeros = removable = 0
    for weight in weights.values():
        values += weight.size
        zeros += weight.size - int(np.count_nonzero(weight))
        if weight.ndim > 1:
            empty = ~weight.reshape(len(weight), -1).any(axis=1)
            removable += int(empty.sum()) * (weight.size // len(weight))
    return Zeros(values, zeros, removable)
