"""The order of a graph's operators that needs the least memory at once.

After "Neural networks on microcontrollers: saving memory at inference via operator reordering" (arXiv 1910.05110): the
state of a run is the set of operators that have run, from which follows what is alive. Sets are bit masks here.
"""

from dataclasses import dataclass

from .graph import Graph
from .memory import MemoryRules, aligned, plan_memory

EXACT_STATES = 20_000
STREAM_STATES = 32
"""Of a network that listens hop by hop: the cut of each new state may stand anywhere, in 2**layers combinations."""


@dataclass(frozen=True)
class _Needs:
    """By operator: who must have run before it, what it allocates and its scratch; by buffer: its bytes and readers."""

    before: tuple[int, ...]
    writes_bytes: tuple[int, ...]
    scratch_bytes: tuple[int, ...]
    touches: tuple[tuple[str, ...], ...]
    nbytes: dict[str, int]
    users: dict[str, int]


@dataclass(frozen=True, order=True)
class _State:
    """The least peak on the way to a set of operators that have run, the bytes alive after it, and the way."""

    peak_bytes: int
    alive_bytes: int
    order: tuple[int, ...]


def best_order(graph: Graph, rules: MemoryRules | None = None, exact_states: int | None = None) -> Graph:
    """The graph with its operators in the order that needs the least memory; itself where no order needs less.

    Orders are compared by the bytes alive together, without in-place writes, and the best against the given one by its
    plan. All are tried while a step has at most ``exact_states`` sets, which finds the optimum; beyond, the best so
    many sets are kept: by default ``STREAM_STATES`` of a graph with states, ``EXACT_STATES`` of any other.
    """
    exact_states = exact_states or (STREAM_STATES if graph.states else EXACT_STATES)
    rules = rules or MemoryRules()
    if _is_chain(graph):
        return graph
    operators = tuple(graph.operators[index] for index in _search(graph, rules, exact_states))
    reordered = Graph(graph.tensors, operators, graph.inputs, graph.outputs, graph.weights)
    return min(graph, reordered, key=lambda candidate: plan_memory(candidate, rules).peak_bytes)


def _is_chain(graph: Graph) -> bool:
    """Whether each operator reads what the one before it wrote, so that there is but one order."""
    pairs = zip(graph.operators, graph.operators[1:], strict=False)
    return all(set(first.outputs) & set(second.inputs) for first, second in pairs)


def _search(graph: Graph, rules: MemoryRules, exact_states: int) -> tuple[int, ...]:
    needs = _needs(graph, rules)
    start_bytes = sum(needs.nbytes[name] for name in graph.inputs)
    states = {0: _State(start_bytes, start_bytes, ())}
    for _ in graph.operators:
        following: dict[int, _State] = {}
        for ran, state in states.items():
            for index in range(len(graph.operators)):
                if ran >> index & 1 or needs.before[index] & ~ran:
                    continue
                now = ran | 1 << index
                reached = _after(state, index, now, needs)
                if now not in following or reached < following[now]:
                    following[now] = reached
        if len(following) > exact_states:
            following = dict(sorted(following.items(), key=lambda item: item[1])[:exact_states])
        states = following
    (end,) = states.values()
    return end.order


def _after(state: _State, index: int, now: int, needs: _Needs) -> _State:
    """The state once operator ``index`` has run, and with it the set ``now``."""
    during = state.alive_bytes + needs.writes_bytes[index]
    freed = sum(needs.nbytes[name] for name in needs.touches[index] if not needs.users[name] & ~now)
    peak_bytes = max(state.peak_bytes, during + needs.scratch_bytes[index])
    return _State(peak_bytes, during - freed, (*state.order, index))


def _needs(graph: Graph, rules: MemoryRules) -> _Needs:
    maker = {name: index for index, operator in enumerate(graph.operators) for name in operator.outputs}
    owner = {name: name for name in (*graph.inputs, *maker)}
    users = dict.fromkeys(owner, 0)
    before, writes, scratch, touches = [], [], [], []
    for index, operator in enumerate(graph.operators):
        read = [name for name in operator.inputs if name in owner]
        before.append(sum({1 << maker[name] for name in read if name in maker}))
        if rules.shares_views and operator.kind == "view" and read:
            owner.update(dict.fromkeys(operator.outputs, owner[read[0]]))
        touched = dict.fromkeys(owner[name] for name in (*read, *operator.outputs))
        for name in touched:
            users[name] |= 1 << index
        touches.append(tuple(touched))
        made = [name for name in operator.outputs if owner[name] == name]
        writes.append(sum(aligned(graph.tensors[name].nbytes, rules.alignment_bytes) for name in made))
        asked = rules.workspace(operator, graph) if rules.workspace else ()
        scratch.append(sum(aligned(nbytes, rules.alignment_bytes) for nbytes in asked))
    # A result that was promised is never free: it waits for an operator that does not come.
    never = 1 << len(graph.operators)
    for name in graph.outputs:
        if name in owner:
            users[owner[name]] |= never
    nbytes = {name: aligned(graph.tensors[name].nbytes, rules.alignment_bytes) for name in owner}
    return _Needs(tuple(before), tuple(writes), tuple(scratch), tuple(touches), nbytes, users)
