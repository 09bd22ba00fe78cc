"""Heads, hidden channels and gated channels of a Conformer are cut out, and what is left computes the same."""

import pytest
import torch
from torch import nn

from repareto.spaces.conformer.network import ConformerCTC
from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.sparsity.slicing import slice_to_shipped, slice_zeros, sliced_to_levels
from repareto.spaces.sparsity.space import Sparsity
from repareto.trainers.sparsity import sparsifier_of
from tests.spaces.networks import randomise_norms

SHAPE, HEAD_WIDTH = (6, 24), 8
BLOCK = "blocks.0."


def fused() -> ConformerCTC:
    space = ConformerSpace()
    small = {"blocks": 2, "width": 16, "heads": 3, "head_width": HEAD_WIDTH, "expansion": 2, "strides": 1}
    torch.manual_seed(0)
    model = fused_copy(randomise_norms(space.build(space.candidate(dict(space.middle()) | small), SHAPE, 5).eval()))
    assert isinstance(model, ConformerCTC)
    return model


@pytest.mark.parametrize(
    ("zeroed", "cut"),
    [
        # The second of three heads.
        ({f"attention.{name}.weight": slice(8, 16) for name in ("query", "key", "value")}, {"attention.query": 16}),
        # Half of a head stays, and so does a head of which one part is not zero.
        ({f"attention.{name}.weight": slice(8, 12) for name in ("query", "key", "value")}, {"attention.query": 24}),
        ({f"attention.{name}.weight": slice(8, 16) for name in ("query", "key")}, {"attention.value": 24}),
        ({"first.expand.weight": slice(0, 5), "first.expand.bias": slice(0, 5)}, {"first.expand": 27}),
        (
            {"convolution.value.weight": slice(0, 4), "convolution.gate.weight": slice(0, 4),
             "convolution.depthwise.weight": slice(0, 4)},
            {"convolution.value": 12, "convolution.gate": 12},
        ),
    ],
)  # fmt: skip
def test_what_is_zero_is_cut_out(zeroed: dict[str, slice], cut: dict[str, int]) -> None:
    model = fused()
    for name, rows in zeroed.items():
        model.get_parameter(BLOCK + name).data[rows] = 0
    sliced, report = slice_zeros(model, SHAPE)
    assert report.unknown_operators == ()
    for name, rows in cut.items():
        layer = sliced.get_submodule(BLOCK + name)
        assert isinstance(layer, nn.Linear) and layer.weight.shape[0] == rows
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sliced(x), model(x), rtol=1e-5, atol=1e-5)


def test_a_level_leaves_whole_heads() -> None:
    with torch.device("meta"):
        skeleton = fused_copy(ConformerSpace().build(ConformerSpace().middle(), (40, 50), 11).eval())
    sliced, _ = sliced_to_levels(skeleton, (40, 50), [0.5])
    assert isinstance(skeleton, ConformerCTC) and isinstance(sliced, ConformerCTC)
    for before, after in zip(skeleton.blocks, sliced.blocks, strict=True):
        for name in ("query", "key", "value"):
            assert len(getattr(after.attention, name).weight) == len(getattr(before.attention, name).weight) / 2
        assert len(after.first.expand.weight) == len(before.first.expand.weight) / 2
        assert after.norm.weight.shape == before.norm.weight.shape


def test_a_head_that_is_alone_loses_channels() -> None:
    space = ConformerSpace()
    small = {"blocks": 2, "width": 16, "heads": 1, "head_width": HEAD_WIDTH, "expansion": 1, "strides": 1}
    model = fused_copy(space.build(space.candidate(dict(space.middle()) | small), SHAPE, 5).eval())
    sliced, _ = sliced_to_levels(model, SHAPE, [0.2, 0.6])
    assert isinstance(sliced, ConformerCTC)
    widths = [tuple(len(getattr(b.attention, n).weight) for n in ("query", "key", "value")) for b in sliced.blocks]
    # All blocks turn queries and keys by the same tables.
    assert widths == [(6, 6, 6), (6, 6, 3)]
    assert sliced(torch.randn(1, *SHAPE)).shape == model(torch.randn(1, *SHAPE)).shape


def test_heads_alone_are_cut_out_where_that_is_asked() -> None:
    model = fused()
    sliced, report = sliced_to_levels(model, SHAPE, [0.6], "head")
    assert isinstance(sliced, ConformerCTC) and report.kept == (1, 1)
    for before, after in zip(model.blocks, sliced.blocks, strict=True):
        assert len(after.attention.query.weight) == len(after.attention.value.weight) == HEAD_WIDTH
        assert after.first.expand.weight.shape == before.first.expand.weight.shape
    assert sliced(torch.randn(1, *SHAPE)).shape == model(torch.randn(1, *SHAPE)).shape


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("method", ["magnitude", "l0", "global_magnitude"])
def test_heads_are_trained_out_of_a_conformer(method: str, heads: int) -> None:
    space = ConformerSpace()
    small = {"blocks": 2, "width": 16, "heads": heads, "head_width": HEAD_WIDTH, "expansion": 1, "strides": 1}
    torch.manual_seed(0)
    model = space.build(space.candidate(dict(space.middle()) | small), SHAPE, 5)
    examples, steps = torch.randn(4, *SHAPE), 20
    sparsity = Sparsity(method, "head", (0.5,))
    sparsifier = sparsifier_of(sparsity)
    sparsifier.start(model, examples, steps)
    for _ in range(steps):
        sparsifier.penalty()
        sparsifier.after_step()
    shipped, report = fuse(model.eval(), examples)
    sliced, report, kept = slice_to_shipped(model, shipped, examples, sparsity)
    assert report.ok and isinstance(sliced, ConformerCTC)
    left = [len(block.attention.query.weight) // HEAD_WIDTH for block in sliced.blocks]
    # Of three heads a block two; where the blocks share them, one may have all.
    assert (kept, left) == ((), [1, 1]) if heads == 1 else (kept == tuple(left) and sum(left) == 4)
