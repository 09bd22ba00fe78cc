"""The bundled digits: three stratified parts, a seed, normalised pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from repareto.trainers.data.digits import Digits


def test_three_stratified_parts_hold_each_image_once() -> None:
    dataset = Digits().load(seed=0)
    assert dataset.labels == tuple("0123456789")
    assert dataset.input_shape == (1, 8, 8)
    parts = (dataset.train, dataset.validation, dataset.test)
    assert [len(part) for part in parts] == [1078, 359, 360]
    for part in parts:
        shares = np.bincount(part.labels) / len(part)
        np.testing.assert_allclose(shares, 0.1, atol=0.005)
    images = np.concatenate([part.features for part in parts])
    pixels = images * dataset.front_end["std"] + dataset.front_end["mean"]
    assert pixels.min() == pytest.approx(0, abs=1e-5)
    assert pixels.max() == pytest.approx(16, abs=1e-5)
    assert len(np.unique(images.reshape(1797, 64), axis=0)) == 1797


def test_training_pixels_are_normalised_and_the_front_end_is_json() -> None:
    dataset = Digits().load(seed=0)
    assert dataset.train.features.mean() == pytest.approx(0, abs=1e-5)
    assert dataset.train.features.std() == pytest.approx(1, abs=1e-5)
    assert json.loads(json.dumps(dataset.front_end))["kind"] == "pixels"
    assert dataset.noise is None


def test_the_seed_draws_the_split() -> None:
    first, again, other = (Digits().load(seed=seed).train.features for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
