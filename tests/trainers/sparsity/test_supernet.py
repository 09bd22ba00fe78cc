"""One training gives networks of all levels, each inside the one before, with statistics of its own."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.fusion import fuse
from repareto.spaces.sparsity.gates import Gates
from repareto.spaces.sparsity.slicing import slice_to_shipped
from repareto.spaces.sparsity.space import CHANNEL, Sparsity
from repareto.trainers.normalisations import normalisations_of
from repareto.trainers.sparsity import sparsifier_of
from repareto.trainers.sparsity.supernet import NestedGates
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate
from tests.trainers.sparsity.test_sparsifiers import small_model
from tests.trainers.test_supervised import small_dataset
from tests.trainers.test_transcription import QUIET, dataset

SPARSITY = Sparsity("supernet", CHANNEL, (0.0,), (0.3, 0.6, 0.8))
DATA = small_dataset()


def trainer_of(sparsity: Sparsity = SPARSITY, epochs: int = 6) -> SupervisedTrainer:
    model = small_model()
    torch.manual_seed(0)
    config = TrainingConfig(epochs=epochs, batch_size=16, learning_rate=1e-2)
    return SupervisedTrainer(model, DATA, config, seed=0, sparsifier=sparsifier_of(sparsity))


@pytest.fixture(scope="module")
def trained() -> SupervisedTrainer:
    trainer = trainer_of()
    for _ in range(6):
        trainer.train_epoch()
    return trainer


def mask_of(model: nn.Module) -> torch.Tensor:
    (gates,) = {module for module in model.modules() if isinstance(module, Gates)}
    return gates.factors() != 0


def test_each_network_ships_with_the_channels_of_its_level(trained: SupervisedTrainer) -> None:
    samples = torch.from_numpy(DATA.validation.features).float()
    for place, sparsity in enumerate(SPARSITY.networks()):
        model = trained.network(place)
        fused, report = fuse(model, samples)
        assert report.ok
        sliced, report, kept = slice_to_shipped(model, fused, samples, sparsity)
        assert report.ok
        (level,) = sparsity.levels
        assert kept == tuple(round((1 - level) * width) for width in (8, 8, 6))
        # There are three classes; the narrowest, of one or two channels a layer, is not sure to learn them so soon.
        assert error_rate(sliced, DATA.validation) < 0.5 or level == SPARSITY.narrower[-1]


def test_each_network_is_inside_the_one_before(trained: SupervisedTrainer) -> None:
    masks = [mask_of(trained.network(place)) for place in range(trained.networks)]
    assert trained.networks == 4
    assert bool(masks[0].all())
    for wide, narrow in pairwise(masks):
        assert not bool((narrow & ~wide).any()) and int(narrow.sum()) < int(wide.sum())


def test_statistics_are_those_of_the_network_itself(trained: SupervisedTrainer) -> None:
    before = copy.deepcopy(trained.model.state_dict())
    narrow = trained.network(3)
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    # What a normalisation says of its input is what it gets: all that reaches it is normal.
    outputs: list[torch.Tensor] = []
    norm = normalisations_of(narrow)[-1]
    hook = norm.register_forward_hook(lambda _module, given, _output: outputs.append(given[0]))
    narrow(torch.from_numpy(DATA.train.features).float())
    hook.remove()
    variance, mean = torch.var_mean(outputs[0], (0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean, atol=0.1, rtol=0.1)
    torch.testing.assert_close(norm.running_var, variance, atol=0.1, rtol=0.2)


def test_the_widest_network_alone_decides_on_the_statistics_in_training() -> None:
    trainer = trainer_of(epochs=1)
    model = trainer.model.train()
    features = torch.from_numpy(DATA.train.features[:16]).float()
    labels = torch.from_numpy(DATA.train.labels[:16])
    sparsifier = trainer._sparsifier
    assert sparsifier is not None
    for _ in range(4):
        sparsifier.after_step()
    alone = copy.deepcopy(model)
    # Dropout draws alike.
    torch.manual_seed(1)
    loss = sparsifier.loss(trainer._loss, model, features, labels)
    torch.manual_seed(1)
    assert not torch.equal(trainer._loss(alone, features, labels), loss), "others learn as well"
    for ours, theirs in zip(normalisations_of(model), normalisations_of(alone), strict=True):
        assert torch.equal(ours.running_mean, theirs.running_mean)
        assert ours.momentum == theirs.momentum == 0.1


def test_two_levels_are_enough() -> None:
    trainer = trainer_of(Sparsity("supernet", CHANNEL, (0.2,), (0.7,)), epochs=1)
    trainer.train_epoch()
    assert [int(mask_of(trainer.network(place)).sum()) for place in (0, 1)] == [6 + 6 + 5, 2 + 2 + 2]


@pytest.mark.parametrize("granularity", ["channel", "head", "block"])
def test_networks_inside_a_conformer(granularity: str) -> None:
    data, space = dataset(ragged=True), ConformerSpace()
    small = {
        "blocks": 2, "width": 16, "strides": 1, "heads": 2, "head_width": 8, "kernel": 5, "expansion": 1,
        "stochastic_depth": 0.1, "intermediate_weight": 0.3,
    }  # fmt: skip
    torch.manual_seed(0)
    model = space.build(space.candidate(dict(space.middle()) | small), data.input_shape, len(data.labels))
    sparsity = Sparsity("supernet", granularity, (0.0,), (0.5,))
    config = TrainingConfig(epochs=1, batch_size=16, augment=QUIET)
    trainer = SupervisedTrainer(model, data, config, seed=0, sparsifier=sparsifier_of(sparsity))
    trainer.train_epoch()
    samples = torch.from_numpy(data.validation.features[:8]).float()
    counts = []
    for place, own in enumerate(sparsity.networks()):
        network = trainer.network(place)
        fused, _ = fuse(network, samples)
        sliced, report, kept = slice_to_shipped(network, fused, samples, own)
        assert report.ok
        counts.append((sum(kept), sum(parameter.numel() for parameter in sliced.parameters())))
    (wide, large), (narrow, small_size) = counts
    assert wide == 2 * narrow and small_size < large


def test_a_network_has_factors_of_its_own(trained: SupervisedTrainer) -> None:
    (gates,) = {module for module in trained.model.modules() if isinstance(module, NestedGates)}
    scales = gates.scales.detach()
    for wide, narrow in pairwise(scales):
        assert not torch.equal(wide, narrow)
    factors = [trained.network(place).get_submodule(name_of(trained.model, gates)).factors() for place in range(4)]
    for place, own in enumerate(factors):
        assert torch.equal(own, gates.masks[place] * scales[place])


def name_of(model: nn.Module, wanted: nn.Module) -> str:
    return next(name for name, module in model.named_modules() if module is wanted)
