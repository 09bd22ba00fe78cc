"""What every exit of a network answers on a split."""

from __future__ import annotations

import numpy as np
import torch

from ...spaces.exits.network import AllAnswers, MultiExit


@torch.no_grad()
def exit_logits(network: MultiExit, features: np.ndarray, *, device: str = "cpu", batch_size: int = 512) -> np.ndarray:
    """Return the logits (n, e, c), float64, of a network in eval mode on ``device`` for features (n, *input_shape)."""
    assert not network.training
    whole = AllAnswers(network)
    parts = [
        whole(torch.from_numpy(features[start : start + batch_size].astype(np.float32)).to(device)).cpu().double()
        for start in range(0, len(features), batch_size)
    ]
    return torch.cat(parts).numpy()
