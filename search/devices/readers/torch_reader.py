"""From a torch module to a ``Graph``, without weights and without training.

The module runs once under a dispatch mode that sees every aten operator. Activations live on the
``meta`` device, and each weight is stood in for by a meta tensor of its form, so a module with real weights is read
where it is and costs nothing more. ``torch.export`` gives the same operators at ten times
the price, too slow for a budget check on thousands of candidates.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

from ....spaces.errors import UserError, first_line
from ..graph import Attribute, Graph, Operator, TensorInfo

_KIND_NAMES = {
    "conv": "convolution",
    "linear": "mm addmm bmm baddbmm",
    "pool": "avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices _adaptive_avg_pool2d "
    "_adaptive_avg_pool3d adaptive_max_pool2d",
    "reduce": "mean sum amax amin max min var std var_mean argmax argmin prod linalg_vector_norm cumsum",
    "normalization": "native_batch_norm _native_batch_norm_legit_no_training native_layer_norm "
    "native_group_norm _fused_rms_norm",
    "activation": "relu hardtanh sigmoid tanh silu gelu hardswish hardsigmoid leaky_relu elu softplus mish "
    "_prelu_kernel clamp clamp_min clamp_max relu6",
    "softmax": "_softmax _log_softmax _safe_softmax logsumexp",
    "pad": "constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d",
    "transpose": "transpose permute t",
    "concat": "cat stack",
    "copy": "index_select gather embedding index repeat roll flip copy upsample_nearest1d upsample_nearest2d "
    "upsample_bilinear2d pixel_shuffle",
    # A clone only makes a transposition real, which is counted where it stands.
    "view": "view _unsafe_view reshape unsqueeze squeeze detach alias clone expand _reshape_copy lift_fresh",
}
_KIND = {name: kind for kind, names in _KIND_NAMES.items() for name in names.split()}
# Their results hang on the form of their argument, not on its values.
_FACTORIES = frozenset(
    f"{prefix}{name}{suffix}"
    for prefix, suffix in (("new_", ""), ("", "_like"))
    for name in ("zeros", "ones", "full", "empty", "rand", "randn")
)
# Meta kernels written in Python cost 0.3 ms a call; these keep shape and dtype, so nothing has to be asked.
_KEEP_SHAPE = frozenset(
    ("relu", "hardtanh", "sigmoid", "tanh", "silu", "gelu", "hardswish", "hardsigmoid", "leaky_relu", "elu")
)
_DATA_DEPENDENT = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


Shapes = Sequence[int] | Sequence[Sequence[int]]
"""Of the only input, or of each of several, with the batch."""


def read_module(module: torch.nn.Module, example_input_shape: Shapes) -> Graph:
    """The graph of ``module`` in evaluation mode for one float32 input of ``example_input_shape``, or for several.

    Shapes include the batch. Of several inputs the first are features, the others states: see ``Graph.states``.
    Weights may be real or on ``meta``; their values are not read. MACs are those of ``torch.utils.flop_counter`` (two
    operations each). An operator without a known kind becomes "other" and stands in ``Graph.unknown``.

    Raises ``UserError`` when the module is in training mode, when it does not take this shape, or when
    what it computes next hangs on values (data-dependent control flow, dynamic shapes).
    """
    title = type(module).__name__
    if module.training:
        raise UserError(f"{title}: in training mode; call .eval() before it is profiled")
    return record(module, example_input_shape, title)


def each_shape(shapes: Shapes) -> tuple[tuple[int, ...], ...]:
    """The shape of each input, where a single one may have been given as it is."""
    several = [tuple(shape) for shape in shapes if not isinstance(shape, int)]
    return tuple(several) or (tuple(size for size in shapes if isinstance(size, int)),)


def record(module: torch.nn.Module, example_input_shape: Shapes, title: str) -> Graph:
    """``read_module`` for a module that is known to compute what it does in evaluation mode."""
    shapes = each_shape(example_input_shape)
    examples = tuple(torch.empty(shape, device="meta") for shape in shapes)
    state = _meta_state(module)
    recorder = Recorder(state, examples)
    try:
        with torch.no_grad(), recorder:
            outputs = functional_call(module, state, examples, tie_weights=False)
    except UserError as error:
        raise UserError(f"{title}: {error}") from error
    except (RuntimeError, ValueError, IndexError) as error:
        reason = first_line(error)
        where = f" near {recorder.last_operator}" if recorder.last_operator else ""
        given = f"an input of shape {shapes[0]}" if len(shapes) == 1 else f"inputs of shapes {shapes}"
        raise UserError(
            f"{title}: does not run on {given}{where}: {reason} (give the shape that the model was built for)"
        ) from error
    return recorder.graph([leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)])


def _meta_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Meta twins of all weights and buffers: one for each tensor, under one name in each module that holds it.

    ``functional_call`` would tie what is shared itself, but it leaves the twins in a module that stands in two places.
    """
    twins: dict[int, torch.Tensor] = {}
    state = {}
    for prefix, part in module.named_modules():
        held = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
        for name, tensor in held:
            # Detached: torch takes products apart in another way where a factor wants a gradient.
            twin = twins.setdefault(id(tensor), _meta_twin(tensor).detach())
            state[f"{prefix}.{name}" if prefix else name] = twin
    return state


