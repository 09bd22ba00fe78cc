"""Squeeze and excitation: each channel is scaled by what the means of all channels tell (Hu et al., arXiv 1709.01507).

No convolution takes it in, for its factors depend on the input: it ships as it trains, after the re-parameterised block
(MobileOne, arXiv 2206.04040). Here it stands behind the activation, so that runtimes fuse that into the convolution.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

PAST_FRAMES = 16
"""A causal squeeze looks at so many frames, its own the last."""
_REDUCTION, _MULTIPLE = 4, 4


class Squeeze(nn.Module):
    """``x * sigmoid(W2 relu(W1 mean(x) + b1) + b2)`` (equations 2 to 4) of x (batch, channels, height, frames).

    The mean is over the whole ``window`` (height, frames), and all of it has the same factors. A stream cannot know
    that mean at its first frame: where ``causal``, each frame has factors of its own, by the mean of at most
    :data:`PAST_FRAMES` frames up to itself, zeros before the window among them.
    """

    def __init__(self, channels: int, window: tuple[int, int], *, causal: bool) -> None:
        super().__init__()
        height, frames = window
        seen = min(frames, PAST_FRAMES) if causal else frames
        self.past_frames = seen - 1 if causal else 0
        # A pool of fixed size, not a mean: several runtimes do not delegate means.
        self.pool = nn.AvgPool2d((height, seen), stride=(1, 1))
        # A quarter of the channels (of Hu et al.'s hundreds it is a sixteenth), in steps that fill runtimes' vectors.
        reduced = -(-channels // (_REDUCTION * _MULTIPLE)) * _MULTIPLE
        self.gate = nn.Sequential(
            nn.Conv2d(channels, reduced, 1), nn.ReLU(), nn.Conv2d(reduced, channels, 1), nn.Sigmoid()
        )

    @property
    def is_causal(self) -> bool:
        """Whether no factor depends on a later frame."""
        return self.past_frames == self.pool.kernel_size[1] - 1  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (self.past_frames, 0)) if self.past_frames else x
        return x * self.gate(self.pool(padded))

    def extra_repr(self) -> str:
        return f"window={self.pool.kernel_size}, past_frames={self.past_frames}"
