import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.devices.tflite import layout as layouts

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple)


@st.composite
def shapes_and_orders(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    shape = draw(SHAPES)
    return shape, tuple(draw(st.permutations(range(len(shape)))))


def test_channels_last() -> None:
    assert layouts.of_axes((1, 3, 4, 5), (0, 2, 3, 1)) == ((20, 1), (3, 20))
    assert layouts.plain((1, 3, 4, 5)) == ((60, 1),)
    assert layouts.of_axes((1, 1, 1, 1), (0, 2, 3, 1)) == ()


@given(shapes_and_orders())
def test_a_layout_says_where_each_value_lies(case: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    shape, order = case
    values = np.arange(math.prod(shape)).reshape(shape)
    index = layouts.gather_index(layouts.of_axes(shape, order))
    assert (index == values.transpose(order).reshape(-1)).all()


@given(shapes_and_orders(), st.randoms(use_true_random=False))
def test_a_permutation_of_torch_moves_nothing(
    case: tuple[tuple[int, ...], tuple[int, ...]], random: np.random.Generator
) -> None:
    shape, order = case
    turn = list(range(len(shape)))
    random.shuffle(turn)  # type: ignore[arg-type]
    memory = np.arange(math.prod(shape)).reshape(shape).transpose(order).reshape(-1)
    turned = layouts.permuted(layouts.of_axes(shape, order), shape, turn)
    assert turned is not None
    # The same memory, read through the new layout, gives the permuted values in torch's order.
    read = np.empty_like(memory)
    read[layouts.gather_index(turned)] = memory
    assert (read == np.arange(math.prod(shape)).reshape(shape).transpose(turn).reshape(-1)).all()


@given(shapes_and_orders(), st.randoms(use_true_random=False))
def test_a_transposition_makes_one_layout_of_the_other(
    case: tuple[tuple[int, ...], tuple[int, ...]], random: np.random.Generator
) -> None:
    shape, order = case
    other = list(order)
    random.shuffle(other)  # type: ignore[arg-type]
    source, target = layouts.of_axes(shape, order), layouts.of_axes(shape, other)
    step = layouts.transposition(source, target)
    assert step is not None
    seen, permutation = step
    memory = layouts.gather_index(source).reshape(seen).transpose(permutation).reshape(-1)
    assert (memory == layouts.gather_index(target)).all()


def test_pieces_of_the_axes_in_memory() -> None:
    layout = layouts.of_axes((1, 3, 4, 5), (0, 2, 3, 1))
    assert layouts.by_axis(layout, (1, 4, 5, 3)) == [[], [(4, 5)], [(5, 1)], [(3, 20)]]
    assert layouts.by_axis(layout, (60,)) == [[(20, 1), (3, 20)]]
    assert layouts.by_axis(((6, 1),), (2, 3)) == [[(2, 3)], [(3, 1)]]
    assert layouts.by_axis(((6, 1), (2, 6)), (3, 4)) == [[(3, 2)], [(2, 1), (2, 6)]]
    assert layouts.by_axis(((9, 1), (4, 9)), (6, 6)) is None


def test_what_cannot_be_split_is_none() -> None:
    assert layouts.split(((6, 1), (2, 6)), (3, 4)) is None
    assert layouts.split(((2, 1), (6, 2)), (4, 3)) is None
