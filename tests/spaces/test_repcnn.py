"""The first search space: every candidate builds, fuses exactly and is known before it is trained."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from repareto.spaces.branches import BranchedConv
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.repcnn import RepCNN
from repareto.spaces.space import Candidate, Choice, Float, Int, load_space
from tests.spaces.networks import NORMS, randomise_norms

SHAPES = [(12, 21), (5, 1), (3, 9, 7), (1, 8, 8)]
# Narrow, so that the tests are quick; every kernel size, stride and topology of the space is drawn.
SPACE = RepCNN(width=Int(4, 16, step=4), stages=Int(1, 3))


def built(candidate: Candidate, shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A model whose batch statistics are not those that it starts with."""
    torch.manual_seed(seed)
    return randomise_norms(SPACE.build(candidate, shape, 5).to(dtype).eval(), seed)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES))
def test_every_candidate_builds_and_fuses(seed: int, shape: tuple[int, ...]) -> None:
    candidate = SPACE.draw(random.Random(seed))
    assert SPACE.candidate(dict(candidate)) == candidate
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed))
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        model = built(candidate, shape, seed % 2**31, dtype)
        fused, report = fuse(model, inputs.to(dtype))
        assert fused(inputs.to(dtype)).shape == (2, 5)
        assert report.ok and report.largest_relative_difference <= tolerance
        assert not any(isinstance(module, (*NORMS, BranchedConv)) for module in fused.modules())
        assert report.fused_blocks == sum(isinstance(module, BranchedConv) for module in model.modules())


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES))
def test_the_skeleton_has_the_shapes_of_the_fused_trained_model(seed: int, shape: tuple[int, ...]) -> None:
    candidate = SPACE.draw(random.Random(seed))
    with torch.device("meta"):
        skeleton = fused_copy(SPACE.build(candidate, shape, 5).eval())
    fused = fused_copy(built(candidate, shape, 0))

    def shapes(model: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
        return {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}

    assert shapes(skeleton) == shapes(fused)
    assert all(parameter.is_meta for parameter in skeleton.parameters())
    assert [type(module) for module in skeleton.modules()] == [type(module) for module in fused.modules()]
    assert skeleton(torch.zeros(3, *shape, device="meta")).shape == (3, 5)
    # The weights of the trained model go into a fresh one of the same candidate, as they do at export.
    other = fused_copy(built(candidate, shape, 1))
    other.load_state_dict(fused.state_dict())
    inputs = torch.randn(2, *shape)
    assert torch.equal(other(inputs), fused(inputs))


def settled(**changes: object) -> Candidate:
    """A candidate of one stage with everything at its least, but for ``changes``."""
    values = {
        "form": "full", "stages": 1, "dropout": 0.0, "training.learning_rate": 0.01, "training.weight_decay": 0.001,
        "stage1.width": 8, "stage1.blocks": 1, "stage1.kernel": 3, "stage1.stride": 1, "stage1.conv_branches": 1,
        "stage1.pointwise": False, "stage1.identity": False, "stage1.average": False, "stage1.sequential": False,
        "stage1.small": False, "stage1.squeeze": False,
    }  # fmt: skip
    return RepCNN().candidate({**values, **changes})


def convolutions(candidate: Candidate, shape: tuple[int, ...]) -> list[nn.Conv1d | nn.Conv2d]:
    fused = fused_copy(RepCNN().build(candidate, shape, 5).eval())
    return [module for module in fused.modules() if isinstance(module, nn.Conv1d | nn.Conv2d)]


def weights(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, [3 * 9 * 8 + 8, 8 * 9 * 8 + 8]),
        ({"stage1.kernel": 5}, [3 * 9 * 8 + 8, 8 * 25 * 8 + 8]),
        ({"stage1.blocks": 2}, [3 * 9 * 8 + 8, 8 * 9 * 8 + 8, 8 * 9 * 8 + 8]),
        ({"form": "separable"}, [3 * 9 * 8 + 8, 9 * 8 + 8, 8 * 8 + 8]),
    ],
)
def test_the_plan_of_a_stage_in_two_dimensions(changes: dict[str, object], counts: list[int]) -> None:
    assert [weights(conv) for conv in convolutions(settled(**changes), (3, 8, 8))] == counts


