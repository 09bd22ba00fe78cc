"""A network as it runs: each kernel a box, what it takes from before joined to it, and beside it what it costs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from ..fusion import Kernel, fuse_kernels
from ..graph import Graph
from .layers import Layer

_LEFT, _TOP, _ROW, _BOX_HEIGHT, _BOX_WIDTH = 150, 72, 34, 26, 300
_BAR_WIDTH, _BAR_GAP = 130, 86
_ARC_STEP, _ARCS = 12, 8

_STYLE = """
text { font: 11px system-ui, sans-serif; fill: #333 }
.title { font-size: 15px; font-weight: 600 }
.head { font-weight: 600 }
.box { fill: #f4f6f8; stroke: #8899a6 }
.peak { fill: #fbe9e7; stroke: #c22 }
.edge { fill: none; stroke: #8899a6 }
.bar { fill: #c0392b; fill-opacity: .55 }
""".strip()

Cost = tuple[str, Callable[[Layer], float], Callable[[float], str]]


def network_svg(graph: Graph, layers: Sequence[Layer], title: str) -> str:
    """The kernels of a lowered ``graph`` in the order they run, as one self-contained SVG.

    ``layers`` are those of :func:`~.layers.layer_table`. An arc on the left leads past the kernels between a tensor's
    maker and its taker. The box at which the most memory is alive is red.
    """
    kernels = fuse_kernels(graph)
    assert len(kernels) == len(layers), (len(kernels), len(layers))
    costs = _costs(layers)
    width = _bar_left(len(costs)) + 10
    height = _TOP + _ROW * len(layers) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text class="title" x="16" y="24">{escape(title)}</text>',
        *_edges(kernels),
        *(_box(row, layer) for row, layer in enumerate(layers)),
    ]
    for column, (name, value, text) in enumerate(costs):
        parts += _bars(column, name, [value(layer) for layer in layers], text)
    return "\n".join([*parts, "</svg>\n"])


def _costs(layers: Sequence[Layer]) -> list[Cost]:
    costs: list[Cost] = [
        ("MACs", lambda layer: layer.macs, _count),
        ("weights", lambda layer: layer.weight_bytes, _size),
        ("alive in memory", lambda layer: layer.live_bytes, _size),
    ]
    if all(layer.time_us is not None for layer in layers):
        costs.insert(0, ("time", lambda layer: layer.time_us or 0.0, lambda value: f"{value:.3g} us"))
    return costs


def _box(row: int, layer: Layer) -> str:
    top = _TOP + _ROW * row
    label = f"{layer.operator}  {' x '.join(map(str, layer.output_shape[1:]))}"
    kind = "box peak" if layer.makes_peak else "box"
    return (
        f'<rect class="{kind}" x="{_LEFT}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="4">'
        f"<title>{escape(layer.name)}</title></rect>"
        f'<text x="{_LEFT + 8}" y="{top + 17}" pointer-events="none">{escape(_shortened(label))}</text>'
    )


def _edges(kernels: Sequence[Kernel]) -> Iterator[str]:
    """What each kernel takes from others: from the one above it, or past some of them."""
    maker: Mapping[str, int] = {name: row for row, kernel in enumerate(kernels) for name in kernel.outputs}
    for row, kernel in enumerate(kernels):
        for source in sorted({maker[name] for name in kernel.inputs if name in maker}):
            if source == row - 1:
                x = _LEFT + _BOX_WIDTH / 2
                yield f'<path class="edge" d="M{x} {_TOP + _ROW * source + _BOX_HEIGHT}V{_TOP + _ROW * row}"/>'
            else:
                x = _LEFT - _ARC_STEP * min(row - source, _ARCS)
                start, end = (_TOP + _ROW * place + _BOX_HEIGHT / 2 for place in (source, row))
                yield f'<path class="edge" d="M{_LEFT} {start}H{x}V{end}H{_LEFT}"/>'


def _bar_left(column: int) -> int:
    return _LEFT + _BOX_WIDTH + 24 + column * (_BAR_WIDTH + _BAR_GAP)


def _bars(column: int, name: str, values: Sequence[float], text: Callable[[float], str]) -> Iterator[str]:
    left, largest = _bar_left(column), max(values, default=0)
    total = "" if name.startswith("alive") else f", {text(sum(values))} in all"
    yield f'<text class="head" x="{left}" y="{_TOP - 14}">{name}{total}</text>'
    for row, value in enumerate(values):
        top = _TOP + _ROW * row
        width = _BAR_WIDTH * value / largest if largest else 0
        yield f'<rect class="bar" x="{left}" y="{top + 6}" width="{width:.1f}" height="14"/>'
        if value:
            yield f'<text x="{left + width + 4:.1f}" y="{top + 17}">{text(value)}</text>'


def _shortened(text: str, letters: int = 48) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _count(value: float) -> str:
    unit, factor = next((pair for pair in (("M", 1e6), ("k", 1e3)) if value >= pair[1]), ("", 1))
    return f"{value / factor:.3g}{unit}"


def _size(nbytes: float) -> str:
    return f"{nbytes / 1024:.3g} KiB" if nbytes >= 1024 else f"{nbytes:.0f} B"
