"""Each method reaches its level, exactly, and goes on from a checkpoint as if nothing had been."""

import copy

import pytest
import torch
from torch import nn

from repareto.spaces.branches import BranchedConv, ConvShape, Topology
from repareto.spaces.exits.chain import ExitChain
from repareto.spaces.exits.heads import head
from repareto.spaces.exits.network import fuse_all_answers
from repareto.spaces.fusion import fuse
from repareto.spaces.layers import normed_conv
from repareto.spaces.sparsity.slicing import slice_to_shipped, sliced_to_levels
from repareto.spaces.sparsity.space import CHANNEL, METHODS, WEIGHT, Sparsity
from repareto.trainers.sparsity import sparsifier_of
from repareto.trainers.sparsity.choice import kept_count
from repareto.trainers.sparsity.weights import HeldZeros
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig
from tests.trainers.test_supervised import small_dataset

EPOCHS = 5
# The small model has neither heads nor residual blocks.
ALL = [(method, unit) for method, able in METHODS.items() for unit in able if unit in (WEIGHT, CHANNEL)]


def small_model() -> nn.Module:
    torch.manual_seed(0)
    shape = ConvShape(4, 8, (1, 3))
    return nn.Sequential(
        nn.Unflatten(1, (4, 1)),
        BranchedConv(shape, Topology(2, pointwise=True, sequential=True)), nn.ReLU(),
        BranchedConv(ConvShape(8, 8, (1, 3), groups=8), Topology(1, identity=True)), nn.ReLU(),
        BranchedConv(ConvShape(8, 8, (1, 1)), Topology(1, identity=True)), nn.ReLU(),
        normed_conv(8, 6, (1, 3)), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(60, 3),
    )  # fmt: skip


def trainer_of(
    method: str, granularity: str, levels: tuple[float, ...] = (0.7,), seed: int = 0, model: nn.Module | None = None
) -> SupervisedTrainer:
    sparsifier = sparsifier_of(Sparsity(method, granularity, levels, (0.8, 0.9) if method == "supernet" else ()))
    model = model or small_model()
    torch.manual_seed(seed)
    config = TrainingConfig(epochs=EPOCHS, batch_size=16, learning_rate=1e-2)
    return SupervisedTrainer(model, small_dataset(), config, seed=seed, sparsifier=sparsifier)


def trained(
    method: str, granularity: str, levels: tuple[float, ...] = (0.7,), model: nn.Module | None = None
) -> nn.Module:
    trainer = trainer_of(method, granularity, levels, model=model)
    for _ in range(EPOCHS):
        trainer.train_epoch()
    return trainer.model.eval()


@pytest.mark.parametrize(("method", "granularity"), ALL)
def test_goes_on_from_a_checkpoint_bit_for_bit(method: str, granularity: str) -> None:
    whole = trainer_of(method, granularity)
    # In the middle of what is taken out, and after it.
    for epochs_before in (2, 4):
        while whole.epoch < epochs_before:
            whole.train_epoch()
        saved = copy.deepcopy(whole.state_dict())
        other = trainer_of(method, granularity, seed=9)
        other.load_state_dict(saved)
        expected = copy.deepcopy(whole)
        torch.set_rng_state(saved["torch_generator"])
        losses = [other.train_epoch().loss for _ in range(EPOCHS - epochs_before)]
        torch.set_rng_state(saved["torch_generator"])
        expected._generator.set_state(saved["generator"])
        assert [expected.train_epoch().loss for _ in range(EPOCHS - epochs_before)] == losses
        for name, tensor in expected.model.state_dict().items():
            assert torch.equal(tensor, other.model.state_dict()[name]), name


@pytest.mark.parametrize("method", [method for method, granularity in ALL if granularity == WEIGHT])
def test_weights_are_exact_zeros_after_fusion_as_many_as_asked(method: str) -> None:
    model = trained(method, WEIGHT, (0.5, 0.9))
    fused, report = fuse(model, torch.randn(8, 4, 10))
    assert report.ok
    found = {name: int((weight != 0).sum()) for name, weight in fused.named_parameters() if weight.dim() > 1}
    kernels = dict(fused.named_parameters())
    # The depthwise kernel is left alone; the levels are of the first and the second half of the five layers.
    assert found.pop("3.weight") == kernels["3.weight"].numel()
    parts = [(("1.weight", "5.weight"), 0.5), (("7.weight", "11.weight"), 0.9)]
    if method in ("csp", "global_magnitude"):
        for names, level in parts:
            assert sum(found[name] for name in names) == kept_count(sum(kernels[n].numel() for n in names), level)
    else:
        assert found == {n: kept_count(kernels[n].numel(), level) for names, level in parts for n in names}


