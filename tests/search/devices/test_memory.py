import itertools
from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from repareto.search.devices.fusion import fuse_kernels
from repareto.search.devices.graph import Graph, Operator, TensorInfo
from repareto.search.devices.memory import EXECUTORCH, Buffer, MemoryRules, live_buffers, place, plan_memory
from repareto.search.devices.readers.torch_reader import read_module

NEVER_IN_PLACE = MemoryRules(in_place_kinds=frozenset())


@st.composite
def buffers(draw: st.DrawFn, largest_count: int = 12) -> list[Buffer]:
    made = []
    for number in range(draw(st.integers(1, largest_count))):
        first = draw(st.integers(0, 6))
        made.append(Buffer(str(number), draw(st.integers(1, 200)), first, draw(st.integers(first, 7))))
    return made


def peak(offsets: list[tuple[Buffer, int]]) -> int:
    return max(offset + buffer.nbytes for buffer, offset in offsets)


def largest_live_sum(given_buffers: list[Buffer]) -> int:
    return max(sum(b.nbytes for b in given_buffers if b.first <= step <= b.last) for step in range(8))


def best_peak(given_buffers: list[Buffer]) -> int:
    """The optimum: some order of lowest fits reaches it."""
    best = sum(b.nbytes for b in given_buffers)
    for order in itertools.permutations(given_buffers):
        laid: list[tuple[Buffer, int]] = []
        for buffer in order:
            taken = sorted((offset, offset + b.nbytes) for b, offset in laid if b.meets(buffer))
            offset = 0
            for start, end in taken:
                if offset + buffer.nbytes <= start:
                    break
                offset = max(offset, end)
            laid.append((buffer, offset))
        best = min(best, peak(laid))
    return best


@given(buffers(), st.sampled_from([1, 16, 64]))
def test_no_two_live_buffers_overlap(given_buffers: list[Buffer], alignment: int) -> None:
    placements = place(given_buffers, alignment)
    assert {p.buffer for p in placements} == set(given_buffers)
    for one, other in itertools.combinations(placements, 2):
        if one.buffer.meets(other.buffer):
            assert one.end_bytes <= other.offset_bytes or other.end_bytes <= one.offset_bytes
    assert all(p.offset_bytes % alignment == 0 for p in placements)


@settings(deadline=None)
@given(buffers(largest_count=5))
def test_the_greedy_plan_lies_between_the_optimum_and_the_sum(given_buffers: list[Buffer]) -> None:
    greedy = max(p.end_bytes for p in place(given_buffers, alignment_bytes=1))
    best = best_peak(given_buffers)
    assert largest_live_sum(given_buffers) <= best <= greedy <= sum(b.nbytes for b in given_buffers)


