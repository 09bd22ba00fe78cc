"""What each layer costs: sums that agree with the whole."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repareto.search.devices.fusion import fuse_kernels
from repareto.search.devices.graph import Graph, Operator, TensorInfo
from repareto.search.devices.memory import MemoryRules, plan_memory
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.devices.report.layers import layer_table, live_bytes_by_step, peak_step, plan_steps
from repareto.spaces.fusion import fused_copy
from repareto.spaces.mlperf_tiny import PUBLISHED, MLPerfTiny


def reference(model: str) -> Graph:
    published, space = PUBLISHED[model], MLPerfTiny()
    with torch.device("meta"):
        trained = space.build(space.candidate({"model": model}), published.input_shape, published.classes).eval()
    return read_module(fused_copy(trained), (1, *published.input_shape))


def net() -> Graph:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d((6, 4)), nn.Flatten(), nn.Linear(8, 2)
    ).eval()
    return read_module(module, (1, 3, 6, 4))


def test_each_row_by_hand() -> None:
    graph = net()
    first, pool, view, last = layer_table(graph, plan_memory(graph), (4.0, 1.0, 0.0, 2.0))
    assert (first.name, first.operator, first.output_shape) == ("0", "convolution + relu", (1, 8, 6, 4))
    assert first.macs == 24 * 8 * 27
    assert first.weight_bytes == 4 * (8 * 27 + 8)
    assert first.moved_bytes == 4 * (24 * 3 + 24 * 8) + first.weight_bytes
    assert first.live_bytes == 4 * (24 * 3 + 24 * 8)
    assert first.makes_peak and not pool.makes_peak
    assert (pool.macs, pool.moved_bytes, pool.live_bytes) == (0, 4 * (24 * 8 + 8), 4 * (24 * 8 + 8))
    assert (view.operator, view.moved_bytes, view.live_bytes) == ("view", 0, 32)
    assert (last.name, last.operator, last.macs, last.output_shape) == ("4", "addmm", 16, (1, 2))
    assert [row.time_us for row in (first, pool, view, last)] == [4.0, 1.0, 0.0, 2.0]


def test_without_times_there_are_none() -> None:
    graph = net()
    assert {row.time_us for row in layer_table(graph, plan_memory(graph))} == {None}


def test_a_fused_activation_of_tflite_is_named() -> None:
    tensors = {name: TensorInfo(name, shape, "int8", 16) for name, shape in (("x", (1, 4, 4, 1)), ("y", (1, 4, 4, 1)))}
    attributes = (("operator", "CONV_2D"), ("fused_activation", "RELU6"))
    graph = Graph.of(tensors, [Operator("conv", "a", ("x",), ("y",), 16, attributes)], ("x",), ("y",))
    (row,) = layer_table(graph, plan_memory(graph))
    assert (row.name, row.operator) == ("a", "CONV_2D + RELU6")


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(sorted(PUBLISHED)))
def test_the_rows_add_up_to_the_whole(model: str) -> None:
    graph = reference(model)
    plan = plan_memory(graph, MemoryRules(alignment_bytes=1))
    rows = layer_table(graph, plan)
    assert len(rows) == len(fuse_kernels(graph))
    assert sum(row.macs for row in rows) == graph.macs == PUBLISHED[model].macs
    assert sum(row.weight_bytes for row in rows) == graph.weight_bytes
    assert [row.makes_peak for row in rows].count(True) == 1
    peak = next(row for row in rows if row.makes_peak)
    assert peak.live_bytes == plan.lower_bound_bytes == max(row.live_bytes for row in rows)
    assert all(row.moved_bytes >= row.weight_bytes for row in rows)
    # Whatever is read or written is alive, but for weights.
    assert all(row.live_bytes >= row.moved_bytes - row.weight_bytes for row in rows if "add" not in row.operator)


def test_live_bytes_beyond_the_last_step_are_cut() -> None:
    plan = plan_memory(net())
    assert len(live_bytes_by_step(plan, 2)) == 2
    assert live_bytes_by_step(plan, 2) == live_bytes_by_step(plan, 4)[:2]


def test_a_runtime_that_fuses_nothing_counts_in_operators() -> None:
    graph = net()
    plan = plan_memory(graph, MemoryRules(fuses_activations=False, in_place_kinds=frozenset(), alignment_bytes=1))
    assert len(plan_steps(graph, plan)) == 5
    assert peak_step(graph, plan) == 1  # the activation, which reads and writes the largest tensor
    first, *others = layer_table(graph, plan)
    assert first.makes_peak and first.live_bytes == 2 * 4 * 24 * 8
    assert not any(row.makes_peak for row in others)


def test_a_graph_without_operators_has_no_peak() -> None:
    graph = Graph.of({"x": TensorInfo("x", (1, 4), "float32", 16)}, [], ("x",), ("x",))
    assert peak_step(graph, plan_memory(graph)) is None
    assert layer_table(graph, plan_memory(graph)) == ()
