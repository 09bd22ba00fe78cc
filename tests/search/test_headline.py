"""Candidates in a few words."""

import random

import pytest

from repareto.search.headline import headline
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import BUILT_IN, load_space


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"stages": 3, "stage1.width": 8, "stage2.width": 24, "stage1.conv_branches": 2}, "3x2 branches, 24 ch"),
        (
            {"stages": 2, "stage1.width": 8, "stage1.conv_branches": 1, "stage2.conv_branches": 4},
            "2x1-4 branches, 8 ch",
        ),
        ({"stages": 1, "stage1.width": 8, "stage1.conv_branches": 1}, "1x1 branch, 8 ch"),
        ({"blocks": 4, "width": 64, "conv_branches": 3, "exits.count": 2}, "4x3 branches, 64 ch, 2 exits"),
        ({"blocks": 4, "width": 64, "exits.count": 1}, "4 blocks, 64 ch, 1 exit"),
        ({"width": 16, "exits.count": 0, "sparsity.method": "none"}, "16 ch"),
        ({"width": 16, "sparsity.method": "l0", "sparsity.level1": 0.2, "sparsity.level2": 0.6}, "16 ch, 40 % sparse"),
        ({"model": "ic", "training.learning_rate": 0.1}, "model ic"),
        ({"training.learning_rate": 0.012345}, "training.learning_rate 0.0123"),
        ({}, ""),
    ],
)
def test_what_is_told(values, words: str) -> None:
    assert headline(values) == words


def test_the_stages_of_a_network_are_counted() -> None:
    candidate = RepCNN().draw(random.Random(3))
    assert headline(candidate).startswith(f"{candidate['stages']}x")


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_space_has_something_to_tell(name: str) -> None:
    words = headline(load_space({"name": name}).middle())
    assert words and len(words) < 60
