"""Fine-tuning with the rounding of int8."""

import copy

import pytest
import torch
from torch import nn

from repareto.trainers.data.digits import Digits
from repareto.trainers.quantization import ActivationRounding, WeightRounding, fine_tune_int8, rounded
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, error_rate


@pytest.fixture(scope="module")
def dataset():
    return Digits().load(seed=0)


@pytest.fixture(scope="module")
def trained(dataset) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(96, 10)]
    model = nn.Sequential(*layers)
    # Channels of very different sizes, which one scale for all inputs of the next layer cannot serve.
    with torch.no_grad():
        model[0].weight[0] *= 300
    trainer = SupervisedTrainer(model, dataset, TrainingConfig(epochs=4), seed=0)
    for _ in range(4):
        trainer.train_epoch()
    return trainer.model.eval()


def test_rounded_weights_have_255_levels_a_channel() -> None:
    weight = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [10], [0.1], [0]])
    rounded_weight = WeightRounding()(weight)
    for row, original in zip(rounded_weight, weight, strict=True):
        step = original.abs().max() / 127
        assert len(row.unique()) <= 255
        assert (row - original).abs().max() <= step / 2 + 1e-6


def test_one_scale_for_all_channels_of_a_linear_layer() -> None:
    weight = torch.tensor([[127.0, 3.4], [0.4, 0.6]])
    assert WeightRounding(per_channel=False)(weight).tolist() == [[127, 3], [0, 1]]


def test_rounded_activations_keep_zero_and_their_range() -> None:
    rounding = ActivationRounding()
    values = torch.linspace(0.5, 3.0, 1000)
    result = rounding(values)
    assert (result - values).abs().max() <= 3.0 / 255 / 2 + 1e-6
    rounding.eval()
    assert rounding(torch.tensor([0.0, 9.0])).tolist() == pytest.approx([0.0, 3.0]), "what is out of range is clipped"


def test_the_gradient_passes_straight_through() -> None:
    weight = torch.randn(3, 5, requires_grad=True)
    WeightRounding()(weight).sum().backward()
    assert torch.equal(weight.grad, torch.ones_like(weight))


def test_a_model_is_rounded_for_a_while_only(trained, dataset) -> None:
    features = torch.from_numpy(dataset.test.features[:50])
    with torch.no_grad():
        before = trained(features)
        with rounded(trained):
            inside = trained(features)
        after = trained(features)
    assert torch.equal(before, after) and not torch.allclose(before, inside, rtol=1e-4)
    assert set(dict(trained.named_parameters())) == {"0.weight", "0.bias", "4.weight", "4.bias"}


def test_fine_tuning_helps_the_rounded_model_and_repeats_bit_for_bit(trained, dataset) -> None:
    def error(model: nn.Module) -> float:
        with rounded(model):
            error_rate(model, dataset.train)  # sees the ranges
            return error_rate(model, dataset.validation)

    tuned, again = (
        fine_tune_int8(copy.deepcopy(trained), dataset, TrainingConfig(epochs=4), 2, seed=1) for _ in range(2)
    )
    assert error(tuned) < error(copy.deepcopy(trained))
    assert all(torch.equal(a, b) for a, b in zip(tuned.parameters(), again.parameters(), strict=True))
