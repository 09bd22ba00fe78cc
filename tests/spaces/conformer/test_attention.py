"""Attention against its formula, and what rotary positions promise."""

import math

import torch
from torch.nn import functional as F

from repareto.spaces.conformer.attention import Rotation, SelfAttention

STEPS, WIDTH, HEADS, HEAD_WIDTH = 9, 12, 3, 8


def test_scores_hang_on_the_distance_of_two_steps_alone() -> None:
    rotation = Rotation(STEPS, HEAD_WIDTH).double()
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(HEAD_WIDTH, generator=generator, dtype=torch.float64) for _ in range(2))
    queries, keys = (rotation(one.expand(1, 1, STEPS, HEAD_WIDTH))[0, 0] for one in (query, key))
    scores = queries @ keys.T
    for distance in range(-STEPS + 1, STEPS):
        diagonal = scores.diagonal(distance)
        # The tables are kept in float32.
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-5, atol=1e-6)
    # At no distance nothing is turned, but all is scaled.
    torch.testing.assert_close(scores[0, 0], query @ key / math.sqrt(HEAD_WIDTH), rtol=1e-6, atol=1e-6)
    assert scores[0, 1:].sub(scores[0, 0]).abs().min() > 1e-3


def test_one_plane_turns_by_the_angle_of_its_step() -> None:
    rotation = Rotation(STEPS, 4)
    turned = rotation(torch.tensor([0.0, 1.0, 0.0, 0.0]).expand(1, 1, STEPS, 4))[0, 0] * 4**0.25
    angles = torch.arange(STEPS) / 100.0  # 10000 ** (2 / 4), of the second of two planes
    expected = torch.stack([angles * 0, angles.cos(), angles * 0, angles.sin()], dim=1)
    torch.testing.assert_close(turned, expected)


def test_attention_is_torchs() -> None:
    torch.manual_seed(0)
    attention, rotation = SelfAttention(WIDTH, HEADS, HEAD_WIDTH), Rotation(STEPS, HEAD_WIDTH)
    x = torch.randn(2, STEPS, WIDTH)

    def heads(layer: torch.nn.Linear) -> torch.Tensor:
        return layer(x).view(2, STEPS, HEADS, HEAD_WIDTH).transpose(1, 2)

    query, key = rotation(heads(attention.query)), rotation(heads(attention.key))
    mixed = F.scaled_dot_product_attention(query, key, heads(attention.value), scale=1.0)
    expected = attention.output(mixed.transpose(1, 2).reshape(2, STEPS, HEADS * HEAD_WIDTH))
    torch.testing.assert_close(attention(x, rotation), expected)


def test_a_head_is_cut_out_with_its_rows_and_columns() -> None:
    torch.manual_seed(0)
    attention, rotation = SelfAttention(WIDTH, HEADS, HEAD_WIDTH), Rotation(STEPS, HEAD_WIDTH)
    kept = torch.tensor([*range(HEAD_WIDTH), *range(2 * HEAD_WIDTH, 3 * HEAD_WIDTH)])
    smaller = SelfAttention(WIDTH, 2, HEAD_WIDTH)
    with torch.no_grad():
        for name in ("query", "key", "value"):
            whole, part = getattr(attention, name), getattr(smaller, name)
            part.weight.copy_(whole.weight[kept])
        smaller.output.weight.copy_(attention.output.weight[:, kept])
        smaller.output.bias.copy_(attention.output.bias)
        attention.output.weight[:, HEAD_WIDTH : 2 * HEAD_WIDTH] = 0
    x = torch.randn(2, STEPS, WIDTH)
    torch.testing.assert_close(smaller(x, rotation), attention(x, rotation))


def test_shorter_batches_take_the_first_steps() -> None:
    rotation = Rotation(STEPS, HEAD_WIDTH)
    x = torch.randn(1, 2, STEPS, HEAD_WIDTH)
    torch.testing.assert_close(rotation(x[:, :, :5]), rotation(x)[:, :, :5])
