"""A fused causal network that listens: it takes the frames of one hop and carries what it still needs of earlier ones.

A causal convolution of kernel k and dilation d reads (k - 1) d past frames; kept in a state, they need not be computed
again. Started from states of zeros, which are the zeros before a window, the network answers after its first window
what the whole-window network answers; from then on its pool slides, and its convolutions see the true past.
After Rybakov et al. 2020, "Streaming keyword spotting on mobile devices" (arXiv 2005.06720).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .errors import UserError
from .squeeze import Squeeze

_FRAMEWISE = (
    nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU,
    nn.ELU,
)  # fmt: skip
_PADS = (nn.ConstantPad1d, nn.ConstantPad2d, nn.ZeroPad1d, nn.ZeroPad2d)


class OverTime(nn.Module):
    """A layer without padding in time, and how many past frames it reads beside the new ones."""

    def __init__(self, layer: nn.Module, past_frames: int) -> None:
        super().__init__()
        self.layer, self.past_frames = layer, past_frames

    def forward(self, frames: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([past, frames], dim=-1)
        return self.layer(joined), joined[..., joined.shape[-1] - self.past_frames :]


class SqueezeOverTime(OverTime):
    """Scales the new frames by what they and the past frames tell (see ``squeeze.py``)."""

    def __init__(self, squeeze: Squeeze) -> None:
        super().__init__(nn.Sequential(squeeze.pool, squeeze.gate), squeeze.past_frames)

    def forward(self, frames: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        factors, new_past = super().forward(frames, past)
        return frames * factors, new_past


class Streaming(nn.Module):
    """Takes ``hop_frames`` frames (batch, *bands, hop_frames) and the states, gives logits (batch, classes) and the
    new states.

    ``window_hops`` hops make the window that the network was trained on.
    """

    def __init__(
        self,
        layers: Sequence[nn.Module],
        state_shapes: Sequence[tuple[int, ...]],
        hop_frames: int,
        window_hops: int,
        pool_index: int,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self._pool_index = pool_index
        self.state_shapes = tuple(state_shapes)
        """Of one stream, without the batch."""
        self.hop_frames, self.window_hops = hop_frames, window_hops

    def forward(self, frames: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        x, kept = heard_by(self.layers, frames, iter(states))
        return (x, *kept)

    def over(self, frames: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Hear n hops at once: frames (batch, *bands, n hop_frames) give logits (batch, n, classes) and the states.

        The same as one call a hop, for whoever has the whole sound at hand.
        """
        x, waiting, kept = frames, iter(states), []
        for index, layer in enumerate(self.layers):
            is_pool = index == self._pool_index
            if isinstance(layer, OverTime):
                slid = _sliding(layer) if is_pool else layer
                x, state = slid(x, next(waiting))
                kept.append(state)
            else:
                x = layer(x)
            if is_pool:
                # From here on a hop has one frame: hops become examples.
                hops = x.shape[-1]
                x = x.movedim(-1, 1).flatten(0, 1).unsqueeze(-1)
        return (x.unflatten(0, (-1, hops)), *kept)

    def silence(self, batch: int = 1) -> tuple[Tensor, ...]:
        """Return the states before anything was heard: zeros, as the network's padding has them."""
        return tuple(torch.zeros(batch, *shape) for shape in self.state_shapes)

    def input_shapes(self, input_shape: Sequence[int], batch: int = 1) -> tuple[tuple[int, ...], ...]:
        """The shapes of what a hop takes, for windows of ``input_shape`` (*bands, frames): frames, then each state."""
        frames = (batch, *input_shape[:-1], self.hop_frames)
        return (frames, *((batch, *shape) for shape in self.state_shapes))

    @property
    def state_values(self) -> int:
        """How many values are carried from hop to hop."""
        return sum(torch.Size(shape).numel() for shape in self.state_shapes)


