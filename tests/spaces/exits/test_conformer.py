"""Conformers that answer early: each exit is what the network cut there answers, and stages give the same."""

import random

import pytest
import torch
from torch import nn

from repareto.spaces.conformer.network import ConformerCTC, cut
from repareto.spaces.errors import UserError
from repareto.spaces.exits.conformer import ConformerExits
from repareto.spaces.exits.network import AllAnswers, fuse_all_answers
from repareto.spaces.hidden import HiddenLayers
from repareto.spaces.space import SearchSpace, load_space
from repareto.spaces.sparsity.slicing import slice_zeros, sliced_to_levels
from repareto.spaces.sparsity.widths import BLOCK
from tests.spaces.conformer.test_network import BLOCKS, SHAPE, TOKENS, X
from tests.spaces.exits.test_network import run
from tests.spaces.networks import randomise_norms

SMALL = {
    "blocks": BLOCKS, "width": 16, "strides": 1, "dropout": 0, "stochastic_depth": 0, "intermediate_weight": 0.4,
}  # fmt: skip


def space(exits: object, **values: object) -> SearchSpace:
    return load_space({"name": "conformer_ctc", **SMALL, **values, "exits": exits})


def network(**exits: object) -> ConformerExits:
    """Exits behind the first and the third of four blocks."""
    searched = space({"count": 2, "head": "shared", **exits})
    candidate = searched.candidate({**searched.middle(), "exits.place1": 0.9, "exits.place2": 0.1})
    torch.manual_seed(0)
    model = searched.build(candidate, SHAPE, TOKENS)
    assert isinstance(model, ConformerExits) and model.depths == (1, 3)
    return model


def test_what_answers_early_is_the_network_cut_there() -> None:
    model = randomise_norms(network().eval())
    fused, report = fuse_all_answers(model, X)
    assert report.ok and report.fused_blocks > 0
    for whole in (model, fused):
        assert isinstance(whole, ConformerExits)
        answers = AllAnswers(whole)(X)
        expected = [cut(model.network, depth)(X) for depth in (1, 3, BLOCKS)]
        torch.testing.assert_close(answers, torch.stack(expected, 1), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(torch.stack(run(whole.stages(), X), 1), answers)
        torch.testing.assert_close(whole(X), answers[:, -1])
        assert not any(stage.training for stage in whole.stages())


def test_nothing_is_stored_twice() -> None:
    model = network()
    assert len(model.heads) == 0
    pointers = [value.data_ptr() for value in model.state_dict().values()]
    assert len(pointers) == len(set(pointers))


def test_own_heads_answer_for_themselves_and_leave_the_network_what_it_was() -> None:
    own, shared = network(head="own").eval(), network().eval()
    torch.testing.assert_close(own(X), shared(X))
    assert set(own.heads) == {"1", "3"}
    for mine, other in zip(own.answers(X)[:-1], shared.answers(X)[:-1], strict=True):
        assert not torch.allclose(mine, other)
    torch.testing.assert_close(torch.stack(run(own.stages(), X), 1), AllAnswers(own)(X))


def test_early_answers_weigh_what_intermediate_ones_do() -> None:
    weights, answers = zip(*network().eval().weighted_answers(X), strict=True)
    assert weights == pytest.approx((0.6, 0.2, 0.2))
    assert len(answers) == 3


@pytest.mark.parametrize("backbone", ["joint", "balanced", "detached"])
def test_a_detached_head_leaves_the_blocks_before_it_alone(backbone: str) -> None:
    model = network(head="own", backbone=backbone)
    model.weighted_answers(X)[1][1].square().sum().backward()
    reached = [parameter.grad is not None for parameter in model.network.blocks[0].parameters()]
    assert not any(reached) if backbone == "detached" else all(reached)
    assert all(parameter.grad is not None for parameter in model.heads["1"].parameters())


def test_blocks_are_passed_by_in_training() -> None:
    searched = space({"count": 1, "head": "shared"}, stochastic_depth=0.5)
    model = searched.build(searched.middle(), SHAPE, TOKENS)
    torch.manual_seed(0)
    seen = {round(model.weighted_answers(X)[0][1].sum().item(), 3) for _ in range(20)}  # type: ignore[operator]
    assert len(seen) > 1


def test_dimensions_are_of_the_conformer() -> None:
    searched = space({"count": [0, 3]}, blocks=[1, 4])
    for seed in range(30):
        candidate = searched.draw(random.Random(seed))
        own, blocks = candidate.exits(), candidate.integer("blocks")
        count = int(own.pop("count"))
        numbered = {f"{name}{number}" for number in range(1, count + 1) for name in ("place", "head")}
        assert set(own) == (numbered | {"distillation", "backbone"} if count else set())
        model = searched.build(candidate, SHAPE, TOKENS).eval()
        exits = model.exits if isinstance(model, ConformerExits) else 1
        assert exits == 1 + min(count, blocks - 1)
        assert isinstance(model, ConformerExits if exits > 1 else ConformerCTC)


@pytest.mark.parametrize(
    ("exits", "values", "complaint"),
    [
        ({"head": "conv"}, {}, r"space.exits.head: 'conv' is not among \[\"shared\", \"own\"\]"),
        ({"policy": "patience"}, {}, r"space.exits.policy: 'patience' is not among \[\"confidence\", \"entropy\"\]"),
        (
            {"weight": 0.3}, {},
            "space.exits.weight: conformer_ctc weighs early answers by its intermediate_weight",
        ),
        ({"count": 1}, {"intermediate_weight": 0}, "space.intermediate_weight 0: nothing would train"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(exits: object, values: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        space(exits, **values)


def test_channels_are_cut_out_of_all_segments() -> None:
    model = fuse_all_answers(network(head="own").eval(), X)[0]
    with torch.no_grad():
        for block in model.network.blocks:  # type: ignore[union-attr]
            block.first.expand.weight[:8] = 0
            block.first.expand.bias[:8] = 0
    sliced, report = slice_zeros(model, SHAPE)
    assert isinstance(sliced, ConformerExits) and report.removed == 8 * BLOCKS and not report.unknown_operators
    torch.testing.assert_close(AllAnswers(sliced)(X), AllAnswers(model)(X), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.stack(run(sliced.stages(), X), 1), AllAnswers(sliced)(X))
    halved, _ = sliced_to_levels(model, SHAPE, (0.5,))
    parameters = [sum(parameter.numel() for parameter in one.parameters()) for one in (halved, model)]
    assert parameters[0] < 0.7 * parameters[1]


def test_whole_parts_of_blocks_go() -> None:
    assert space({"count": 1}).can_lose_blocks()
    model = fuse_all_answers(network().eval(), X)[0]
    with torch.no_grad():
        for parameter in model.network.blocks[1].second.output.parameters():  # type: ignore[union-attr, index]
            parameter.zero_()
    sliced, report = slice_zeros(model, SHAPE, granularity=BLOCK)
    assert isinstance(sliced, ConformerExits) and report.removed == 1
    assert "second" not in sliced.network.blocks[1].optional_parts()  # type: ignore[operator]
    torch.testing.assert_close(AllAnswers(sliced)(X), AllAnswers(model)(X))


def test_blocks_are_the_layers_that_a_teacher_is_compared_with() -> None:
    model: nn.Module = network().eval()
    layers = HiddenLayers(model)
    with layers.recorded() as seen:
        AllAnswers(model)(X)
    assert len(layers) == BLOCKS and sorted(seen) == list(range(BLOCKS))
