from pathlib import Path

import pytest
from torch import nn

from repareto.search.devices.boards.board import EthosUBoard, load_board
from repareto.search.devices.boards.ethos_u import EthosU
from repareto.search.devices.boards.skeleton import skeleton
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.lower import lower
from repareto.search.devices.tflite.read import read_tflite
from repareto.spaces.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPARETO_CACHE", str(tmp_path))


def network() -> nn.Module:
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU()]
    return nn.Sequential(*layers, nn.AvgPool2d(16), nn.Flatten(), nn.Linear(16, 4)).eval()


@pytest.mark.parametrize("name", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-256"])
def test_the_skeleton_costs_about_what_the_file_that_ships_costs(name: str) -> None:
    board = load_board(name)
    assert isinstance(board, EthosUBoard)
    device, module = EthosU(board), network()
    graph = lower(read_module(module, (1, 3, 16, 16)), "int8")
    planned = device.profile_lowered(graph)
    shipped = device.measure(convert(module, (1, 3, 16, 16), "int8"), planned)
    assert planned.latency_us.method == shipped.latency_us.method == "simulated"
    assert shipped.value("latency_us") == pytest.approx(planned.value("latency_us"), rel=0.05)
    assert shipped.value("peak_memory_bytes") == pytest.approx(planned.value("peak_memory_bytes"), rel=0.05)
    assert shipped.value("flash_bytes") == pytest.approx(planned.value("flash_bytes"), rel=0.1)
    assert shipped.value("flash_bytes") > graph.parameters / 2
    assert device.profile_lowered(graph) == planned


def test_what_the_processor_runs_is_said() -> None:
    board = load_board("ethos-u55-128")
    assert isinstance(board, EthosUBoard)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LogSoftmax(1))
    profile = EthosU(board).profile_lowered(lower(read_module(layers.eval(), (1, 3, 8, 8)), "int8"))
    assert profile.unknown_operators == ("LOG_SOFTMAX",)
    assert "without LOG_SOFTMAX, which the processor runs" in str(profile.latency_us.error)


def test_a_skeleton_is_the_graph_again() -> None:
    graph = lower(read_module(network(), (1, 3, 16, 16)), "int8")
    assert read_tflite(skeleton(graph)).digest == graph.digest
    assert skeleton(graph) == skeleton(graph)


def test_a_float_graph_has_no_skeleton() -> None:
    with pytest.raises(UserError, match="a skeleton is made of int8 graphs; this one holds float32"):
        skeleton(lower(read_module(network(), (1, 3, 16, 16)), "fp32"))


def test_weights_as_torch_draws_them_need_no_more_flash_than_planned() -> None:
    board, module = load_board("ethos-u55-128"), nn.Sequential(nn.Conv2d(16, 64, 3), nn.Conv2d(64, 64, 3)).eval()
    assert isinstance(board, EthosUBoard)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.1, 0.1)
    planned = EthosU(board).profile_lowered(lower(read_module(module, (1, 16, 8, 8)), "int8"))
    shipped = EthosU(board).measure(convert(module, (1, 16, 8, 8), "int8"), planned)
    assert shipped.value("flash_bytes") <= 1.005 * planned.value("flash_bytes")


def test_a_file_is_simulated_as_it_is() -> None:
    board = load_board("ethos-u55-128")
    assert isinstance(board, EthosUBoard)
    content = convert(network(), (1, 3, 16, 16), "int8")
    graph = read_tflite(content)
    profile = EthosU(board).profile_file(content, graph)
    assert profile.value("latency_us") == EthosU(board).simulate(content).latency_us
    assert profile.value("macs") == graph.macs
