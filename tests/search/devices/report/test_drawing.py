"""The drawing of a network: a box a kernel, an arc past what a tensor skips, and bars as long as the costs."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from torch import Tensor, nn

from repareto.search.devices.graph import Graph
from repareto.search.devices.memory import plan_memory
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.report.drawing import network_svg
from repareto.search.devices.report.layers import Layer, layer_table

SVG = "{http://www.w3.org/2000/svg}"


class Residual(nn.Module):
    """Two convolutions, and a sum with what went in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second = (nn.Conv2d(n, 8, 3, padding=1) for n in (3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return x + self.second(self.first(x))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return read_module(Residual().eval(), (1, 3, 8, 8))


@pytest.fixture(scope="module")
def layers(graph: Graph) -> tuple[Layer, ...]:
    return layer_table(graph, plan_memory(graph))


def drawn(graph: Graph, layers: tuple[Layer, ...], title: str = "t") -> ElementTree.Element:
    return ElementTree.fromstring(network_svg(graph, layers, title))


def of_class(root: ElementTree.Element, tag: str, kind: str) -> list[ElementTree.Element]:
    return [node for node in root.iter(SVG + tag) if kind in (node.get("class") or "").split()]


def test_a_box_for_each_kernel_with_its_operator_and_shape(graph: Graph, layers: tuple[Layer, ...]) -> None:
    root = drawn(graph, layers, "a <b> & c")
    assert "a <b> & c" in [text.text for text in root.iter(f"{SVG}text")]
    assert [box.findtext(f"{SVG}title") for box in of_class(root, "rect", "box")] == [layer.name for layer in layers]
    labels = [text.text for text in root.iter(f"{SVG}text")]
    assert labels.count("convolution  8 x 8 x 8") == 3
    peaks = of_class(root, "rect", "peak")
    assert [box.findtext(f"{SVG}title") for box in peaks] == [layer.name for layer in layers if layer.makes_peak]


def test_a_tensor_that_skips_kernels_has_an_arc(graph: Graph, layers: tuple[Layer, ...]) -> None:
    edges = [edge.get("d") or "" for edge in of_class(drawn(graph, layers), "path", "edge")]
    assert len(edges) == 4, "three to the next kernel, one past two of them"
    assert sum("H" in edge for edge in edges) == 1


def test_bars_are_as_long_as_the_costs(graph: Graph, layers: tuple[Layer, ...]) -> None:
    bars = of_class(drawn(graph, layers), "rect", "bar")
    assert len(bars) == 3 * len(layers), "MACs, weights and memory: this device tells no times"
    lengths = [float(bar.get("width") or 0) for bar in bars[: len(layers)]]
    most = max(layer.macs for layer in layers)
    assert lengths == [pytest.approx(130 * layer.macs / most, abs=0.06) for layer in layers]


def test_times_come_first_where_a_device_tells_them(graph: Graph, layers: tuple[Layer, ...]) -> None:
    timed = tuple(replace(layer, time_us=2.5) for layer in layers)
    heads = [text.text for text in of_class(drawn(graph, timed), "text", "head")]
    assert heads[0] == f"time, {2.5 * len(layers):g} us in all"
    assert [head.split(",")[0] for head in heads] == ["time", "MACs", "weights", "alive in memory"]


def test_nothing_is_loaded(graph: Graph, layers: tuple[Layer, ...]) -> None:
    picture = network_svg(graph, layers, "t")
    assert re.findall(r'(?:href|src)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg")', picture) == []
