"""A picture of the arena over time: each buffer a box, as wide as it lives and as high as it is large."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from ....spaces.errors import UserError
from ..fusion import Kernel
from ..graph import Graph
from ..memory import MemoryPlan, Placement
from .layers import kernel_name, kernel_type, live_bytes_by_step, peak_step, plan_steps

SUFFIXES = (".svg", ".html")
_LEFT, _TOP, _RIGHT, _BOTTOM = 84, 56, 80, 170
_HEIGHT = 420
_NARROWEST_STEP, _WIDEST_STEP, _WIDTH_WANTED = 14, 60, 1000
_LABEL_HEIGHT, _LETTER_WIDTH = 13, 6.2
_GRID_LINES = 5

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #333 }
.title { font-size: 15px; font-weight: 600 }
.axis { stroke: #ddd }
.peak { stroke: #c22; stroke-width: 1.5; stroke-dasharray: 6 3 }
.peak-step { fill: #c22; fill-opacity: .08 }
.live { fill: none; stroke: #222; stroke-width: 1.5 }
.buffer { stroke: #fff; stroke-width: 1 }
.buffer:hover { stroke: #000; stroke-width: 2 }
.red { fill: #c22 }
""".strip()


@dataclass(frozen=True)
class _Axes:
    """Where a step and an address lie in the picture."""

    steps: int
    peak_bytes: int

    @property
    def step_width(self) -> float:
        return min(_WIDEST_STEP, max(_NARROWEST_STEP, _WIDTH_WANTED / self.steps))

    def x(self, step: float) -> float:
        return round(_LEFT + step * self.step_width, 2)

    def y(self, address: float) -> float:
        return round(_TOP + _HEIGHT * (1 - address / max(1, self.peak_bytes)), 2)


def memory_map_svg(graph: Graph, plan: MemoryPlan, title: str) -> str:
    """The memory plan of a lowered ``graph`` as one self-contained SVG.

    Time runs to the right, one column a kernel; the address grows upwards. The dashed line is the arena's size, the
    black one what is alive; where they meet, no arrangement needs less. A box says on hovering what it is.
    """
    kernels = plan_steps(graph, plan)
    axes = _Axes(max(1, len(kernels)), plan.peak_bytes)
    names = [kernel_name(graph, kernel) for kernel in kernels]
    peak = peak_step(graph, plan)
    width, height = round(axes.x(axes.steps) + _RIGHT), _TOP + _HEIGHT + _BOTTOM
    where = "" if peak is None else f", alive at {names[peak]}"
    least = f"arena {_size(plan.peak_bytes)}; no arrangement needs less than {_size(plan.lower_bound_bytes)}{where}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="{_LEFT}" y="22">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="40">{escape(least)}</text>',
        *_grid(axes),
        *(_box(placement, axes, names, graph) for placement in plan.placements),
        _live_line(axes, plan),
        _line("peak", axes, plan.peak_bytes),
        *_labels(axes, kernels, names, peak),
    ]
    return "\n".join([*parts, "</svg>\n"])


def _grid(axes: _Axes) -> Iterator[str]:
    for line in range(_GRID_LINES + 1):
        address = axes.peak_bytes * line / _GRID_LINES
        yield _line("axis", axes, address)
        yield f'<text text-anchor="end" x="{_LEFT - 6}" y="{axes.y(address) + 4}">{_size(address)}</text>'


def _line(kind: str, axes: _Axes, address: float) -> str:
    height = axes.y(address)
    return f'<line class="{kind}" x1="{axes.x(0)}" x2="{axes.x(axes.steps)}" y1="{height}" y2="{height}"/>'


def _live_line(axes: _Axes, plan: MemoryPlan) -> str:
    live = live_bytes_by_step(plan, axes.steps)
    corners = [f"{axes.x(step + side)},{axes.y(nbytes)}" for step, nbytes in enumerate(live) for side in (0, 1)]
    return f'<polyline class="live" points="{" ".join(corners)}"/>'


def _labels(axes: _Axes, kernels: Sequence[Kernel], names: Sequence[str], peak: int | None) -> Iterator[str]:
    """Below each column what it runs; the one that makes the peak is red from top to bottom."""
    for step, (kernel, name) in enumerate(zip(kernels, names, strict=True)):
        red = ""
        if step == peak:
            red = ' class="red"'
            sides = f'x="{axes.x(step)}" y="{_TOP}" width="{axes.step_width:g}" height="{_HEIGHT}"'
            yield f'<rect class="peak-step" pointer-events="none" {sides}/>'
        place = f"translate({axes.x(step + 0.5) - 2} {_TOP + _HEIGHT + 12}) rotate(60)"
        label = escape(_shortened(f"{step} {kernel_type(kernel)}"))
        yield f'<text{red} transform="{place}">{label}<title>{escape(name)}</title></text>'


def write_memory_map(path: Path, graph: Graph, plan: MemoryPlan, title: str) -> None:
    """Write the map as ``.svg`` or ``.html``, neither of which loads anything else.

    Raises ``UserError`` for another suffix and where the file cannot be written.
    """
    refuse_other_suffix(path)
    picture = memory_map_svg(graph, plan, title)
    if path.suffix == ".html":
        picture = (
            f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
            f"<body>\n{picture}</body>\n</html>\n"
        )
    try:
        path.write_text(picture, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--memory-map {path}: cannot be written ({error.strerror})") from error


def refuse_other_suffix(path: Path) -> None:
    """Raise ``UserError`` unless the map can be written in the format that the suffix names."""
    if path.suffix not in SUFFIXES:
        raise UserError(f'--memory-map {path}: not a picture by its suffix "{path.suffix}" (give .svg or .html)')


def _box(placement: Placement, axes: _Axes, names: Sequence[str], graph: Graph) -> str:
    buffer = placement.buffer
    left, right = axes.x(buffer.first), axes.x(buffer.last + 1)
    top, bottom = axes.y(placement.end_bytes), axes.y(placement.offset_bytes)
    box = (
        f'<rect class="buffer" x="{left}" y="{top}" width="{right - left:.2f}" height="{bottom - top:.2f}" '
        f'fill="{_colour(buffer.name)}"><title>{escape(_note(placement, names, graph))}</title></rect>'
    )
    label = _size(buffer.nbytes)
    if bottom - top < _LABEL_HEIGHT or right - left < len(label) * _LETTER_WIDTH:
        return box
    return f'{box}<text x="{left + 3}" y="{(top + bottom) / 2 + 4:.2f}" pointer-events="none">{label}</text>'


def _note(placement: Placement, names: Sequence[str], graph: Graph) -> str:
    """What a box says: its tensor, where it lies and how long it lives."""
    buffer = placement.buffer
    info = graph.tensors.get(buffer.name)
    form = f" {info.dtype} {list(info.shape)}" if info else ""
    life = " to ".join(dict.fromkeys(names[step] for step in (buffer.first, buffer.last) if step < len(names)))
    return f"{buffer.name}{form}: {buffer.nbytes} bytes at {placement.offset_bytes}, alive in {life}"


def _colour(name: str) -> str:
    """A pale colour that is the same for the same buffer in every run."""
    hue = int.from_bytes(hashlib.sha256(name.encode()).digest()[:2], "big") % 360
    return f"hsl({hue} 55% 78%)"


def _shortened(text: str, letters: int = 24) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _size(nbytes: float) -> str:
    return f"{nbytes / 1024:.4g} KiB" if nbytes >= 1024 else f"{nbytes:.4g} B"
