import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from repareto.search.devices.boards.micro_arena import TFLITE_MICRO
from repareto.search.devices.graph import Graph, Operator, TensorInfo
from repareto.search.devices.memory import MemoryRules, plan_memory
from repareto.search.devices.operator_order import best_order

NEVER_IN_PLACE = MemoryRules(in_place_kinds=frozenset())


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    names = ["x"]
    tensors = {"x": TensorInfo("x", (16,), "int8", 16)}
    operators = []
    for number in range(draw(st.integers(1, 6))):
        inputs = tuple(draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)))
        kind = draw(st.sampled_from(["conv", "elementwise", "view"]))
        size = tensors[inputs[0]].nbytes if kind == "view" else 16 * draw(st.integers(1, 9))
        tensors[f"t{number}"] = TensorInfo(f"t{number}", (size,), "int8", size)
        operators.append(Operator(kind, f"o{number}", inputs, (f"t{number}",)))
        names.append(f"t{number}")
    outputs = draw(st.lists(st.sampled_from(names[1:]), min_size=1, max_size=2, unique=True))
    return Graph.of(tensors, operators, ["x"], outputs)


def orders(graph: Graph) -> list[Graph]:
    """All orders in which each operator comes after those it reads from."""
    found = []
    for operators in itertools.permutations(graph.operators):
        known = set(graph.inputs)
        for operator in operators:
            if not known.issuperset(operator.inputs):
                break
            known.update(operator.outputs)
        else:
            found.append(Graph(graph.tensors, operators, graph.inputs, graph.outputs, graph.weights))
    return found


@settings(deadline=None, max_examples=60)
@given(graphs(), st.sampled_from([NEVER_IN_PLACE, TFLITE_MICRO]))
def test_no_order_has_fewer_bytes_alive(graph: Graph, rules: MemoryRules) -> None:
    best = best_order(graph, rules)
    assert sorted(operator.name for operator in best.operators) == sorted(o.name for o in graph.operators)
    assert any(best.operators == order.operators for order in orders(graph))
    assert plan_memory(best, rules).peak_bytes <= plan_memory(graph, rules).peak_bytes
    least = min(plan_memory(order, rules).lower_bound_bytes for order in orders(graph))
    # The given order stays where no order has a smaller plan.
    assert least <= plan_memory(best, rules).lower_bound_bytes
    if best is not graph:
        assert plan_memory(best, rules).lower_bound_bytes == least


def two_branches(width: int) -> Graph:
    """Each branch makes something large and keeps little of it: one branch after the other needs half."""
    tensors = {"x": TensorInfo("x", (16,), "int8", 16)}
    operators = []
    for step, size in (("large", 1024), ("small", 16)):
        for branch in range(width):
            name, source = f"{step}{branch}", "x" if step == "large" else f"large{branch}"
            tensors[name] = TensorInfo(name, (size,), "int8", size)
            operators.append(Operator("conv", name, (source,), (name,)))
    tensors["sum"] = TensorInfo("sum", (16,), "int8", 16)
    operators.append(Operator("concat", "sum", tuple(f"small{branch}" for branch in range(width)), ("sum",)))
    return Graph.of(tensors, operators, ["x"], ["sum"])


def test_branches_run_one_after_the_other() -> None:
    graph = two_branches(4)
    assert plan_memory(graph, TFLITE_MICRO).peak_bytes > 4 * 1024
    assert plan_memory(best_order(graph, TFLITE_MICRO), TFLITE_MICRO).peak_bytes < 1024 + 6 * 16


def test_a_bounded_search_finds_a_good_order_too() -> None:
    graph = two_branches(8)
    assert plan_memory(best_order(graph, TFLITE_MICRO, exact_states=16), TFLITE_MICRO).peak_bytes < 1024 + 10 * 16


def test_a_chain_stays_as_it_is() -> None:
    graph = two_branches(1)
    assert best_order(graph, TFLITE_MICRO) is graph