@pytest.mark.parametrize("method", [method for method, granularity in ALL if granularity == CHANNEL])
def test_channels_can_be_sliced_as_many_as_asked(method: str) -> None:
    model = trained(method, CHANNEL, (0.7,))
    samples = torch.randn(8, 4, 10)
    fused, _ = fuse(model, samples)
    sparsity = Sparsity(method, CHANNEL, (0.7,))
    sliced, report, kept = slice_to_shipped(model, fused, samples, sparsity)
    assert report.ok
    # The first width's channels go through the depthwise layer.
    assert kept == tuple(sliced[index].out_channels for index in (1, 5, 7))
    assert (sliced[3].out_channels, sliced[11].in_features) == (kept[0], 10 * kept[2])
    if sparsity.is_allocated:
        assert cost(sliced) <= cost(sliced_to_levels(fused, (4, 10), (0.7,))[0])
    else:
        assert kept == (2, 2, 2)


def cost(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_what_was_not_taken_out_cannot_ship() -> None:
    model = trained("magnitude", CHANNEL, (0.5,))
    samples = torch.randn(8, 4, 10)
    fused, _ = fuse(model, samples)
    for method in ("magnitude", "l0"):
        with pytest.raises(RuntimeError, match="MACs are left, and at most"):
            slice_to_shipped(model, fused, samples, Sparsity(method, CHANNEL, (0.7,)))


@pytest.mark.parametrize(("method", "granularity"), [("csp", WEIGHT), ("magnitude", CHANNEL), ("l0", CHANNEL)])
def test_the_heads_of_early_exits_are_sparse_too(method: str, granularity: str) -> None:
    layers = list(small_model())
    network = ExitChain([nn.Sequential(*layers[:5]), nn.Sequential(*layers[5:])], [head("conv", (8, 1, 10), 3)])
    model = trained(method, granularity, (0.7,), model=network)
    samples = torch.randn(8, 4, 10)
    fused, report = fuse_all_answers(model, samples)
    assert report.ok and isinstance(fused, ExitChain)
    if granularity == WEIGHT:
        kernels = [
            weight for name, weight in fused.named_parameters() if name in ("heads.0.1.weight", "heads.0.5.weight")
        ]
        assert [kernel.numel() for kernel in kernels] == [64, 24]
        assert all(0 < int((kernel != 0).sum()) < kernel.numel() / 2 for kernel in kernels)
        return
    sliced, report, kept = slice_to_shipped(model, fused, samples, Sparsity(method, granularity, (0.7,)))
    assert report.ok
    depthwise, pointwise, _, _, _, classifier = sliced.heads[0]
    assert depthwise.groups == pointwise.in_channels in kept
    assert pointwise.out_channels == classifier.in_features in kept
    # L0 shares the channels out, and may leave one width whole.
    assert len(kept) == 4 and (sum(kept) < 32 if method == "l0" else kept == (2,) * 4)


def test_what_is_taken_out_is_not_any() -> None:
    by_size, by_chance = (trained(method, WEIGHT)[11].weight != 0 for method in ("magnitude", "random"))
    assert not torch.equal(by_size, by_chance)


def test_a_level_that_leaves_nothing_leaves_one() -> None:
    fused, _ = fuse(trained("magnitude", WEIGHT, (0.999,)), torch.randn(8, 4, 10))
    assert [int((fused[index].weight != 0).sum()) for index in (1, 5, 7, 11)] == [1, 1, 1, 1]


def test_zeros_are_held_in_further_training() -> None:
    fused, _ = fuse(trained("magnitude", WEIGHT), torch.randn(8, 4, 10))
    before = {name: weight == 0 for name, weight in fused.named_parameters()}
    config = TrainingConfig(epochs=1, batch_size=16)
    SupervisedTrainer(fused, small_dataset(), config, seed=0, sparsifier=HeldZeros()).train_epoch()
    for name, weight in fused.named_parameters():
        assert torch.equal(weight == 0, before[name]), name
    assert any(mask.any() for mask in before.values())
