"""How many weights each kernel keeps."""

import torch

from repareto.trainers.sparsity.choice import across_all, within_each

SCORES = [torch.tensor([[9.0, 8.0], [7.0, 6.0]]), torch.tensor([5.0, 4.0, 3.0, 2.0]), torch.tensor([1.0, 0.0])]


def counts(masks: list[torch.Tensor]) -> list[int]:
    return [int(mask.sum()) for mask in masks]


def test_each_kernel_keeps_its_share() -> None:
    masks = within_each(SCORES, [0.5, 0.25, 0.99])
    assert counts(masks) == [2, 3, 1]
    assert masks[0].tolist() == [[True, True], [False, False]]


def test_kernels_of_one_level_share_what_it_leaves_and_none_is_left_empty() -> None:
    assert counts(across_all(SCORES, [0.5, 0.5, 0.5])) == [3, 1, 1]
    assert counts(across_all(SCORES, [0.5, 0.5, 0.0])) == [3, 1, 2]
    assert counts(across_all(SCORES, [0.99, 0.99, 0.99])) == [1, 1, 1]
