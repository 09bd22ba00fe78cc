import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.errors import UserError


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(8, 8, 3, padding=1), nn.Conv1d(8, 8, 1)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.second(torch.relu(self.first(x))) + x)
        return self.head(y.mean(-1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mix = nn.LayerNorm(16), nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        return x + self.mix(y, y, y, need_weights=False)[0]


def counted_macs(module: nn.Module, shape: tuple[int, ...]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.to("meta")(torch.empty(shape, device="meta"))
    return counter.get_total_flops() // 2


@st.composite
def convolution_nets(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    rank = draw(st.sampled_from([1, 2]))
    conv = nn.Conv1d if rank == 1 else nn.Conv2d
    channels = draw(st.integers(1, 6))
    shape = (draw(st.integers(1, 3)), channels, *([draw(st.integers(8, 20))] * rank))
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kernel = draw(st.integers(1, 3))
        groups = channels if draw(st.booleans()) else 1
        out = groups * draw(st.integers(1, 4))
        stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
        layers += [conv(channels, out, kernel, stride, 2, dilation, groups, bias=draw(st.booleans())), nn.ReLU()]
        channels = out
    layers += [nn.Flatten(2), nn.Linear(1, 4)] if draw(st.booleans()) else []
    if isinstance(layers[-1], nn.Linear):
        layers.insert(-2, nn.AdaptiveAvgPool1d(1) if rank == 1 else nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers).eval(), shape


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(convolution_nets())
def test_macs_are_the_flop_counters(case: tuple[nn.Module, tuple[int, ...]]) -> None:
    module, shape = case
    graph = read_module(module, shape)
    assert graph.unknown == ()
    assert graph.macs == counted_macs(module, shape)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (Attention(), (1, 10, 16)),
        (nn.Sequential(nn.ConvTranspose1d(4, 6, 3, stride=2), nn.SiLU()), (1, 4, 9)),
        (nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 4), nn.Softmax(-1)), (2, 5, 8)),
    ],
    ids=["attention", "transposed", "linear"],
)
def test_macs_of_other_layers(module: nn.Module, shape: tuple[int, ...]) -> None:
    graph = read_module(module.eval(), shape)
    assert graph.unknown == ()
    assert graph.macs == counted_macs(module, shape) > 0
    assert graph.parameters == sum(p.numel() for p in module.parameters())


def test_kinds_wiring_and_parameters() -> None:
    module = Residual().eval()
    graph = read_module(module, (1, 8, 20))
    assert [op.kind for op in graph.operators] == [
        "conv", "activation", "conv", "elementwise", "activation", "reduce", "linear",
    ]  # fmt: skip
    assert "input" in graph.operators[3].inputs
    assert graph.parameters == sum(p.numel() for p in module.parameters())
    assert {"first.weight", "head.bias"} <= set(graph.weights)


def test_meta_and_real_weights_give_the_same_graph_and_stay_as_they_are() -> None:
    real = Residual().eval()
    before = {name: tensor.clone() for name, tensor in real.state_dict().items()}
    with torch.device("meta"):
        empty = Residual().eval()
    assert read_module(real, (1, 8, 20)).digest == read_module(empty, (1, 8, 20)).digest
    assert all(torch.equal(tensor, before[name]) for name, tensor in real.state_dict().items())
    assert all(tensor.device.type == "cpu" for tensor in real.state_dict().values())