def test_first_gap_by_descending_size() -> None:
    laid = place([Buffer("small", 16, 0, 2), Buffer("large", 64, 0, 0), Buffer("late", 48, 1, 2)])
    assert [(p.buffer.name, p.offset_bytes) for p in laid] == [("large", 0), ("late", 0), ("small", 64)]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = ["x"]
    tensors = {"x": TensorInfo("x", (16,), "float32", 64)}
    operators = []
    for number in range(draw(st.integers(1, 8))):
        inputs = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)))
        kind = draw(st.sampled_from(["conv", "elementwise", "activation", "view", "pool"]))
        size = tensors[inputs[0]].nbytes if kind in ("view", "activation") else 16 * draw(st.integers(1, 8))
        name = f"t{number}"
        tensors[name] = TensorInfo(name, (size // 4,), "float32", size)
        operators.append(Operator(kind, name, inputs, (name,), attributes=(("operator", "relu"),)))
        names.append(name)
    return Graph.of(tensors, operators, ["x"], [names[-1]])


def half(operator: Operator, graph: Graph) -> tuple[int, ...]:
    """A workspace of half the result."""
    return (graph.tensors[operator.outputs[0]].nbytes // 2,)


RULES = [
    MemoryRules(),
    EXECUTORCH,
    MemoryRules(latest_first=True),
    MemoryRules(in_place_kinds=frozenset(), shares_views=False, fuses_activations=False, workspace=half),
]


@given(graphs(), st.sampled_from(RULES))
def test_a_plan_is_valid_on_any_graph(graph: Graph, rules: MemoryRules) -> None:
    plan = plan_memory(graph, rules)
    assert plan.peak_bytes >= plan.lower_bound_bytes > 0
    for one, other in itertools.combinations(plan.placements, 2):
        if one.buffer.meets(other.buffer):
            assert one.end_bytes <= other.offset_bytes or other.end_bytes <= one.offset_bytes
    assert all(p.offset_bytes % rules.alignment_bytes == 0 for p in plan.placements)
    assert all(buffer.last < len(plan.steps) for buffer in (p.buffer for p in plan.placements))
    assert plan.lower_bound_bytes <= plan_memory(graph, replace(rules, in_place_kinds=frozenset())).lower_bound_bytes


@given(graphs())
def test_live_bytes_equal_a_step_by_step_simulation(graph: Graph) -> None:
    kernels = fuse_kernels(graph)
    root = {name: name for name in graph.tensors}
    for kernel in kernels:
        if kernel.head.kind == "view":
            root[kernel.outputs[0]] = root[kernel.inputs[0]]
    sums = []
    for step in range(len(kernels)):
        born = {root[n] for k in kernels[: step + 1] for n in k.outputs} | {root["x"]}
        read_later = {root[n] for k in kernels[step:] for n in k.inputs} | {root[n] for n in graph.outputs}
        now = {root[n] for n in kernels[step].outputs}
        sums.append(sum(graph.tensors[n].nbytes for n in born & (read_later | now)))
    assert plan_memory(graph, NEVER_IN_PLACE).lower_bound_bytes == max(sums, default=64)


def test_views_and_fused_activations_need_no_bytes() -> None:
    plain = nn.Sequential(nn.Conv1d(4, 8, 1), nn.Conv1d(8, 2, 1)).eval()
    dressed = nn.Sequential(nn.Conv1d(4, 8, 1), nn.ReLU(), nn.Conv1d(8, 2, 1), nn.Flatten()).eval()
    peaks = [plan_memory(read_module(module, (1, 4, 16)), NEVER_IN_PLACE).peak_bytes for module in (plain, dressed)]
    assert peaks == [(4 + 8) * 16 * 4] * 2


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv1d(4, 4, 3, padding=1), nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.one(x))
        return torch.relu(self.two(y) + y)


def test_a_residual_sum_holds_its_branch_and_runs_in_place() -> None:
    graph = read_module(Sum().eval(), (1, 4, 16))
    one = 4 * 16 * 4
    assert plan_memory(graph).peak_bytes == 2 * one
    plan = plan_memory(graph, NEVER_IN_PLACE)
    assert (plan.peak_bytes, plan.peak_operator) == (3 * one, "add_3")


def test_inputs_and_promised_outputs_are_not_written_over() -> None:
    tensors = {name: TensorInfo(name, (4,), "float32", 16) for name in "xab"}
    operators = [Operator("elementwise", "a", ("x",), ("a",)), Operator("elementwise", "b", ("a",), ("b",))]
    both = Graph.of(tensors, operators, ["x"], ["a", "b"])
    assert len(live_buffers(both, fuse_kernels(both), MemoryRules())) == 3
    last = Graph.of(tensors, operators, ["x"], ["b"])
    assert len(live_buffers(last, fuse_kernels(last), MemoryRules())) == 2


def test_a_graph_without_operators() -> None:
    graph = Graph.of({"x": TensorInfo("x", (5,), "float32", 20)}, [], ["x"], ["x"])
    assert plan_memory(graph).peak_bytes == 32


def one_of_each(*nbytes: int) -> Graph:
    """A chain of operators whose tensors have these sizes."""
    tensors = {f"t{n}": TensorInfo(f"t{n}", (size,), "int8", size) for n, size in enumerate(nbytes)}
    operators = [Operator("conv", f"o{n}", (f"t{n}",), (f"t{n + 1}",)) for n in range(len(nbytes) - 1)]
    return Graph.of(tensors, operators, ["t0"], [f"t{len(nbytes) - 1}"])


def offsets(graph: Graph, rules: MemoryRules) -> dict[str, int]:
    return {p.buffer.name: p.offset_bytes for p in plan_memory(graph, rules).placements}


def test_among_equals_the_first_alive_or_the_last_declared_lies_lowest() -> None:
    graph = one_of_each(20, 30)  # both take 32 bytes when aligned
    assert offsets(graph, MemoryRules()) == {"t1": 0, "t0": 32}
    assert offsets(one_of_each(32, 32), MemoryRules()) == {"t0": 0, "t1": 32}
    assert offsets(graph, MemoryRules(latest_first=True)) == {"t1": 0, "t0": 32}
    assert offsets(one_of_each(30, 20), MemoryRules(latest_first=True)) == {"t1": 0, "t0": 32}


def test_shared_objects_take_what_fits_beside_or_after() -> None:
    # t1 is the first object; t3 is free of it in time; t2 meets both and opens another, which t0 and t4 share.
    assert offsets(one_of_each(16, 64, 32, 48, 16), EXECUTORCH) == {"t1": 0, "t3": 0, "t2": 64, "t4": 64, "t0": 64}
    # t0 is done before the last tensor, but its object was made for it alone: a first gap needs less.
    graph = one_of_each(32, 16, 32, 32)
    assert (plan_memory(graph).peak_bytes, plan_memory(graph, EXECUTORCH).peak_bytes) == (64, 80)


def test_a_copying_view_and_an_activation_of_its_own_take_bytes() -> None:
    module = nn.Sequential(nn.Conv1d(4, 8, 1), nn.ReLU(), nn.Flatten()).eval()
    graph = read_module(module, (1, 4, 16))
    alone = MemoryRules(in_place_kinds=frozenset(), shares_views=False, fuses_activations=False)
    assert plan_memory(graph, NEVER_IN_PLACE).peak_bytes == (4 + 8) * 16 * 4
    assert plan_memory(graph, alone).peak_bytes == 2 * 8 * 16 * 4
    assert len(plan_memory(graph, alone).steps) == 3


def test_a_workspace_lives_while_its_operator_runs() -> None:
    graph = one_of_each(64, 64, 16)
    plan = plan_memory(graph, MemoryRules(workspace=half))
    assert plan.peak_bytes == 64 + 64 + 32
    scratch = {p.buffer.name: p.buffer for p in plan.placements if ":" in p.buffer.name}
    assert [(b.first, b.last, b.nbytes) for b in scratch.values()] == [(0, 0, 32), (1, 1, 8)]
