"""Answers of all exits, batch by batch."""

import numpy as np
import torch

from repareto.trainers.exits.answers import exit_logits
from tests.spaces.exits.test_network import X, network


def test_batches_do_not_matter() -> None:
    model = network().eval()
    whole = exit_logits(model, X.numpy().astype(np.float16))
    assert whole.shape == (5, 3, 4) and whole.dtype == np.float64
    np.testing.assert_allclose(exit_logits(model, X.numpy().astype(np.float16), batch_size=2), whole, atol=1e-5)
    with torch.no_grad():
        expected = torch.stack(model.answers(X.half().float()), 1)
    np.testing.assert_allclose(whole, expected.numpy(), atol=1e-5)