def heard_by(layers: Iterable[nn.Module], frames: Tensor, states: Iterator[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return what layers give for new frames, and their new states; each takes the next of ``states``."""
    kept = []
    for layer in layers:
        if isinstance(layer, OverTime):
            frames, state = layer(frames, next(states))
            kept.append(state)
        else:
            frames = layer(frames)
    return frames, kept


def _sliding(pool: OverTime) -> OverTime:
    """A pool over a window that answers at each frame."""
    layer = copy.copy(pool.layer)
    assert isinstance(layer, nn.AvgPool1d | nn.AvgPool2d)
    layer.stride = (1,) if isinstance(layer, nn.AvgPool1d) else (layer.stride[0], 1)  # type: ignore[index]
    return OverTime(layer, pool.past_frames)


@torch.no_grad()
def streaming(fused: nn.Module, input_shape: Sequence[int]) -> Streaming:
    """Return the streaming form of a fused network in eval mode for windows of ``input_shape`` (..., frames).

    It shares the weights, which may be on ``meta``. Raises :class:`UserError` that names the layer for one that looks
    at later frames or whose form over time is not known, and for a network that does not end in a pool over the whole
    window.
    """
    weight = next(fused.parameters())
    return StreamBuilder(torch.zeros(1, *input_shape, dtype=weight.dtype, device=weight.device)).with_all(fused).built()


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The layers in the order in which they run, where they run one after the other."""
    if isinstance(module, nn.Sequential):
        for child in module:
            yield from _leaves(child)
    else:
        yield module


class StreamBuilder:
    """Walks a network with a window of zeros, to know the shape at each layer.

    ``pooled_frames`` are those that a hop brings where the window is pooled.
    """

    def __init__(self, window: Tensor, pooled_frames: int = 1) -> None:
        self._x = window
        self._pooled_frames = pooled_frames
        self._layers: list[nn.Module] = []
        self._states: list[tuple[int, ...]] = []
        self._hop = 1
        self._padded = 0
        """Frames that a pad has put before the window, for the layer that is to come."""
        self._window_hops = 0
        self._pool_index = 0

    @property
    def window(self) -> Tensor:
        """What the layers so far make of the window."""
        return self._x

    @property
    def layers(self) -> tuple[nn.Module, ...]:
        """Those so far in their streaming forms."""
        return tuple(self._layers)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of their states, of one stream, without the batch."""
        return tuple(self._states)

    @property
    def stride(self) -> int:
        """Of how many frames they make one."""
        return self._hop

    def with_all(self, fused: nn.Module) -> StreamBuilder:
        """Add every layer of a network; raises :class:`UserError` as :func:`streaming` does."""
        for layer, following in pairwise([*_leaves(fused), None]):
            assert layer is not None
            self._add(layer, following)
        return self

    def _add(self, layer: nn.Module, following: nn.Module | None) -> None:
        if isinstance(layer, nn.Dropout | nn.Dropout2d | nn.Identity):
            return
        if self._window_hops or isinstance(layer, (nn.Unflatten, *_FRAMEWISE)):
            # After the pool there is one frame, which is as good as none.
            self._layers.append(layer)
        elif isinstance(layer, _PADS):
            self._pad(layer, following)
        elif isinstance(layer, nn.Conv1d | nn.Conv2d):
            self._convolve(layer)
        elif isinstance(layer, nn.AvgPool1d | nn.AvgPool2d):
            self._pool(layer)
        elif isinstance(layer, Squeeze):
            self._squeeze(layer)
        else:
            raise UserError(f"{_title(layer)} has no streaming form")
        self._x = layer(self._x)

    def built(self) -> Streaming:
        if not self._window_hops:
            raise UserError("the network does not pool over its window, so that it has no streaming form")
        return Streaming(self._layers, self._states, self._hop, self._window_hops, self._pool_index).eval()

    def _pad(self, layer: nn.Module, following: nn.Module | None) -> None:
        before, after, *others = layer.padding  # type: ignore[misc]
        if after or not isinstance(following, nn.Conv1d | nn.Conv2d):
            raise UserError(f"{_title(layer)} puts frames after the window, which a stream has not heard yet")
        self._padded = before
        if any(others):
            self._layers.append(nn.ConstantPad2d((0, 0, *others), 0.0))

    def _convolve(self, layer: nn.Conv1d | nn.Conv2d) -> None:
        past = (layer.kernel_size[-1] - 1) * layer.dilation[-1]
        if isinstance(layer.padding, str) or layer.padding[-1] or self._padded != past:
            raise UserError(
                f"{_title(layer)} is not causal: it needs {past} frames of padding before the window and none after "
                "(build it with padding: causal)"
            )
        self._padded = 0
        self._over_time(layer, past)
        self._hop *= layer.stride[-1]

    def _pool(self, layer: nn.AvgPool1d | nn.AvgPool2d) -> None:
        frames, stride = (size if isinstance(size, int) else size[-1] for size in (layer.kernel_size, layer.stride))
        if frames == stride == 1 < self._x.shape[-1]:
            self._layers.append(layer)  # over bands alone
            return
        if frames != self._x.shape[-1]:
            raise UserError(f"{_title(layer)} pools {frames} of {self._x.shape[-1]} frames; a stream pools all or none")
        self._window_hops, self._pool_index = frames // self._pooled_frames, len(self._layers)
        self._over_time(layer, frames - self._pooled_frames)

    def _squeeze(self, layer: Squeeze) -> None:
        if not layer.is_causal:
            raise UserError(
                f"{_title(layer)} scales each frame by a mean over later ones, too (build it with padding: causal)"
            )
        if layer.past_frames:
            self._keep_past(SqueezeOverTime(layer))
        else:
            self._layers.append(layer)

    def _over_time(self, layer: nn.Module, past_frames: int) -> None:
        if past_frames:
            self._keep_past(OverTime(layer, past_frames))
        else:
            self._layers.append(layer)

    def _keep_past(self, layer: OverTime) -> None:
        self._layers.append(layer)
        self._states.append((*self._x.shape[1:-1], layer.past_frames))


def _title(layer: nn.Module) -> str:
    return f"{type(layer).__name__}({layer.extra_repr()})"
