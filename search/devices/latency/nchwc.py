"""What ONNX Runtime's blocked convolutions do, counted: the terms that their time is fitted to.

The runtime keeps activations in blocks of 16 channels (NCHWc) on processors with AVX-512 and runs a row of the output
at a time, six positions by up to four blocks of output channels in registers. Positions at the border are done one
by one, over those taps of the kernel that lie on the input. (After the public sources of its MLAS library.)
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

BLOCK = 16
_BLOCKS_AT_ONCE, _POSITIONS_AT_ONCE = 4, 6
_CHANNELS_A_CALL = 128  # of a 1x1 convolution
# A result of a multiply-add can be added to after 4 cycles, and two start in each.
_LATENCY_CYCLES, _FMAS_A_CYCLE = 4, 2
_NEAREST_CACHE_BYTES = 32 * 1024
_FAR_BYTES_A_CYCLE = 37  # weights that do not stay in the nearest cache
# Chains of additions up to about this long overlap with the next one.
_WINDOW_TAPS = 64
_FLOAT_BYTES = 4

Terms = dict[str, float]


@dataclass(frozen=True)
class Axis:
    """One axis of a convolution: lengths, stride, dilation, and the padding before it."""

    read: int
    kernel: int
    stride: int
    dilation: int
    before: int
    written: int

    def taps(self, position: int) -> int:
        """How many taps of the kernel lie on the input at one position of the output."""
        start = position * self.stride - self.before
        first = max(0, -(start // self.dilation)) if start < 0 else 0
        last = min(self.kernel, -(-(self.read - start) // self.dilation))
        return max(0, last - first)

    def edges(self) -> tuple[int, ...]:
        """The taps at each position that is done alone, because the kernel leaves the input there."""
        return _edges(self)

    @property
    def middle(self) -> int:
        """Positions that are done several at a time."""
        return self.written - len(self.edges())

    def total_taps(self) -> int:
        """The taps on the input, over all positions."""
        return sum(self.taps(position) for position in range(self.written))

    def touched(self) -> int:
        """The taps that are used at any position."""
        starts = [position * self.stride - self.before for position in range(self.written)]
        return sum(any(0 <= start + tap * self.dilation < self.read for start in starts) for tap in range(self.kernel))


@lru_cache(maxsize=4096)
def _edges(axis: Axis) -> tuple[int, ...]:
    span = axis.dilation * (axis.kernel - 1) + 1
    middle = (axis.read - span) // axis.stride + 1 if axis.read >= span else 0
    with_left = (axis.read + axis.before - span) // axis.stride + 1 if axis.read + axis.before >= span else axis.written
    left = with_left - middle
    if left == 0 and axis.before > 0:
        left, middle = 1, middle - 1
    alone = [*range(left), *range(left + max(middle, 0), axis.written)]
    return tuple(axis.taps(position) for position in alone)


def blocks(channels: int) -> int:
    """The blocks that hold so many channels."""
    return -(-channels // BLOCK)


def full_terms(read: int, written: int, rows: Axis, columns: Axis, blocked_input: bool) -> Terms:
    """A convolution over all channels; with few input channels it reads them as they are, unblocked."""
    kind = "nchwc" if blocked_input else "nchw"
    channels = BLOCK * blocks(read) if blocked_input else read
    passes = blocks(read) if blocked_input else read
    kernel_rows = [rows.taps(row) for row in range(rows.written)]
    row_taps, edges = sum(kernel_rows), columns.edges()
    groups, rest = divmod(columns.middle, _POSITIONS_AT_ONCE)
    used = rows.touched() * columns.touched()
    skipped = row_taps * (len(edges) * columns.kernel - sum(edges))
    terms: Terms = defaultdict(float)
    for at_once in _sets(written):
        far = _far_cycles(at_once, used * at_once * BLOCK * _FLOAT_BYTES * (BLOCK if blocked_input else 1))
        _add_inner(terms, kind, channels * row_taps * columns.kernel, groups, rest, at_once, far)
        if blocked_input:
            terms[f"{kind}.edge_cycles"] += channels * row_taps * sum(edges) * max(_LATENCY_CYCLES, far)
        else:
            _add_short_chains(terms, kind, channels, kernel_rows, edges)
        terms[f"{kind}.skipped"] += passes * skipped
        terms[f"{kind}.rows"] += passes * rows.written
        terms[f"{kind}.row_starts"] += passes * row_taps * (groups + (rest > 0) + len(edges))
        terms[f"{kind}.results"] += passes * rows.written * columns.written * at_once
    terms["weights.bytes"] += blocks(written) * BLOCK * channels * used * _FLOAT_BYTES
    return terms


def pointwise_terms(read: int, written: int, rows: Axis, columns: Axis) -> Terms:
    """A 1x1 convolution; without a stride all rows are one."""
    channels = BLOCK * blocks(read)
    passes = -(-channels // _CHANNELS_A_CALL)
    unstrided = rows.stride == columns.stride == 1
    count, length = (1, rows.written * columns.written) if unstrided else (rows.written, columns.written)
    groups, rest = divmod(length, _POSITIONS_AT_ONCE)
    terms: Terms = defaultdict(float)
    for at_once in _sets(written):
        far = _far_cycles(at_once, min(channels, _CHANNELS_A_CALL) * at_once * BLOCK * _FLOAT_BYTES)
        _add_inner(terms, "pointwise", channels * count, groups, rest, at_once, far)
        terms["pointwise.rows"] += passes * count
        terms["pointwise.results"] += passes * count * length * at_once
    terms["weights.bytes"] += blocks(written) * BLOCK * channels * _FLOAT_BYTES
    return terms


def depthwise_terms(channels: int, rows: Axis, columns: Axis) -> Terms:
    """A convolution of each channel with its own kernel."""
    count = blocks(channels)
    kernel_rows = [rows.taps(row) for row in range(rows.written)]
    row_taps, edges = sum(kernel_rows), columns.edges()
    groups, rest = divmod(columns.middle, _POSITIONS_AT_ONCE)
    taps = count * row_taps * columns.kernel
    terms: Terms = defaultdict(float)
    _add_short_chains(terms, "depthwise", count, kernel_rows, edges)
    terms["depthwise.taps"] += taps * groups * _POSITIONS_AT_ONCE
    terms["depthwise.rest_cycles"] += taps * max(_LATENCY_CYCLES, rest) if rest else 0
    terms["depthwise.skipped"] += count * row_taps * (len(edges) * columns.kernel - sum(edges))
    terms["depthwise.row_starts"] += count * row_taps * (groups + (rest > 0) + len(edges))
    terms["depthwise.rows"] += count * rows.written
    terms["depthwise.results"] += count * rows.written * columns.written
    terms["weights.bytes"] += count * BLOCK * rows.touched() * columns.touched() * _FLOAT_BYTES
    return terms


def _add_inner(terms: Terms, kind: str, taps: int, groups: int, rest: int, at_once: int, far_cycles: float) -> None:
    """Six positions at a time by ``at_once`` blocks, and the rest of them in one go."""
    cycles = max(_LATENCY_CYCLES, _POSITIONS_AT_ONCE * at_once / _FMAS_A_CYCLE, far_cycles)
    terms[f"{kind}.{'narrow' if at_once == 1 else 'wide'}_cycles"] += taps * groups * cycles
    if rest:
        terms[f"{kind}.rest_cycles"] += taps * max(_LATENCY_CYCLES, rest * at_once / _FMAS_A_CYCLE, far_cycles)


def _add_short_chains(terms: Terms, kind: str, count: int, kernel_rows: list[int], edges: tuple[int, ...]) -> None:
    """Border positions whose few taps overlap with the next position's, the less the more they are."""
    chains = [taps * height for taps in edges for height in kernel_rows]
    terms[f"{kind}.edge_taps"] += count * sum(chains)
    terms[f"{kind}.edge_waits"] += count * sum(chain * min(1.0, chain / _WINDOW_TAPS) for chain in chains)


def _sets(channels: int) -> list[int]:
    full, rest = divmod(blocks(channels), _BLOCKS_AT_ONCE)
    return [_BLOCKS_AT_ONCE] * full + [rest] * (rest > 0)


def _far_cycles(at_once: int, nbytes: int) -> float:
    """Cycles to fetch one tap's weights where they are too many for the nearest cache."""
    return at_once * BLOCK * _FLOAT_BYTES / _FAR_BYTES_A_CYCLE if nbytes > _NEAREST_CACHE_BYTES else 0.0
