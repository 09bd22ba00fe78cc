"""What a Conformer answers before its last block, and what is left when it is cut there."""

import pytest
import torch
from torch import nn

from repareto.spaces.conformer.network import ConformerCTC, cut
from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from tests.spaces.networks import randomise_norms

SHAPE, TOKENS, BLOCKS = (6, 24), 5, 4
X = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))


def network(**values: object) -> ConformerCTC:
    space = ConformerSpace()
    small = {"blocks": BLOCKS, "width": 16, "dropout": 0.0, "stochastic_depth": 0.0, "intermediate_weight": 0.3}
    torch.manual_seed(0)
    model = space.build(space.candidate(dict(space.middle()) | small | values), SHAPE, TOKENS)
    assert isinstance(model, ConformerCTC)
    return model


@pytest.mark.parametrize("depth", range(1, BLOCKS + 1))
def test_cut_computes_what_the_first_blocks_do(depth: int) -> None:
    model = randomise_norms(network().eval())
    assert isinstance(model, ConformerCTC)
    hidden = model.subsampling(X)
    for block in list(model.blocks)[:depth]:
        hidden = block(hidden, model.rotation)
    for whole in (model, fused_copy(model)):
        assert isinstance(whole, ConformerCTC)
        shorter = cut(whole, depth)
        assert len(shorter.blocks) == depth and len(whole.blocks) == BLOCKS
        torch.testing.assert_close(shorter(X), model.head(hidden), rtol=1e-4, atol=1e-5)
        assert not {parameter.data_ptr() for parameter in shorter.parameters()} & {
            parameter.data_ptr() for parameter in whole.parameters()
        }


@pytest.mark.parametrize("depth", [0, BLOCKS + 1])
def test_a_depth_that_there_is_not_is_refused(depth: int) -> None:
    with pytest.raises(UserError, match=rf"depth {depth}: the network has {BLOCKS} blocks \(cut it at 1 to {BLOCKS}\)"):
        cut(network(), depth)


def test_early_answers_are_of_every_depth_but_the_last() -> None:
    model = network().eval()
    answers = [cut(model, depth)(X) for depth in range(1, BLOCKS + 1)]
    seen = set()
    for _ in range(60):
        (last_weight, last), (weight, early) = model.weighted_answers(X)
        assert (last_weight, weight) == (0.7, 0.3)
        torch.testing.assert_close(last, answers[-1])
        seen.update(depth for depth, answer in enumerate(answers[:-1], 1) if torch.equal(answer, early))
    assert seen == {1, 2, 3}


@pytest.mark.parametrize("values", [{"intermediate_weight": 0.0}, {"blocks": 1}])
def test_without_weight_or_depth_the_last_block_answers_alone(values: dict[str, object]) -> None:
    model = network(**values).eval()
    ((weight, logits),) = model.weighted_answers(X)
    assert weight == 1.0
    torch.testing.assert_close(logits, model(X))


def test_blocks_are_passed_by_in_training_alone_and_the_later_the_more_often() -> None:
    model = network(stochastic_depth=0.5)
    runs = [0] * BLOCKS

    def counting(place: int) -> object:
        def count(*_: object) -> None:
            runs[place] += 1

        return count

    for place, block in enumerate(model.blocks):
        block.register_forward_hook(counting(place))  # type: ignore[arg-type]
    torch.manual_seed(0)
    for _ in range(400):
        model(X[:1].expand(2, -1, -1))
    expected = [400 * (1 - 0.5 * number / BLOCKS) for number in range(1, BLOCKS + 1)]
    assert all(abs(seen - wanted) < 40 for seen, wanted in zip(runs, expected, strict=True)), (runs, expected)
    runs[:] = [0] * BLOCKS
    model.eval()(X)
    assert runs == [1] * BLOCKS


def test_shorter_inputs_give_fewer_steps() -> None:
    model: nn.Module = network(strides=2).eval()
    assert model(X[..., :13]).shape == (3, 4, TOKENS)
