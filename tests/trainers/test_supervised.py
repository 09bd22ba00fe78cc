"""Training is the same from the same seed, goes on from a checkpoint bit for bit, and says when it diverges."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from repareto.spaces.branches import BranchedConv, ConvShape, Topology
from repareto.spaces.errors import UserError
from repareto.trainers.data.dataset import Dataset, Split
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig, TrainingDivergedError, error_rate


def small_dataset(kind: str = "pixels") -> Dataset:
    """Three classes of noisy patterns."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(3, 4, 10)).astype(np.float32)

    def split(count: int) -> Split:
        labels = rng.integers(0, 3, count)
        noise = rng.normal(size=(count, 4, 10)).astype(np.float32)
        return Split(patterns[labels] + noise, labels)

    front_end = {"kind": kind, "mean": 0.0, "std": 1.0, "hop_ms": 20.0}
    noise = rng.normal(size=(5, 4, 10)).astype(np.float32) if kind == "log_mel" else None
    return Dataset("small", ("a", "b", "c"), split(97), split(40), split(40), front_end, noise)


def small_model() -> nn.Module:
    torch.manual_seed(0)
    block = BranchedConv(ConvShape(4, 6, (3,)), Topology(2, pointwise=True))
    return nn.Sequential(block, nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(60, 3))


def trainer_of(dataset: Dataset, seed: int = 0, **settings: object) -> SupervisedTrainer:
    config = TrainingConfig(**{"epochs": 4, "batch_size": 16, **settings})
    model = small_model()
    torch.manual_seed(seed)
    return SupervisedTrainer(model, dataset, config, seed=seed)


@pytest.mark.parametrize("kind", ["pixels", "log_mel"])
def test_same_seed_same_weights(kind):
    dataset = small_dataset(kind)
    states = []
    for seed in (1, 1, 2):
        trainer = trainer_of(dataset, seed)
        losses = [trainer.train_epoch().loss for _ in range(2)]
        states.append((losses, trainer.model.state_dict()))
    assert states[0][0] == states[1][0] != states[2][0]
    assert all(torch.equal(states[0][1][name], states[1][1][name]) for name in states[0][1])


def test_goes_on_from_a_checkpoint_bit_for_bit():
    dataset = small_dataset("log_mel")
    whole = trainer_of(dataset)
    for _ in range(2):
        whole.train_epoch()
    saved = copy.deepcopy(whole.state_dict())
    expected = [whole.train_epoch().loss for _ in range(2)]
    resumed = trainer_of(dataset, seed=9)
    resumed.load_state_dict(saved)
    assert resumed.epoch == 2
    assert [resumed.train_epoch().loss for _ in range(2)] == expected
    assert all(
        torch.equal(tensor, resumed.model.state_dict()[name]) for name, tensor in whole.model.state_dict().items()
    )


def test_learns():
    dataset = small_dataset()
    trainer = trainer_of(dataset, epochs=8, learning_rate=1e-2)
    before = error_rate(trainer.model, dataset.test)
    for _ in range(8):
        trainer.train_epoch()
    assert error_rate(trainer.model, dataset.test) < before / 2


def test_diverging_is_said():
    trainer = trainer_of(small_dataset())
    nn.init.constant_(trainer.model[4].weight, float("nan"))
    with pytest.raises(TrainingDivergedError, match="nan in epoch 1"):
        trainer.train_epoch()


def test_error_rate_is_the_share_of_wrong_answers_and_leaves_the_mode():
    dataset = small_dataset()
    model = small_model().train()
    error = error_rate(model, dataset.test, batch_size=7)
    assert model.training
    model.eval()
    answers = model(torch.from_numpy(dataset.test.features)).argmax(1).numpy()
    assert error == (answers != dataset.test.labels).mean()


def test_features_of_shared_memory_are_read_only_and_stay():
    dataset = small_dataset()
    dataset.train.features.flags.writeable = False
    before = dataset.train.features.copy()
    trainer_of(dataset).train_epoch()
    assert np.array_equal(dataset.train.features, before)


def test_biases_and_normalisations_have_no_weight_decay():
    trainer = trainer_of(small_dataset(), weight_decay=0.5)
    kernels, others = trainer._optimizer.param_groups
    assert kernels["weight_decay"] == 0.5
    assert others["weight_decay"] == 0
    assert {parameter.dim() for parameter in others["params"]} == {1}


def test_learning_rate_warms_up_and_ends_at_zero():
    trainer = trainer_of(small_dataset(), learning_rate=0.1, warmup_fraction=0.25)
    rates = []
    for _ in range(4):
        trainer.train_epoch()
        rates.append(trainer._optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"epochs": 0}, "epochs"),
        ({"batch_size": -1}, "batch_size"),
        ({"label_smoothing": 1}, "label"),
        ({"quantization_aware_epochs": -1}, "quantization_aware_epochs"),
    ],
)
def test_impossible_settings(settings, named):
    with pytest.raises(UserError, match=named):
        TrainingConfig(**settings)


def test_candidates_override_what_may_be_overridden():
    config = TrainingConfig().overridden({"learning_rate": 0.5})
    assert config.learning_rate == 0.5
    for odd in ("epochs", "momentum"):
        with pytest.raises(UserError, match=f"training.{odd} cannot be searched"):
            TrainingConfig().overridden({odd: 1})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_trains_on_a_gpu_in_mixed_precision():
    dataset = small_dataset("log_mel")
    config = TrainingConfig(epochs=2, batch_size=16)
    trainer = SupervisedTrainer(small_model(), dataset, config, seed=0, device="cuda")
    trainer.train_epoch()
    saved = trainer.state_dict()
    again = SupervisedTrainer(small_model(), dataset, config, seed=1, device="cuda")
    again.load_state_dict(saved)
    assert again.train_epoch().loss == pytest.approx(trainer.train_epoch().loss, rel=1e-2)
    assert 0 <= error_rate(trainer.model, dataset.test, device="cuda") <= 1
