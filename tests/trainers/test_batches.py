"""Each example trains once an epoch, and those of like length train together."""

import pytest
import torch

from repareto.trainers.batches import POOLED_BATCHES, batches_of_like_length, random_batches

SIZE = 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [8, 9, 10, 203])
def test_each_example_trains_once_but_a_last_one(count: int) -> None:
    frames = torch.randint(10, 100, (count,), generator=seeded(1))
    for batches in (random_batches(count, SIZE, seeded(0)), batches_of_like_length(frames, SIZE, seeded(0))):
        places = torch.cat(batches).tolist()
        assert len(places) == len(set(places)) == count - (count % SIZE == 1)
        assert all(1 < len(batch) <= SIZE for batch in batches)


def test_little_is_padding() -> None:
    frames = torch.randint(10, 200, (SIZE * POOLED_BATCHES * 3,), generator=seeded(1))

    def padding(batches: list[torch.Tensor]) -> float:
        heard = sum(int(frames[batch].max()) * len(batch) for batch in batches)
        return 1 - int(frames.sum()) / heard

    assert padding(batches_of_like_length(frames, SIZE, seeded(0))) < 0.1
    assert padding(random_batches(len(frames), SIZE, seeded(0))) > 0.3


def test_epochs_differ_and_seeds_repeat() -> None:
    frames = torch.arange(40)
    generator = seeded(0)
    first, second = (torch.cat(batches_of_like_length(frames, SIZE, generator)).tolist() for _ in range(2))
    assert first != second
    assert torch.cat(batches_of_like_length(frames, SIZE, seeded(0))).tolist() == first
    # Batches come in no order of length.
    lengths = [int(frames[batch].max()) for batch in batches_of_like_length(frames, SIZE, seeded(0))]
    assert lengths != sorted(lengths)
