import numpy as np
import onnx
import pytest

from repareto.search.devices.graph import Graph
from repareto.search.devices.latency.microbenchmarks import Network, random_networks
from repareto.search.devices.readers.onnx_reader import read_onnx


@pytest.fixture(scope="module")
def networks() -> list[Network]:
    return random_networks(30, np.random.default_rng(3))


@pytest.fixture(scope="module")
def graphs(networks: list[Network]) -> list[Graph]:
    return [read_onnx(network.model) for network in networks]


def test_they_are_valid_models(networks: list[Network]) -> None:
    for network in networks:
        onnx.checker.check_model(onnx.load_from_string(network.model), full_check=True)


def test_sizes_lie_in_the_range_of_small_models(graphs: list[Graph]) -> None:
    for graph in graphs:
        assert 1e4 <= graph.macs <= 3e7
        assert 0 < graph.parameters <= 300_000
        assert graph.unknown == ()


def test_they_cover_the_kinds_that_small_models_are_made_of(graphs: list[Graph]) -> None:
    kinds = {operator.kind for graph in graphs for operator in graph.operators}
    assert kinds >= {"conv", "depthwise_conv", "linear", "matmul", "pool", "elementwise", "softmax", "reduce"}


def test_the_same_seed_gives_the_same_networks(networks: list[Network]) -> None:
    assert random_networks(30, np.random.default_rng(3)) == networks
    assert random_networks(1, np.random.default_rng(4)) != networks[:1]
