import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from repareto.search.devices.boards.board import CortexMBoard, load_board
from repareto.search.devices.boards.cortex_m import CortexM, cmsis_nn_dsp_workspace, cmsis_nn_mve_workspace
from repareto.search.devices.fusion import fuse_kernels
from repareto.search.devices.graph import Graph
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.lower import lower
from repareto.spaces.fusion import fused_copy
from repareto.spaces.repcnn import RepCNN


def board(name: str) -> CortexMBoard:
    loaded = load_board(name)
    assert isinstance(loaded, CortexMBoard)
    return loaded


def lowered(module: nn.Module, *shape: int) -> Graph:
    return lower(read_module(module.eval(), (1, *shape)), "int8")


def separable(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs), nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1), nn.ReLU(),
    ]  # fmt: skip


def keyword_spotting() -> Graph:
    stem = [nn.ZeroPad2d((1, 1, 4, 5)), nn.Conv2d(1, 64, (10, 4), 2), nn.ReLU()]
    blocks = [layer for _ in range(4) for layer in separable(64, 64)]
    return lowered(nn.Sequential(*stem, *blocks, nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(64, 12)), 1, 49, 10)


def visual_wake_words() -> Graph:
    widths = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 128, 2)]
    widths += [(128, 128, 1)] * 5 + [(128, 256, 2), (256, 256, 1)]
    blocks = [layer for inputs, outputs, stride in widths for layer in separable(inputs, outputs, stride)]
    stem = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()]
    return lowered(nn.Sequential(*stem, *blocks, nn.AvgPool2d(3), nn.Flatten(), nn.Linear(256, 2)), 3, 96, 96)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.side = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.side(x))


def image_classification() -> Graph:
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    stem = [nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU()]
    return lowered(nn.Sequential(*stem, *blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10)), 3, 32, 32)


def anomaly_detection() -> Graph:
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640]
    layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
    return lowered(nn.Sequential(*layers[:-1]), 640)


# The reference networks of MLPerf Tiny: MACs, and inferences a second of v1.1 (closed, Krai): on a Cortex-M4 at 120 MHz
# with CMSIS-NN, and on a Cortex-M7 at 280 MHz with X-CUBE-AI.
PUBLISHED = [
    (keyword_spotting, 2_656_768, 10.019, 60.988),
    (visual_wake_words, 7_489_664, 3.324, 19.867),
    (image_classification, 12_501_632, 2.567, 18.215),
    (anomaly_detection, 264_192, 116.212, 547.234),
]


@pytest.mark.parametrize(("network", "macs", "on_m4", "on_m7"), PUBLISHED)
def test_latencies_lie_where_the_boards_say_beside_the_published_ones(
    network: Callable[[], Graph], macs: int, on_m4: float, on_m7: float
) -> None:
    graph = network()
    assert graph.macs == macs
    estimate = CortexM(board("cortex-m4")).latency(graph)
    assert estimate.value == pytest.approx(1e6 / on_m4, rel=0.05)
    assert estimate.low is estimate.high is None and "about ±40%: " in str(estimate.error)
    # X-CUBE-AI is faster than CMSIS-NN, so this is below the middle.
    faster, share = CortexM(board("cortex-m7")).latency(graph), board("cortex-m7").error_share
    assert (1 - share) * faster.value < 1e6 / on_m7 < faster.value


def test_the_times_of_the_layers_make_the_latency() -> None:
    graph = image_classification()
    for name in ("cortex-m4", "cortex-m7", "cortex-m55"):
        device = CortexM(board(name))
        times = device.layer_times_us(graph)
        assert len(times) == len(fuse_kernels(graph))
        assert all(time > 0 for time in times)
        assert sum(times) == pytest.approx(device.latency(graph).value)


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55"])
def test_no_plan_is_below_what_the_runtime_measures(name: str) -> None:
    device, space = CortexM(board(name)), RepCNN()
    for seed in range(4):
        shape = (40, 101) if seed % 2 else (1, 49, 10)
        module = fused_copy(space.build(space.draw(random.Random(seed)), shape, 12).eval())
        planned = device.profile_lowered(lower(read_module(module, (1, *shape)), "int8"))
        content = convert(module, (1, *shape), "int8", labels=[f"word {number}" for number in range(12)])
        measured = device.measure(content, planned)
        assert measured.peak_memory_bytes.method == "measured"
        assert measured.peak_memory_bytes.value <= planned.peak_memory_bytes.value
        assert measured.flash_bytes.value == len(content)
        assert len(content) <= planned.flash_bytes.value <= len(content) + 1024


def test_scratch_buffers_as_cmsis_nn_asks_for_them() -> None:
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),  # 27 values a window
        nn.Conv2d(6, 6, 1),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 5, padding=2, groups=6),
        nn.AvgPool2d(8),
    )
    graph = lowered(layers, 3, 8, 8)
    dsp = [cmsis_nn_dsp_workspace(operator, graph) for operator in graph.operators]
    assert dsp[:5] == [(2 * 2 * 28,), (), (), (2 * 6 * 25,), (4 * 6,)]
    mve = [cmsis_nn_mve_workspace(operator, graph) for operator in graph.operators]
    assert mve[:5] == [(4 * 32,), (), (4 * 124 * 9,), (4 * 124 * 25,), ()]


def test_code_counts_once_where_the_board_knows_it(tmp_path: Path) -> None:
    text = (
        'name = "mine"\nkind = "cortex-m"\ndescription = "x"\nclock_hz = 1e8\nkernels = "reference"\norigin = "x"\n'
        'error = "x"\nerror_share = 0.1\n'
        "[cost]\nCONV_2D.cycles_per_mac = 1\nDEPTHWISE_CONV_2D.cycles_per_mac = 1\n"
        "FULLY_CONNECTED.cycles_per_mac = 1\nOTHER.cycles_per_mac = 1\n"
        "[code_bytes]\nRUNTIME = 1000\nCONV_2D = 200\nFULLY_CONNECTED = 30\nSOFTMAX = 4\n"
    )
    path = tmp_path / "mine.toml"
    path.write_text(text)
    graph = lowered(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2)), 3, 8, 8)
    with_code = CortexM(board(str(path))).profile_lowered(graph).flash_bytes
    without = CortexM(board("cortex-m4")).profile_lowered(graph).flash_bytes
    assert with_code.value - without.value == 1230
    assert "code of the kernels is not counted" in str(without.error)
    device = CortexM(board(str(path)))
    shipped = device._flash(graph, 5000, "measured", "the file")
    assert (shipped.value, shipped.method) == (6230, "measured")


def test_helium_keeps_a_sum_for_each_output_of_a_product() -> None:
    graph = lowered(nn.Sequential(nn.Flatten(), nn.Linear(64, 100)), 1, 8, 8)
    dsp, mve = (CortexM(board(name)).profile_lowered(graph) for name in ("cortex-m4", "cortex-m55"))
    assert mve.value("peak_memory_bytes") - dsp.value("peak_memory_bytes") == 4 * 100
