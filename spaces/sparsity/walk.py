"""How channels flow through a network: which elements of which weights belong to which channel.

Each channel that a convolution or a linear layer writes gets a number. An activation carries the numbers of its
elements, and whatever moves elements (a view, a split, a concatenation, a pad) moves the numbers by the same operator.
Where channels meet, as in a residual sum, their numbers are tied: they can only go together. Number 0 stays for good.

Beside its numbers an activation carries what each element is once its channel is gone: a constant, mostly zero, that
activations and sums change, and that whoever reads the channel must be able to take into its bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from ..exits.network import AllAnswers
from .flow import Flow, Layer
from .places import (
    UNKNOWN,
    along,
    bordered,
    compact,
    constant,
    constants_along,
    inner_axes,
    spread,
    stands_for_many,
    uniform,
)

_MOVES = (
    "view", "_unsafe_view", "reshape", "_reshape_copy", "unsqueeze", "squeeze", "transpose", "permute", "t", "expand",
    "slice", "select", "split", "split_with_sizes", "chunk", "unbind", "cat", "stack", "clone", "alias", "detach",
    "repeat", "flip", "lift_fresh", "contiguous",
)  # fmt: skip
_RESHAPES = ("view", "_unsafe_view", "reshape", "_reshape_copy")
_REDUCTIONS = ("mean", "sum", "amax", "amin")
_POOLS = ("avg_pool1d", "avg_pool2d", "max_pool2d_with_indices", "_adaptive_avg_pool2d")
_NORMS = ("native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm")
_OVER_AN_AXIS = ("_softmax", "_log_softmax", "native_layer_norm", "_fused_rms_norm")
"""They weigh the elements of an axis against each other, so that none of them can go."""


@dataclass(frozen=True)
class Activation:
    """``channels``: the number of each element; ``gone``: its value once its channel is gone, NaN where not known."""

    channels: Tensor
    gone: Tensor


@dataclass(frozen=True)
class Weights:
    """A view of a parameter or a buffer: which of its elements stand where, and their values."""

    name: str
    size: int
    """Elements of the whole."""
    elements: Tensor
    values: Tensor


@torch.no_grad()
def flow_of(fused: nn.Module, input_shape: Sequence[int], *, with_values: bool = False) -> Flow:
    """Walk through a fused network in eval mode, on any device, for one input of ``input_shape`` without the batch.

    Without values the weights of a channel that goes are taken for zeros, biases too, as masks make them; the numbers
    are the same with and without.
    """
    state = {**dict(fused.named_parameters()), **dict(fused.named_buffers())}
    twins = {name: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="meta") for name, t in state.items()}
    walk = _Walk()
    for name, twin in twins.items():
        values = (
            state[name].detach().double() if with_values else torch.zeros((), dtype=torch.double).expand(twin.shape)
        )
        walk.know_weights(twin, Weights(name, twin.numel(), torch.arange(twin.numel()).reshape(twin.shape), values))
    example = torch.empty(1, *input_shape, dtype=next(iter(twins.values())).dtype, device="meta")
    walk.know(example, torch.zeros(example.shape, dtype=torch.long), constant(UNKNOWN, example.shape))
    with walk:
        # The heads of early exits read channels, too.
        outputs = functional_call(AllAnswers(fused), {f"network.{name}": twin for name, twin in twins.items()}, example)
    for output in tree_leaves(outputs):
        walk.stay(output)
    return walk.flow


class _Walk(TorchDispatchMode):
    """Sees each operator with meta tensors and does the same to the numbers of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = Flow()
        self._activations: dict[int, Activation] = {}
        self._weights: dict[int, Weights] = {}
        self._alive: list[Tensor] = []  # ids stay unique while their owners live

    def know(self, tensor: Tensor, channels: Tensor, gone: Tensor) -> None:
        self._alive.append(tensor)
        self._activations[id(tensor)] = Activation(channels, gone)

    def know_weights(self, tensor: Tensor, weights: Weights) -> None:
        self._alive.append(tensor)
        self._weights[id(tensor)] = weights

    def stay(self, tensor: Tensor) -> None:
        """Let all channels of an activation stay for good."""
        known = self._activations.get(id(tensor))
        if known is not None:
            self._stay_all(known.channels)

    def _tie(self, left: Tensor, right: Tensor) -> None:
        left, right = compact(left, right)
        pairs = torch.stack([left.flatten(), right.flatten()]).unique(dim=1)
        pairs = pairs[:, pairs[0] != pairs[1]]
        if pairs.shape[1]:
            self.flow.ties.append((pairs[0], pairs[1]))

    def _own(self, weights: Weights, role: str, channels: Tensor) -> None:
        """Give each element of a view of a parameter the number that stands at its place in ``channels``."""
        roles = self.flow.owners.setdefault(weights.name, {})
        elements, channels = weights.elements.flatten(), channels.expand(weights.elements.shape).flatten()
        if role in roles:
            # A layer that is used twice ties what it reads and writes in both places.
            known = roles[role][elements]
            self._tie(torch.where(known < 0, channels, known), channels)
        else:
            roles[role] = torch.full((weights.size,), -1)
        roles[role][elements] = channels

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func._overloadpacket.__name__.removesuffix("_")
        if any(id(tensor) in self._activations for tensor in given):
            self._pass(func, name, args, kwargs, given, result)
        elif name in _MOVES and len(given) == 1 and id(given[0]) in self._weights:
            self._move_weights(func, args, kwargs, self._weights[id(given[0])], result)
        return result

    def _move_weights(self, func: Any, args: Any, kwargs: Any, known: Weights, result: Any) -> None:
        elements = self._substituted(func, args, kwargs, lambda _: known.elements)
        values = self._substituted(func, args, kwargs, lambda _: known.values)
        for tensor, moved, value in zip(tree_leaves(result), elements, values, strict=True):
            self.know_weights(tensor, Weights(known.name, known.size, moved, value))

    def _pass(self, func: Any, name: str, args: Any, kwargs: Any, given: list[Tensor], result: Any) -> None:
        if name in _MOVES and all(id(tensor) in self._activations for tensor in given):
            self._move(func, name, args, kwargs, result)
        elif name == "constant_pad_nd":
            self._pad(args, result)
        elif name == "convolution":
            self._convolve(args, result)
        elif name in ("addmm", "mm", "linear") and self._is_layer(name, args):
            self._multiply(name, args, result)
        elif name in ("bmm", "mm"):
            self._contract(args, result)
        elif name in _POOLS:
            self._pool(args, result)
        elif name in _REDUCTIONS:
            self._reduce(func, args, kwargs, result)
        elif name in _NORMS:
            self._normalise(args, result)
        elif name in _OVER_AN_AXIS:
            self._over_an_axis(name, args, result)
        elif name == "glu":
            self._glu(func, args, kwargs, result)
        elif torch.Tag.pointwise in func.tags:
            self._meet(func, name, args, kwargs, given, result)
        else:
            self.flow.unknown.add(f"aten.{name}")
            self._whole(given, result)

    def _whole(self, given: list[Tensor], result: Any) -> None:
        for tensor in given:
            self.stay(tensor)
        for output in tree_leaves(result):
            if isinstance(output, Tensor):
                self.know(output, torch.zeros(output.shape, dtype=torch.long), constant(UNKNOWN, output.shape))

    def _substituted(self, func: Any, args: Any, kwargs: Any, part: Callable[[Tensor], Tensor]) -> list[Tensor]:
        args, kwargs = tree_map_only(Tensor, part, (args, kwargs))
        return [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, Tensor)]

    def _move(self, func: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
        # What stands for many places has no memory of its own, which a change of shape may need.
        channels = self._substituted(func, args, kwargs, lambda t: self._activations[id(t)].channels.contiguous())
        gone = self._substituted(func, args, kwargs, lambda t: self._activations[id(t)].gone.contiguous())
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for output, numbers, values in zip(outputs, channels, gone, strict=True):
            self.know(output, numbers, values)
            if name in _RESHAPES:
                for axis in inner_axes(args[0].shape, output.shape):
                    # Such as the channels of one head: the size of a part stays, the number of parts may fall.
                    self._tie(numbers, numbers.narrow(axis, 0, 1).expand_as(numbers))

    def _pad(self, args: Any, result: Tensor) -> None:
        known = self._activations[id(args[0])]
        numbers = along(known.channels, 1)
        padded_channels = len(args[1]) > 2 * (result.dim() - 2)
        if numbers is None or padded_channels:
            self._whole([args[0]], result)
            return
        self.know(result, spread(numbers, result.shape, 1), bordered(known.gone, result.shape))

    def _convolve(self, args: Any, result: Tensor) -> None:
        x, weight, bias, _, padding, _, transposed, _, groups = args[:9]
        known, kernel = self._activations[id(x)], self._weights.get(id(weight))
        reads = along(known.channels, 1)
        if transposed or kernel is None or reads is None or (bias is not None and id(bias) not in self._weights):
            self.flow.unknown.add("aten.convolution, transposed" if transposed else "aten.convolution")
            self._whole([x], result)
            return
        gone = constants_along(known.gone, 1)
        if any(padding):
            gone = torch.where(gone == 0, 0.0, UNKNOWN)
        places = result[:, 0].numel()
        writes = self._layer(kernel, bias, reads, gone, groups, places, axes=(0, 1))
        output = self._constant_output(kernel.values, bias)
        if self.flow.layers[-1].is_depthwise:
            # What goes in comes out again, as a constant.
            taps = kernel.values.flatten(1).sum(1)
            from_input = gone.repeat_interleave(len(writes) // groups) * taps
            output = self._bias_values(bias, len(writes)) + torch.where(taps == 0, 0.0, from_input)
        self.know(result, spread(writes, result.shape, 1), spread(output, result.shape, 1))

    def _is_layer(self, name: str, args: Any) -> bool:
        x, weight = (args[1], args[2]) if name == "addmm" else (args[0], args[1])
        return id(x) in self._activations and id(weight) in self._weights

    def _multiply(self, name: str, args: Any, result: Tensor) -> None:
        """A linear layer, as torch.nn.Linear comes here: its weight transposed, but in aten.linear."""
        bias, x, weight = args if name == "addmm" else (args[2] if len(args) > 2 else None, args[0], args[1])
        known, kernel = self._activations[id(x)], self._weights[id(weight)]
        reads, gone = along(known.channels, -1), constants_along(known.gone, -1)
        if reads is None or (bias is not None and id(bias) not in self._weights):
            self._whole([x], result)
            return
        axes, places = (0, 1) if name == "linear" else (1, 0), result[..., 0].numel()
        writes = self._layer(kernel, bias, reads, gone, 1, places, axes)
        output = self._constant_output(kernel.values if name == "linear" else kernel.values.mT, bias)
        self.know(result, spread(writes, result.shape, -1), spread(output, result.shape, -1))

    def _layer(
        self, kernel: Weights, bias: Tensor | None, reads: Tensor, gone: Tensor, groups: int, places: int,
        axes: tuple[int, int],
    ) -> Tensor:  # fmt: skip
        """Note a layer whose weight has its outputs and inputs along ``axes``; return the numbers that it writes."""
        written = kernel.elements.shape[axes[0]]
        writes = torch.arange(self.flow.count, self.flow.count + written)
        self.flow.count += written
        is_depthwise = groups == len(reads) > 1
        if is_depthwise:
            self._tie(reads.repeat_interleave(written // groups), writes)
        elif groups > 1:
            # The groups stay equal: a channel goes with those at its place in the others.
            for channels in (reads.reshape(groups, -1), writes.reshape(groups, -1)):
                self._tie(channels[:1].expand_as(channels), channels)
        by_axis = [1] * kernel.elements.dim()
        self._own(kernel, "writes", writes.reshape([*by_axis[: axes[0]], -1, *by_axis[axes[0] + 1 :]]))
        if not is_depthwise:
            first_group = reads[: len(reads) // groups]
            self._own(kernel, "reads", first_group.reshape([*by_axis[: axes[1]], -1, *by_axis[axes[1] + 1 :]]))
        bias_name = None
        if bias is not None:
            self._own(self._weights[id(bias)], "writes", writes)
            bias_name = self._weights[id(bias)].name
        self.flow.layers.append(Layer(kernel.name, bias_name, reads, writes, gone, groups, is_depthwise, places))
        return writes

    def _constant_output(self, kernel: Tensor, bias: Tensor | None) -> Tensor:
        """Return by output what a layer gives where its kernel is all zero: its bias."""
        is_silent = (kernel == 0).flatten(1).all(1)
        return torch.where(is_silent, self._bias_values(bias, len(kernel)), UNKNOWN)

    def _bias_values(self, bias: Tensor | None, count: int) -> Tensor:
        return torch.zeros(count, dtype=torch.double) if bias is None else self._weights[id(bias)].values

    def _contract(self, args: Any, result: Tensor) -> None:
        """A product of two activations (..., n, k) and (..., k, m), as in attention: the k of both are summed over."""
        left, right = (self._activations.get(id(tensor)) for tensor in args[:2])
        if left is None or right is None:
            self._whole([t for t in args[:2] if id(t) in self._activations], result)
            return
        summed = uniform(left.channels, -2), uniform(right.channels, -1)
        parts, values = _of_parts(left.channels), uniform(right.channels, -2)
        if summed[0] is not None and summed[1] is not None:
            # Queries times keys: what is summed over can only go from both, and with it the scores of its part.
            self._tie(summed[0], summed[1])
            self.flow.products.append((summed[0], result.shape[-2] * result.shape[-1]))
            several = len(result) > 1
            if several:
                self._tie(summed[0], summed[0][..., :1].expand_as(summed[0]))
                self.flow.heads.append(summed[0])
            numbers = summed[0][..., :1, None] if several else torch.zeros((), dtype=torch.long)
            self.know(result, numbers.expand(result.shape), constant(UNKNOWN, result.shape))
        elif parts is not None and values is not None:
            # Scores times values: a part goes from both, and the values' channels go on.
            self.flow.products.append((values, args[0].shape[-2] * args[0].shape[-1]))
            numbers = values.unsqueeze(-2).expand(result.shape)
            if len(result) > 1:
                self._tie(numbers, parts.expand(result.shape))
            gone = torch.where((right.gone == 0).all(-2, keepdim=True), 0.0, UNKNOWN)
            self.know(result, numbers, gone.expand(result.shape))
        else:
            self._whole(list(args[:2]), result)

    def _over_an_axis(self, name: str, args: Any, result: Any) -> None:
        """Elements of an axis are weighed against each other: none of them can go, unless all are of one part."""
        known = self._activations[id(args[0])]
        if name in ("_softmax", "_log_softmax") and uniform(known.channels, args[1]) is not None:
            self.know(result, known.channels, constant(UNKNOWN, result.shape))
        else:
            self._whole([args[0]], result)

    def _stay_all(self, channels: Tensor) -> None:
        self._tie(channels, torch.zeros((), dtype=torch.long).expand_as(channels))

    def _pool(self, args: Any, result: Any) -> None:
        known = self._activations[id(args[0])]
        numbers = along(known.channels, 1)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if numbers is None:
            self._whole([args[0]], result)
            return
        is_padded = len(args) > 3 and any(args[3])
        for output in outputs:
            gone = spread(constants_along(known.gone, 1), output.shape, 1)
            self.know(output, spread(numbers, output.shape, 1), bordered(gone, output.shape) if is_padded else gone)

    def _reduce(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        known = self._activations[id(args[0])]
        axes = args[1] if len(args) > 1 else kwargs.get("dim")
        keeps = bool(args[2]) if len(args) > 2 else bool(kwargs.get("keepdim", False))
        if not axes:
            self._whole([args[0]], result)
            return
        least, most = known.channels.amin(axes, keeps), known.channels.amax(axes, keeps)
        if not torch.equal(least, most):
            self._whole([args[0]], result)
            return
        self.know(result, least, func(known.gone, *args[1:], **{k: v for k, v in kwargs.items() if k != "dtype"}))

    def _normalise(self, args: Any, result: Any) -> None:
        x, weight, bias, mean, variance = args[:5]
        known, output = self._activations[id(x)], tree_leaves(result)[0]
        numbers = along(known.channels, 1)
        of_channels = [self._weights.get(id(t)) for t in (weight, bias, mean, variance) if t is not None]
        if numbers is None or any(view is None for view in of_channels):
            self._whole([x], output)
            return
        for view in of_channels:
            assert view is not None
            self._own(view, "tied", numbers)
        shape = [1, -1, *[1] * (known.gone.dim() - 2)]
        scale, shift, centre, variance = (
            view.values.reshape(shape) if view is not None else default
            for view, default in zip(of_channels, (1.0, 0.0, 0.0, 1.0), strict=False)
        )
        gone = (known.gone - centre) / (variance + args[-1]) ** 0.5 * scale + shift
        self.know(output, known.channels, gone)

    def _glu(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        known = self._activations[id(args[0])]
        axis = args[1] if len(args) > 1 else kwargs.get("dim", -1)
        values, gates = known.channels.chunk(2, axis)
        self._tie(values, gates)
        self.know(result, values, func(known.gone, axis))

    def _meet(self, func: Any, name: str, args: Any, kwargs: Any, given: list[Tensor], result: Any) -> None:
        """Elements meet place by place: what stands at one place is tied, unless one of them stands for many."""
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        shape = outputs[0].shape
        flows = [t for t in given if id(t) in self._activations]
        met: list[Tensor] = []
        for tensor in dict.fromkeys(flows):
            numbers = self._activations[id(tensor)].channels
            others = [self._activations[id(t)].channels for t in flows if t is not tensor]
            if any(stands_for_many(numbers, other, shape) for other in others):
                self.stay(tensor)
            else:
                met.append(numbers.expand(shape))
        channels = met[0] if met else torch.zeros((), dtype=torch.long).expand(shape)
        for numbers in met[1:]:
            self._tie(channels, numbers)
        for tensor in given:
            if id(tensor) in self._weights:
                self._tie_weights(self._weights[id(tensor)], channels)
        gone = self._gone_after(func, name, args, kwargs, shape)
        for output in outputs:
            self.know(output, channels, gone)

    def _tie_weights(self, weights: Weights, channels: Tensor) -> None:
        """Give each element of a factor or summand the channel that it meets; one that meets several is of none."""
        places = weights.elements.expand(channels.shape).flatten()
        flat = channels.flatten()
        least = torch.full((weights.size,), self.flow.count).scatter_reduce(0, places, flat, "amin")
        most = torch.full((weights.size,), -1).scatter_reduce(0, places, flat, "amax")
        if torch.equal(least[places.unique()], most[places.unique()]):
            self._own(weights, "tied", least[weights.elements])

    def _gone_after(self, func: Any, name: str, args: Any, kwargs: Any, shape: torch.Size) -> Tensor:
        def value(tensor: Tensor) -> Tensor:
            if id(tensor) in self._activations:
                return self._activations[id(tensor)].gone
            if id(tensor) in self._weights:
                return self._weights[id(tensor)].values
            # A scalar that torch made a tensor of has its value; what else was computed here has none.
            return torch.full(tensor.shape, UNKNOWN) if tensor.is_meta else tensor

        operands = [value(leaf).expand(shape) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # Computed once for all places that are alike.
        alike = iter(compact(*operands))
        output = self._substituted(func, args, kwargs, lambda _: next(alike))[0]
        if name == "mul":
            # Nothing times whatever is nothing.
            factors = [*compact(*operands), *(torch.tensor(arg) for arg in args if not isinstance(arg, Tensor))]
            nothing = torch.stack([torch.broadcast_to(factor == 0, output.shape) for factor in factors]).any(0)
            output = torch.where(nothing, 0.0, output)
        if not output.is_floating_point():
            return constant(UNKNOWN, shape)
        return output.double().expand(shape)


def _of_parts(numbers: Tensor) -> Tensor | None:
    """Return the one number of each matrix of (..., n, k), (..., 1, 1); None where there are several in one."""
    first = numbers[..., :1, :1]
    return first if bool((numbers == first).all()) else None
