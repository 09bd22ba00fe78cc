"""What zeros are worth: nothing but a smaller compressed file, and channels that can be removed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.devices.report.sparsity import Zeros, compressed_flash, count_zeros, deflated, inflated


@given(st.binary(max_size=2000))
def test_what_is_compressed_comes_back(content: bytes) -> None:
    assert inflated(deflated(content)) == content


def test_zeros_make_the_compressed_file_smaller_and_only_that_one() -> None:
    rng = np.random.default_rng(0)
    dense = rng.integers(-127, 128, 20_000, dtype=np.int8)
    sparse = np.where(rng.random(20_000) < 0.9, 0, dense).astype(np.int8)
    of_dense, of_sparse = (compressed_flash(weights.tobytes()) for weights in (dense, sparse))
    assert of_dense.value >= 0.99 * len(dense)  # random bytes do not compress
    assert of_sparse.value < 0.35 * len(sparse)
    assert of_sparse.method == "measured" and of_sparse.unit == "bytes"
    assert "inflates" in (of_sparse.error or "")


def test_zeros_and_empty_channels_are_counted() -> None:
    kernel = np.ones((4, 2, 3, 3))
    kernel[1] = 0
    kernel[2, 0] = 0
    zeros = count_zeros({"conv.weight": kernel, "conv.bias": np.array([0.0, 0.0, 1.0, 2.0])})
    assert zeros == Zeros(values=76, zeros=18 + 9 + 2, removable=18)
    assert zeros.share == pytest.approx(29 / 76)


def test_no_weights_are_not_sparse() -> None:
    assert count_zeros({}) == Zeros(0, 0, 0)
    assert count_zeros({}).share == 0
