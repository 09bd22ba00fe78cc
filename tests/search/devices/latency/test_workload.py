import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

from repareto.search.devices.fusion import with_joined_pads
from repareto.search.devices.host.onnx_quantize import quantised_graph
from repareto.search.devices.latency.samples import Sample, onnx_model, random_samples
from repareto.search.devices.latency.workload import Work, litert_work, onnx_runtime_work, plain_work, total_terms
from repareto.search.devices.readers.onnx_reader import read_onnx
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.models import fused_skeleton
from repareto.spaces.repcnn import RepCNN


def works(module: nn.Module, *shape: int) -> list[Work]:
    return list(onnx_runtime_work(read_module(module.eval(), shape)))


def kinds(module: nn.Module, *shape: int) -> list[str]:
    return [work.kind for work in works(module, *shape)]


def test_plain_work_moves_each_byte_of_a_kernel_once() -> None:
    module = nn.Sequential(nn.Conv1d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten())
    (work,) = plain_work(read_module(module.eval(), (1, 4, 10)))
    moved = 4 * 10 + 8 * 4 * 3 + 8 + 8 * 10
    assert work == Work("conv", macs=8 * 10 * 12, nbytes=4 * moved, kernel=0)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.Conv2d(8, 24, 3, padding=1), (1, 8, 5, 5), ["nchw"]),
        (nn.Conv2d(20, 24, 3, padding=1), (1, 20, 5, 5), ["reorder_input", "nchwc"]),
        (nn.Conv2d(16, 16, 1), (1, 16, 5, 5), ["reorder_input", "pointwise"]),
        (nn.Conv2d(16, 16, 3, groups=16), (1, 16, 5, 5), ["reorder_input", "depthwise"]),
        (nn.Conv2d(8, 7, 3), (1, 8, 6, 9), ["matrix_conv2d"]),
        (nn.Conv1d(8, 8, 3), (1, 8, 10), ["matrix_conv1d"]),
        (nn.Conv1d(8, 8, 3, groups=8), (1, 8, 10), ["grouped_conv1d"]),
    ],
    ids=["few channels", "full", "pointwise", "depthwise", "unaligned", "1d", "1d depthwise"],
)
def test_the_kernel_of_a_convolution(module: nn.Module, shape: tuple[int, ...], expected: list[str]) -> None:
    assert kinds(module, *shape) == expected


def test_blocks_are_reordered_only_where_another_layout_is_read() -> None:
    chain = nn.Sequential(nn.Conv2d(1, 20, 3), nn.ReLU(), nn.Conv2d(20, 32, 1), nn.AvgPool2d(6), nn.Flatten())
    assert kinds(chain, 1, 1, 8, 8) == ["nchw", "pointwise", "blocked_pool", "reorder_output", "view"]
    odd = nn.Sequential(nn.Conv2d(1, 20, 3), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(20, 3))
    assert kinds(odd, 1, 1, 8, 8) == ["nchw", "reorder_output", "pool", "view", "linear"]


@pytest.mark.parametrize(("shape", "seed"), [((1, 8, 8), 0), ((40, 51), 1), ((1, 49, 10), 2), ((40, 51), 3)])
def test_the_plan_is_that_of_the_runtime(shape: tuple[int, ...], seed: int, tmp_path: Path) -> None:
    """Layout changes and kernels as ONNX Runtime itself places them, in the model that it writes after optimising."""
    if not blocks_are_used(tmp_path):
        pytest.skip("this processor has no blocked kernels of 16 channels")
    space = RepCNN()
    module = fused_skeleton(space, space.draw(random.Random(seed)), shape, 10)
    sample = Sample(module, (1, *shape))  # type: ignore[arg-type]
    found = optimised(onnx_model(sample), tmp_path)
    graph = with_joined_pads(read_module(module, sample.input_shape))
    planned = [work.kind for work in onnx_runtime_work(graph)]
    names = {"reorder_input": "ReorderInput", "reorder_output": "ReorderOutput", "linear": "Gemm"}
    names |= {"pool": "AveragePool", "blocked_pool": "AveragePool", "elementwise": "Mul"}
    plan = [names.get(kind, "Conv") for kind in planned if kind != "view"]
    assert sorted(plan) == sorted(found)
    # When a result that several read is reordered, is the runtime's own choice.
    assert [kind for kind in plan if "Reorder" not in kind] == [kind for kind in found if "Reorder" not in kind]


def optimised(model: bytes, folder: Path) -> list[str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    return [node.op_type for node in nodes if node.op_type not in ("Reshape", "Flatten")]


def blocks_are_used(folder: Path) -> bool:
    module = nn.Sequential(nn.Conv2d(20, 20, 1)).to("meta")
    return "ReorderInput" in optimised(onnx_model(Sample(module, (1, 20, 4, 4))), folder)


def test_the_terms_of_torch_and_onnx_graphs_are_the_same() -> None:
    for sample in random_samples(8, np.random.default_rng(5)):
        direct = onnx_runtime_work(read_module(sample.module, sample.input_shape))
        assert total_terms(onnx_runtime_work(read_onnx(onnx_model(sample)))) == total_terms(direct)


def test_terms_of_one_layer() -> None:
    (_, work) = works(nn.Conv2d(32, 32, 1), 1, 32, 1, 13)
    terms = dict(work.terms)
    # 13 positions are two groups of six and one alone; 32 outputs are two blocks at once.
    assert terms["pointwise.wide_cycles"] == 32 * 2 * 6
    assert terms["pointwise.rest_cycles"] == 32 * 4
    assert terms["pointwise.calls"] == 1
    assert terms["weights.bytes"] == 4 * 32 * 32
    assert (work.kernel, work.macs) == (0, 32 * 32 * 13)


def test_far_weights_count_only_where_a_network_outgrows_the_cache() -> None:
    def far(layers: int) -> float:
        module = nn.Sequential(*(nn.Conv2d(96, 96, 7, padding=3) for _ in range(layers)))
        return total_terms(works(module, 1, 96, 8, 8)).get("weights.far_bytes", 0.0)

    assert far(2) == pytest.approx(2 * 4 * 96 * 96 * 49)
    assert 0 < far(1) < far(2) / 2
    assert total_terms(works(nn.Conv2d(96, 96, 5, padding=2), 1, 96, 8, 8)).get("weights.far_bytes", 0.0) == 0


def test_int8_and_litert_count_all_kernels_but_views() -> None:
    from repareto.search.devices.tflite.lower import lower

    (sample,) = random_samples(1, np.random.default_rng(5))
    graph = read_module(sample.module, sample.input_shape)
    for found in (
        onnx_runtime_work(quantised_graph(graph)),
        litert_work(lower(graph, "int8")),
        litert_work(lower(graph, "fp32")),
    ):
        assert sum(work.macs for work in found) == graph.macs
        assert all(work.terms and all(value > 0 for _, value in work.terms) for work in found)


def test_views_are_a_call_and_nothing_more() -> None:
    (view,) = works(nn.Flatten(), 1, 8, 10)
    assert view.terms == (("view.calls", 1.0),)