def test_depthwise_and_batch_norm_and_pooling() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(2)).eval()
    graph = read_module(module, (1, 4, 10, 10))
    assert [op.kind for op in graph.operators] == ["depthwise_conv", "normalization", "activation", "pool"]
    assert graph.parameters == 4 * 9 + 4 + 4 * 4


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(4, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(self.one(x))


def test_a_shared_weight_counts_once_and_its_macs_twice() -> None:
    graph = read_module(Shared().eval(), (1, 4))
    assert (graph.parameters, graph.macs) == (16, 32)


class Normed(nn.Module):
    """Its kernel is computed from two parameters, which a runtime would store as one."""

    def __init__(self) -> None:
        super().__init__()
        self.length, self.direction = nn.Parameter(torch.ones(4, 1)), nn.Parameter(torch.ones(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.length * self.direction / self.direction.norm())


def test_constants_are_folded() -> None:
    graph = read_module(Normed().eval(), (1, 3))
    assert [op.kind for op in graph.operators] == ["linear"]
    assert graph.parameters == 12


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        kept = y.view(1, -1)
        y.relu_()
        y += 1
        return kept * 2


def test_an_in_place_write_reaches_every_alias() -> None:
    graph = read_module(InPlace().eval(), (1, 2, 5))
    assert [op.kind for op in graph.operators] == ["conv", "activation", "elementwise", "elementwise"]


class Slices(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv1d(2, 2, 1), nn.Conv1d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros(1, 4, x.shape[-1])
        y[:, :2] = self.left(x)
        y[:, 2:] = self.right(x)
        return y.relu()


def test_writes_into_slices_keep_what_they_write() -> None:
    graph = read_module(Slices().eval(), (1, 2, 5))
    assert [op.kind for op in graph.operators].count("conv") == 2
    relu = graph.operators[-1]
    assert [graph.tensors[name].nbytes for name in (*relu.inputs, *relu.outputs)] == [80, 80]


class Moves(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x.transpose(0, 1).unsqueeze(0).transpose(1, 3).reshape(-1)
        return torch.cat([y, y[:4], torch.special.erfinv(y[:2]).expand(3, 2).flatten()])


def test_only_what_moves_bytes_is_a_copy() -> None:
    graph = read_module(Moves().eval(), (1, 3, 5))
    kinds = [op.kind for op in graph.operators]
    assert kinds[:3] == ["view", "view", "transpose"]  # an axis of one moves nothing
    assert kinds.count("copy") == 3  # two slices and an expansion
    assert kinds[-1] == "concat"


def test_a_gather_by_constant_numbers_is_a_copy() -> None:
    graph = read_module(Reorders().eval(), (1, 3))
    assert [op.kind for op in graph.operators] == ["copy"]


class Reorders(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, torch.tensor([2, 0])]


class Unheard(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.matrix_exp(x)


def test_an_unknown_operator_is_listed() -> None:
    graph = read_module(Unheard().eval(), (1, 3, 3))
    assert graph.unknown == ("aten.linalg_matrix_exp",)
    assert graph.macs == 0


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Picks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[x > 0]


@pytest.mark.parametrize(("module", "operator"), [(Branches(), "aten._local_scalar_dense"), (Picks(), "aten.index")])
def test_what_hangs_on_values_is_refused(module: nn.Module, operator: str) -> None:
    with pytest.raises(UserError, match=f"{type(module).__name__}: {operator}: what follows hangs on the values"):
        read_module(module.eval(), (1, 4))


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(UserError, match=r"Residual: does not run on an input of shape \(1, 7, 20\)"):
        read_module(Residual().eval(), (1, 7, 20))


def test_training_mode_is_refused() -> None:
    with pytest.raises(UserError, match=r"call \.eval\(\)"):
        read_module(Residual(), (1, 8, 20))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]


def test_a_recurrent_layer_is_unrolled() -> None:
    graph = read_module(Recurrent().eval(), (1, 5, 4))
    assert graph.unknown == ()
    # The first state is zero: its product is a constant.
    assert graph.macs == 3 * 6 * (5 * 4 + 4 * 6)


def test_a_module_that_stands_in_two_places_is_left_as_it_was() -> None:
    layer = nn.Linear(4, 4)
    network = nn.Sequential(layer, nn.ReLU(), layer).eval()
    before = network(torch.ones(1, 4))
    assert read_module(network, (1, 4)).parameters == 20
    assert torch.equal(network(torch.ones(1, 4)), before)
