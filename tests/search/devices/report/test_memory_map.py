"""The picture of the arena: well-formed, self-contained, and true to the plan."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from torch import nn

from repareto.search.devices.graph import Graph
from repareto.search.devices.memory import plan_memory
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.report.memory_map import memory_map_svg, write_memory_map
from repareto.spaces.errors import UserError

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def graph() -> Graph:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    return read_module(module, (1, 3, 8, 8))


def boxes(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [box for box in root.iter(f"{SVG}rect") if box.get("class") == "buffer"]


def test_a_box_for_each_buffer_at_its_address_and_time(graph: Graph) -> None:
    plan = plan_memory(graph)
    root = ElementTree.fromstring(memory_map_svg(graph, plan, "a <b> & c"))
    assert "a <b> & c" in [text.text for text in root.iter(f"{SVG}text")]
    found = boxes(root)
    assert len(found) == len(plan.placements)
    for placement, box in zip(plan.placements, found, strict=True):
        note = box.findtext(f"{SVG}title") or ""
        assert f": {placement.buffer.nbytes} bytes at {placement.offset_bytes}, alive in " in note
        scale = 420 / plan.peak_bytes
        assert float(box.get("height", 0)) == pytest.approx(placement.buffer.nbytes * scale, abs=0.02)
        top = 56 + 420 - placement.end_bytes * scale
        assert float(box.get("y", 0)) == pytest.approx(top, abs=0.01)
        steps = placement.buffer.last - placement.buffer.first + 1
        assert float(box.get("width", 0)) == pytest.approx(60 * steps, abs=0.02)


def test_the_kernel_of_the_peak_is_marked(graph: Graph) -> None:
    root = ElementTree.fromstring(memory_map_svg(graph, plan_memory(graph), "t"))
    marked = [text for text in root.iter(f"{SVG}text") if text.get("class") == "red"]
    assert [text.text for text in marked] == ["1 convolution"]  # 8 and 4 channels at once, more than 3 and 8
    places = [box.get("x") for box in root.iter(f"{SVG}rect") if box.get("class") == "peak-step"]
    assert list(map(float, filter(None, places))) == [144]


def test_nothing_is_loaded_and_nothing_hangs_on_chance(graph: Graph) -> None:
    picture = memory_map_svg(graph, plan_memory(graph), "t")
    assert re.findall(r'(?:href|src)=|url\(|@import|https?://(?!www\.w3\.org/2000/svg")', picture) == []
    assert picture == memory_map_svg(graph, plan_memory(graph), "t")


def test_a_long_network_is_drawn_narrow() -> None:
    graph = read_module(nn.Sequential(*[nn.Conv1d(2, 2, 1) for _ in range(300)]).eval(), (1, 2, 4))
    root = ElementTree.fromstring(memory_map_svg(graph, plan_memory(graph), "t"))
    assert float(root.get("width", 0)) == 84 + 300 * 14 + 80


def test_both_formats_are_written(graph: Graph, tmp_path: Path) -> None:
    plan = plan_memory(graph)
    write_memory_map(tmp_path / "m.svg", graph, plan, "t")
    ElementTree.parse(tmp_path / "m.svg")
    write_memory_map(tmp_path / "m.html", graph, plan, "t & u")
    page = (tmp_path / "m.html").read_text()
    assert page.startswith("<!doctype html>") and "<title>t &amp; u</title>" in page
    assert memory_map_svg(graph, plan, "t & u") in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("m.png", r'--memory-map .*m.png: not a picture by its suffix ".png" \(give .svg or .html\)'),
        ("no/such/m.svg", r"--memory-map .*m.svg: cannot be written \(No such file or directory\)"),
    ],
)
def test_a_map_that_cannot_be_written(graph: Graph, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        write_memory_map(tmp_path / name, graph, plan_memory(graph), "t")
