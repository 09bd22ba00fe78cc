"""Whole blocks are left out, and what is left computes what the masked network does."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.fusion import fuse, fused_copy
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.blocks import blocks_of, structure_of, with_blocks_of
from repareto.spaces.sparsity.costs import Costs
from repareto.spaces.sparsity.gates import Gates, gate
from repareto.spaces.sparsity.passing import passing_kernel
from repareto.spaces.sparsity.scores import channel_norms
from repareto.spaces.sparsity.slicing import slice_to_shipped, slice_zeros, sliced_to_counts, sliced_to_levels
from repareto.spaces.sparsity.space import Sparsity
from repareto.spaces.sparsity.widths import BLOCK
from repareto.trainers.sparsity import sparsifier_of
from tests.spaces.networks import randomise_norms

SHAPE = (6, 24)
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}
# Feed-forward steps, attention, convolution.
OF_EACH_KIND = [4, 2, 2]
# Of the first stage, and of the second, the first of which has a stride.
OF_EACH_STAGE = [3, 2]


def conformer(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    space = ConformerSpace()
    small = {"blocks": 2, "width": 16, "heads": 2, "head_width": 8, "expansion": 1, "strides": 1}
    torch.manual_seed(seed)
    model = space.build(space.candidate(dict(space.middle()) | small), SHAPE, 5)
    return randomise_norms(model, seed).eval().to(dtype)


def repcnn(seed: int = 0, dtype: torch.dtype = torch.float32, form: str = "full", padding: str = "same") -> nn.Module:
    space = load_space({"name": "repcnn", "stages": 2, "width": 8, "blocks": 3, "squeeze": False, "padding": padding})
    own = {"form": form, "stage1.stride": 1, "stage2.stride": 2, "stage1.identity": True, "stage2.small": True}
    torch.manual_seed(seed)
    model = space.build(space.candidate(dict(space.middle()) | own), SHAPE, 5)
    return randomise_norms(model, seed).eval().to(dtype)


NETWORKS: dict[str, tuple[Callable[[int, torch.dtype], nn.Module], list[int]]] = {
    "conformer": (conformer, OF_EACH_KIND),
    **{
        f"{form} repcnn, {padding}": (partial(repcnn, form=form, padding=padding), OF_EACH_STAGE)
        for form in ("full", "separable")
        for padding in ("same", "causal")
    },
}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    name=st.sampled_from(list(NETWORKS)),
    seed=st.integers(0, 2**16),
    open_gates=st.lists(st.booleans(), min_size=8, max_size=8),
    dtype=st.sampled_from(list(TOLERANCES)),
)
def test_sliced_equals_masked(name: str, seed: int, open_gates: list[bool], dtype: torch.dtype) -> None:
    build, sizes = NETWORKS[name]
    model = build(seed, dtype)
    fused = fused_copy(model)
    flow, widths = structure_of(fused, SHAPE, BLOCK)
    gates = Gates(widths).to(dtype)
    assert gates.sizes == sizes
    gates.mask.copy_(torch.tensor(open_gates[: sum(sizes)]))
    for mask in gates.mask.split(gates.sizes):
        mask[0] = 1
    gate(model, SHAPE, gates, BLOCK)
    masked = fused_copy(model)
    sliced, report = slice_zeros(masked, SHAPE, granularity=BLOCK)
    inputs = torch.randn(3, *SHAPE, dtype=dtype)
    with torch.no_grad():
        found = sliced(inputs)
        for expected in (model(inputs), masked(inputs)):
            assert float((found - expected).abs().max() / expected.abs().max()) <= TOLERANCES[dtype]
    assert report.kept == tuple(int(mask.sum()) for mask in gates.mask.split(gates.sizes))
    # What is known before: which blocks go changes no figure.
    assert parameters(sliced) == Costs(fused, flow, widths)(gates.mask)[0]
    assert parameters(sliced) == parameters(sliced_to_counts(fused.to("meta"), SHAPE, report.kept, BLOCK)[0])
    # And what is there is known by the names of the weights.
    again = with_blocks_of(fused, sliced.state_dict()).to_empty(device="cpu")
    again.load_state_dict(sliced.state_dict())
    assert torch.equal(again(inputs), found)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_gates_that_are_half_open_are_folded_into_kernels(name: str) -> None:
    build, _ = NETWORKS[name]
    model, inputs = build(1, torch.float64), torch.randn(3, *SHAPE, dtype=torch.float64)
    gates = Gates(structure_of(fused_copy(model), SHAPE, BLOCK)[1]).double()
    plain = model(inputs)
    gate(model, SHAPE, gates, BLOCK)
    assert torch.equal(model(inputs), plain)
    gates.mask.uniform_(0.2, 0.8)
    gated, report = fuse(model, inputs)
    assert report.largest_relative_difference <= TOLERANCES[torch.float64]
    assert not torch.allclose(gated(inputs), plain)
    assert parameters(gated) == parameters(fused_copy(build(1, torch.float64)))


def test_blocks_alike_in_several_stages_are_of_one_kind() -> None:
    space = load_space({"name": "repcnn", "stages": 2, "width": 8, "blocks": 2, "stride": 1, "squeeze": False})
    fused = fused_copy(space.build(space.middle(), SHAPE, 5).eval())
    assert [len(width.labels) for width in structure_of(fused, SHAPE, BLOCK)[1]] == [4]


def test_blocks_with_squeeze_or_of_other_shapes_stay() -> None:
    space = load_space({"name": "repcnn", "stages": 2, "width": [8, 16], "blocks": 2, "stride": 1})
    own = {"stage1.squeeze": True, "stage2.squeeze": False, "stage1.width": 8, "stage2.width": 16}
    fused = fused_copy(space.build(space.candidate(dict(space.middle()) | own), SHAPE, 5).eval())
    (only,) = blocks_of(fused)
    assert fused.get_parameter(only.parameters[0]).shape[0] == 16
    sliced, report = sliced_to_levels(fused, SHAPE, (0.9,), BLOCK)
    assert report.kept == (1,) and parameters(sliced) == parameters(fused)


def test_of_each_kind_one_stays() -> None:
    skeleton = fused_copy(conformer()).to("meta")
    sliced, report = sliced_to_levels(skeleton, SHAPE, (0.99,), BLOCK)
    assert (report.kept, report.removed, report.channels) == ((1, 1, 1), 5, 8)
    assert len(blocks_of(sliced)) == 3 and len(blocks_of(skeleton)) == 8


def test_the_smallest_of_a_kind_scores_least() -> None:
    fused = fused_copy(conformer())
    for parameter in fused.blocks[1].attention.parameters():
        parameter.data /= 10
    feed_forward, attention, convolution = channel_norms(fused, SHAPE, BLOCK).split(OF_EACH_KIND)
    assert attention.argmin() == 1 and attention[1] < 0.1 * attention.mean()
    for scores in (feed_forward, attention, convolution):
        assert scores.mean() == pytest.approx(1.0)


def test_a_block_that_is_nearly_passed_by_scores_least() -> None:
    fused = fused_copy(repcnn())
    layer = blocks_of(fused)[1].layers[0]
    weight = fused.get_parameter(f"{layer}.weight")
    weight.data = torch.lerp(passing_kernel(fused.get_submodule(layer)), weight.data, 0.1)
    first, second = channel_norms(fused, SHAPE, BLOCK).split(OF_EACH_STAGE)
    assert first.argmin() == 1 and first[1] < 0.1 * first.mean()
    assert second.mean() == pytest.approx(1.0)


@pytest.mark.parametrize("network", [conformer, repcnn])
@pytest.mark.parametrize("method", ["magnitude", "random", "global_magnitude", "l0", "group_lasso"])
def test_blocks_are_trained_out(method: str, network: Callable[[], nn.Module]) -> None:
    model = network().train()
    examples, steps = torch.randn(4, *SHAPE), 10
    sparsity = Sparsity(method, BLOCK, (0.5,))
    sparsifier = sparsifier_of(sparsity)
    sparsifier.start(model, examples, steps)
    for _ in range(steps):
        sparsifier.penalty()
        sparsifier.after_step()
    fused, _ = fuse(model.eval(), examples)
    sliced, report, kept = slice_to_shipped(model, fused, examples, sparsity)
    assert report.ok
    limit = sliced_to_levels(fused, SHAPE, (0.5,), BLOCK)[0]
    assert parameters(sliced) <= parameters(limit) < parameters(fused)
    if not sparsity.is_allocated:
        assert kept == ((2, 1, 1) if network is conformer else (2, 1))


def test_a_block_that_adds_something_cannot_be_left_out() -> None:
    model = conformer()
    fused, samples = fused_copy(model), torch.randn(2, *SHAPE)
    with pytest.raises(RuntimeError, match="MACs are left, and at most"):
        slice_to_shipped(model, fused, samples, Sparsity("magnitude", BLOCK, (0.5,)))