class Recorder(TorchDispatchMode):
    """Runs each operator on meta tensors and writes it down in single-assignment form.

    A tensor is an activation when its storage is known here; whatever is computed from constants alone
    is a constant itself. After an in-place write all tensors of that storage stand for the new version.
    """

    def __init__(self, state: Mapping[str, torch.Tensor], examples: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.last_operator = ""
        self._tensors: dict[str, TensorInfo] = {}
        self._operators: list[Operator] = []
        self._weights: dict[tuple[int, int, int], str] = {}
        self._names: dict[int, str] = {}  # id of a tensor -> its name
        self._storages: dict[int, tuple[str, list[int]]] = {}  # storage -> latest name, ids of its tensors
        self._originals: dict[int, int] = {}  # storage of a meta twin -> storage of its original
        self._alive: list[torch.Tensor] = []  # ids and storages stay unique while their owners live
        self._state_names = {self._constant_key(tensor): name for name, tensor in state.items()}
        self._inputs = tuple(f"input{number}" if len(examples) > 1 else "input" for number in range(len(examples)))
        for name, example in zip(self._inputs, examples, strict=True):
            self._bind(example, self._new_tensor(name, example))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        name = func._overloadpacket.__name__
        if not any(self._storage(tensor) in self._storages for tensor in given) or name in _FACTORIES:
            return func(*args, **kwargs)
        self.last_operator = f"aten.{name}"
        inputs = tuple(dict.fromkeys(self._name_of(tensor) for tensor in given))
        args, kwargs = tree_map_only(torch.Tensor, self._on_meta, (args, kwargs))
        written = next((given[0] for a in func._schema.arguments[:1] if a.alias_info and a.alias_info.is_write), None)
        result = _result(func, name, args, kwargs)
        if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            self._record(func, name.removesuffix("_"), args, kwargs, inputs, result, written)
        return result

    def _record(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        inputs: tuple[str, ...],
        result: Any,
        written: torch.Tensor | None,
    ) -> None:
        results = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        number = len(self._operators)
        if written is not None:
            outputs = [self._overwrite(written, f"{name}_{number}")]
        else:
            outputs = [self._new_tensor(f"{name}_{number}.{i}", tensor) for i, tensor in enumerate(results)]
            for output, tensor in zip(outputs, results, strict=True):
                self._bind(tensor, output)
        kind = self._kind(func, name, args, inputs, results, written)
        count: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        macs = count(*args, **kwargs, out_val=result) // 2 if count else 0
        attributes = (("operator", self.last_operator), *_plain_arguments(func, args, kwargs))
        self._operators.append(Operator(kind, f"{name}_{number}", inputs, tuple(outputs), macs, attributes))

    def _kind(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        inputs: tuple[str, ...],
        results: list[torch.Tensor],
        written: torch.Tensor | None,
    ) -> str:
        kind = _KIND.get(name)
        if kind == "conv":
            channels, groups = args[0].shape[1], args[8]
            return "depthwise_conv" if 1 < groups == channels else "conv"
        if kind == "linear":
            weights = set(self._weights.values())
            return "linear" if any(name in weights for name in inputs) else "matmul"
        if kind == "transpose" and _keeps_order(args[0].shape, _permutation(name, args)):
            return "view"
        if name == "expand" and results[0].numel() != args[0].numel():
            return "copy"
        if name == "_to_copy":
            return "view" if results[0].dtype == args[0].dtype else "elementwise"
        if kind:
            return kind
        if torch.Tag.pointwise in func.tags:
            return "elementwise"
        shares = written is None and any(
            self._storage(results[0]) == self._storage(a) for a in args if isinstance(a, torch.Tensor)
        )
        return "copy" if shares else "other"

    def _name_of(self, tensor: torch.Tensor) -> str:
        """The name of an activation, or of a constant, which gets one when it is first read."""
        self._alive.append(tensor)
        latest = self._storages.get(self._storage(tensor))
        if latest is not None:
            return self._names.get(id(tensor), latest[0])
        key = self._constant_key(tensor)
        if key not in self._weights:
            name = self._state_names.get(key, f"constant_{len(self._weights)}")
            self._weights[key] = self._new_tensor(name, tensor)
        return self._weights[key]

    def _on_meta(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor as operators see it: a meta twin, whose views are views of the original."""
        twin = _meta_twin(tensor)
        if twin is not tensor:
            self._alive.append(twin)
            self._originals[int(twin.untyped_storage()._cdata)] = self._storage(tensor)
        return twin

    def _storage(self, tensor: torch.Tensor) -> int:
        storage = int(tensor.untyped_storage()._cdata)
        return self._originals.get(storage, storage)

    def _constant_key(self, tensor: torch.Tensor) -> tuple[int, int, int]:
        """A transposed or reshaped weight is the same weight; a slice of it is another."""
        return self._storage(tensor), int(tensor.storage_offset()), tensor.numel()

    def _new_tensor(self, name: str, like: torch.Tensor) -> str:
        dtype = str(like.dtype).removeprefix("torch.")
        self._tensors[name] = TensorInfo(name, tuple(like.shape), dtype, like.numel() * like.element_size())
        return name

    def _bind(self, tensor: torch.Tensor, name: str) -> None:
        self._alive.append(tensor)
        self._names[id(tensor)] = name
        _, members = self._storages.get(self._storage(tensor), (name, []))
        self._storages[self._storage(tensor)] = (name, [*members, id(tensor)])

    def _overwrite(self, tensor: torch.Tensor, name: str) -> str:
        """A new version of all that shares the storage of ``tensor``; as long as it when only a slice is written."""
        self._new_tensor(name, tensor)
        nbytes = tensor.untyped_storage().nbytes()
        if nbytes != self._tensors[name].nbytes:
            count = nbytes // tensor.element_size()
            self._tensors[name] = TensorInfo(name, (count,), self._tensors[name].dtype, nbytes)
        _, members = self._storages.get(self._storage(tensor), (name, []))
        members = [*members, id(tensor)]
        self._storages[self._storage(tensor)] = (name, members)
        self._names.update(dict.fromkeys(members, name))
        return name

    def graph(self, outputs: list[torch.Tensor]) -> Graph:
        """What was recorded, for these results of the module."""
        names = dict.fromkeys(self._name_of(tensor) for tensor in outputs)
        return Graph.of(self._tensors, self._operators, self._inputs, names, self._weights.values())


def _meta_twin(tensor: torch.Tensor) -> torch.Tensor:
    """The form of a tensor without its values; itself when it has none."""
    if tensor.is_meta:
        return tensor
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _result(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if name.removesuffix("_") in _KEEP_SHAPE:
        return args[0] if name.endswith("_") else torch.empty_like(args[0])
    try:
        return func(*args, **kwargs)
    except RuntimeError as error:
        if not any(tag in func.tags for tag in _DATA_DEPENDENT):
            raise
        raise UserError(
            f"aten.{name}: what follows hangs on the values of an activation, so the model has no fixed cost "
            "(data-dependent control flow or a dynamic shape); write it without, or take it out"
        ) from error


def _plain_arguments(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Attribute]]:
    named = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)}
    plain: list[tuple[str, Attribute]] = []
    for name, value in (named | kwargs).items():
        if isinstance(value, (bool, int, float, str)):
            plain.append((name, value))
        elif isinstance(value, (list, tuple)) and value and all(isinstance(v, (int, float)) for v in value):
            plain.append((name, tuple(value)))
    return plain


def _permutation(name: str, args: tuple[Any, ...]) -> list[int]:
    rank = args[0].dim()
    if name == "permute":
        return [axis % rank for axis in args[1]]
    order = list(range(rank))
    if rank > 1:
        first, second = (0, 1) if name == "t" else (args[1] % rank, args[2] % rank)
        order[first], order[second] = order[second], order[first]
    return order


def _keeps_order(shape: Sequence[int], permutation: Sequence[int]) -> bool:
    """Whether a permutation only moves axes of length one, and so no byte."""
    moved = [axis for axis in permutation if shape[axis] != 1]
    return moved == sorted(moved) or math.prod(shape) == 0
