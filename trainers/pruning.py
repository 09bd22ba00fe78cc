"""A network that was trained and fused before, trained on while it becomes sparse."""

from __future__ import annotations

import torch
from torch import nn

from ..spaces.renormalise import renormalised
from ..spaces.sparsity.space import Sparsity
from .data.dataset import Dataset
from .sparsity import sparsifier_of
from .supervised import SupervisedTrainer, TrainingConfig

EXAMPLES = 512
"""Of the training split, for the statistics of its normalisations, which were folded in."""


def pruning_trainer(
    fused: nn.Module, dataset: Dataset, training: TrainingConfig, sparsity: Sparsity, *, seed: int, device: str = "cpu"
) -> SupervisedTrainer:
    """Return a trainer of a copy of a fused network, which becomes sparse; the network is left as it was.

    It learns by the schedule of ``training`` from its beginning: where that is the one by which the network was trained
    first, its learning rate is rewound (Renda, Frankle and Carbin 2020, arXiv 2003.02389).
    """
    torch.manual_seed(seed)
    model = renormalised(fused, some_examples(dataset))
    return SupervisedTrainer(model, dataset, training, seed=seed, device=device, sparsifier=sparsifier_of(sparsity))


def some_examples(dataset: Dataset) -> torch.Tensor:
    """Return training data (n, *input_shape) from all over the split, which may be in the order of its labels."""
    return torch.from_numpy(dataset.train.features[:: max(1, len(dataset.train) // EXAMPLES)]).float()
