"""What users of a data set get, of a network with exits and of one without."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from repareto.spaces.errors import UserError
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from repareto.trainers.data.dataset import NO_LABEL, Split, User
from repareto.trainers.data.digits import Digits
from repareto.trainers.data.users.options import Users
from repareto.trainers.exits.headroom import headroom_of
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig


@pytest.fixture(scope="module")
def data():
    return Digits(users=Users(count=3, labelled=60, unlabelled=160, tested=120)).load(seed=0)


@pytest.mark.parametrize("count", [0, 1])
def test_a_few_labels_help_those_who_write_another_hand(data, count: int) -> None:
    settings = {"name": "repcnn", "form": "full", "stages": 1, "blocks": 2, "width": 12, "kernel": 3, "stride": 1}
    space = load_space({**settings, "exits": {"count": count}})
    torch.manual_seed(0)
    network = space.build(space.middle(), data.input_shape, 10)
    trainer = SupervisedTrainer(network, data, TrainingConfig(epochs=4, batch_size=32), seed=0)
    for _ in range(4):
        trainer.train_epoch()
    fused = fused_copy(network.eval())
    found = headroom_of(fused, data)
    assert found == headroom_of(fused, data)
    assert found.error < found.error_before - 0.02
    # Features of 220 images, and of one head its weights, their gradient and two sets of the descent.
    assert found.memory_bytes == 4 * (220 * 12 * (1 + count) + 4 * 10 * 13)
    (user, *_) = data.users
    nothing = User("x", Split(user.own.features[:3], np.full(3, NO_LABEL)), user.test)
    alone = headroom_of(fused, replace(data, users=(nothing,)))
    assert alone.error == alone.error_before


def test_a_network_without_a_linear_end_has_none(data) -> None:
    with pytest.raises(UserError, match="whose last layer is ReLU has no linear one"):
        headroom_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.ReLU()).eval(), data)
