"""A network with exits computes what its chain does, stage by stage, branched and fused."""

import copy

import pytest
import torch
from torch import Tensor, nn

from repareto.spaces.exits.chain import ExitChain
from repareto.spaces.exits.network import BACKBONES, AllAnswers, fuse_all_answers
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from tests.spaces.networks import randomise_norms

SHAPE, CLASSES = (6, 20), 4
X = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(3))


def network(**exits: object) -> ExitChain:
    space = load_space({"name": "repcnn", "stages": 2, "blocks": 2, "width": 8, "exits": {"count": 2, **exits}})
    torch.manual_seed(0)
    model = space.build(space.middle(), SHAPE, CLASSES)
    assert isinstance(model, ExitChain)
    return model


def run(stages: list[nn.Module], x: Tensor) -> list[Tensor]:
    """What a device does that no exit satisfies."""
    answers = []
    for stage in stages[:-1]:
        x, logits = stage(x)
        answers.append(logits)
    return [*answers, stages[-1](x)]


@pytest.mark.parametrize("kind", ["linear", "pool-linear", "conv"])
def test_stages_one_after_the_other_answer_as_the_whole(kind: str) -> None:
    model = randomise_norms(network(head=kind).eval())
    assert isinstance(model, ExitChain)
    fused, report = fuse_all_answers(model, X)
    assert isinstance(fused, ExitChain) and report.ok and report.fused_blocks > 0
    for whole in (model, fused, fused_copy(model)):
        assert isinstance(whole, ExitChain) and whole.exits == 3
        answers = whole.answers(X)
        torch.testing.assert_close(torch.stack(answers, 1), AllAnswers(whole)(X))
        torch.testing.assert_close(torch.stack(run(whole.stages(), X), 1), torch.stack(answers, 1))
        torch.testing.assert_close(whole(X), answers[-1])
        torch.testing.assert_close(torch.stack(answers, 1), torch.stack(model.answers(X), 1), rtol=1e-3, atol=1e-4)


def test_fusion_tells_of_an_early_exit_that_differs() -> None:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, 0, 0, :CLASSES] * torch.rand(())

    model = network().eval()
    model.heads[0] = Odd().eval()
    assert not fuse_all_answers(model, X)[1].ok


def test_the_chain_behind_the_exits_is_what_it_was() -> None:
    settings = {"name": "repcnn", "stages": 2, "blocks": 2, "width": 8}
    with_exits = load_space({**settings, "exits": {"count": 2}})
    plain = load_space(settings)
    torch.manual_seed(0)
    chain = plain.build(plain.middle(), SHAPE, CLASSES).eval()
    torch.testing.assert_close(network().eval()(X), chain(X))
    none = with_exits.candidate({**plain.middle(), **with_exits.middle(), "exits.count": 2})
    assert none["exits.count"] == 2


def test_weights_sum_to_one_with_the_last_exit_first() -> None:
    model = network(weight=0.4).eval()
    weights, answers = zip(*model.weighted_answers(X), strict=True)
    assert weights == (0.6, 0.2, 0.2)
    torch.testing.assert_close(list(answers), [model(X), *model.answers(X)[:-1]])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_detached_heads_leave_the_layers_before_them_alone(backbone: str) -> None:
    model = network(backbone=backbone)
    early = model.weighted_answers(X)[1][1]
    early.square().sum().backward()
    reached = [parameter.grad is not None for parameter in model.segments[0].parameters()]
    assert not any(reached) if backbone == "detached" else all(reached)
    assert all(parameter.grad is not None for parameter in model.heads[0].parameters())


def test_a_copy_shares_nothing_and_a_skeleton_has_the_same_shapes() -> None:
    model = network().eval()
    twin = copy.deepcopy(model)
    for parameter in twin.parameters():
        parameter.data.zero_()
    assert model(X).abs().sum() > 0
    with torch.device("meta"):
        skeleton = fused_copy(network().eval())
    shapes = {name: value.shape for name, value in skeleton.state_dict().items()}
    assert shapes == {name: value.shape for name, value in fused_copy(model).state_dict().items()}
