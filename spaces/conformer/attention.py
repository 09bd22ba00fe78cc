"""Multi-head self-attention with rotary positions (RoFormer, arXiv 2104.09864).

Rotary and not the relative positions of the original (Transformer-XL): those shift a matrix of scores by padding and
reshaping it, which moves bytes in every runtime and is not delegated in most. A rotation is two products and a sum by
tables that are constants of the file; scores hang on the distance of two steps alike.

Shape legend: n examples, s steps, h heads, d width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_BASE = 10_000.0


class Rotation(nn.Module):
    """Turns queries and keys (n, h, s, d) by their step; one for all blocks, so that its tables ship once.

    Channels i and i + d / 2 are one plane, turned by step / 10000^(2 i / d) (equation 15). The tables carry the fourth
    root of d as well: queries and keys together scale their products by 1 / sqrt(d), which costs nothing here.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, steps: int, head_width: int) -> None:
        super().__init__()
        assert head_width % 2 == 0
        half = torch.arange(head_width // 2, dtype=torch.float64)
        angles = torch.arange(steps, dtype=torch.float64)[:, None] * _BASE ** (-2 * half / head_width)
        cos, sin = (table * head_width**-0.25 for table in (angles.cos(), angles.sin()))
        self.register_buffer("cos", torch.cat([cos, cos], 1).float())
        self.register_buffer("sin", torch.cat([-sin, sin], 1).float())

    def forward(self, x: Tensor) -> Tensor:
        # Of batches shorter than the window, the first steps.
        steps, half = x.shape[2], x.shape[3] // 2
        swapped = torch.cat([x[..., half:], x[..., :half]], dim=3)
        return x * self.cos[:steps] + swapped * self.sin[:steps]


class SelfAttention(nn.Module):
    """(n, s, width) -> (n, s, width), each step attending to all.

    Heads lie behind each other in the rows of ``query``, ``key`` and ``value`` and in the columns of ``output``, ``d``
    at a time; how many there are follows from those layers, so a head is cut out by cutting its rows and columns. Those
    three have no biases: a head whose rows are zero gives zero, and can go.
    """

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.head_width = head_width
        self.query, self.key, self.value = (nn.Linear(width, heads * head_width, bias=False) for _ in range(3))
        self.output = nn.Linear(heads * head_width, width)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        query, key = rotation(self._heads(self.query(x))), rotation(self._heads(self.key(x)))
        weights = torch.softmax(query @ key.transpose(2, 3), dim=3)
        mixed = weights @ self._heads(self.value(x))
        return self.output(mixed.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        """(n, s, h d) -> (n, h, s, d)."""
        # Of a head that is alone single channels may have been cut out.
        return x.unflatten(2, (-1, min(self.head_width, x.shape[2]))).transpose(1, 2)