@pytest.mark.parametrize(
    ("changes", "counts"),
    [({}, [12 * 3 * 8 + 8, 8 * 3 * 8 + 8]), ({"form": "separable"}, [12 * 3 * 8 + 8, 3 * 8 + 8, 8 * 8 + 8])],
)
def test_sound_is_convolved_over_time_alone(changes: dict[str, object], counts: list[int]) -> None:
    assert [weights(conv) for conv in convolutions(settled(**changes), (12, 21))] == counts


@pytest.mark.parametrize("shape", [(12, 20), (3, 20, 20)])
@pytest.mark.parametrize("form", ["full", "separable"])
def test_only_the_first_block_of_a_stage_has_the_stride(form: str, shape: tuple[int, ...]) -> None:
    found = convolutions(settled(**{"form": form, "stage1.stride": 2, "stage1.blocks": 3}), shape)
    assert sum(max(conv.stride) == 2 for conv in found) == 1
    assert max(found[1].stride) == 2


@pytest.mark.parametrize(
    "branch", ["stage1.pointwise", "stage1.identity", "stage1.average", "stage1.sequential", "stage1.small"]
)
@pytest.mark.parametrize("form", ["full", "separable"])
def test_branches_cost_nothing_that_ships(branch: str, form: str) -> None:
    plain, branched = settled(form=form), settled(**{"form": form, branch: True, "stage1.conv_branches": 3})
    trained = [weights(RepCNN().build(candidate, (3, 8, 8), 5)) for candidate in (plain, branched)]
    shipped = [weights(fused_copy(RepCNN().build(candidate, (3, 8, 8), 5).eval())) for candidate in (plain, branched)]
    assert trained[1] > trained[0]
    assert shipped[1] == shipped[0]


def test_dropout_acts_in_training_alone() -> None:
    candidate = settled(dropout=0.3)
    torch.manual_seed(0)
    model = RepCNN().build(candidate, (3, 8, 8), 5)
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [0.3]
    model.eval()
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(model(inputs), model(inputs))


def test_gradients_reach_every_parameter() -> None:
    flags = {f"stage1.{name}": True for name in ("pointwise", "identity", "average", "sequential", "small")}
    model = RepCNN().build(settled(**flags, **{"stage1.conv_branches": 2}), (3, 8, 8), 5)
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_later_stages_exist_only_where_there_are_so_many() -> None:
    space = RepCNN(stages=Int(2, 4))
    for seed in range(30):
        candidate = space.draw(random.Random(seed))
        stages = {name.split(".")[0] for name in candidate if name.startswith("stage") and "." in name}
        assert stages == {f"stage{number}" for number in range(1, candidate.integer("stages") + 1)}
    parents = {p.name: p.parent_values for p in space.parameters() if p.name.endswith(".width")}
    assert parents == {"stage1.width": (), "stage2.width": (), "stage3.width": (3, 4), "stage4.width": (4,)}


def test_names_are_unique_and_each_parent_stands_before_its_children() -> None:
    names = [parameter.name for parameter in RepCNN().parameters()]
    assert len(names) == len(set(names))
    for parameter in RepCNN().parameters():
        if parameter.parent is not None:
            assert names.index(parameter.parent) < names.index(parameter.name)


def test_the_space_of_a_config() -> None:
    space = load_space({"name": "repcnn", "stages": 2, "width": [8, 16], "average": False, "dropout": 0.1})
    assert isinstance(space, RepCNN)
    assert (space.stages, space.width) == (Int(2, 2), Int(8, 16, step=4))
    assert (space.average, space.dropout) == (Choice((False,)), Float(0.1, 0.1))
    candidate = space.middle()
    assert candidate["stages"] == 2 and candidate["dropout"] == 0.1 and candidate["stage2.average"] is False


def test_the_same_generator_state_gives_the_same_weights() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(RepCNN().build(settled(), (3, 8, 8), 5).state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
