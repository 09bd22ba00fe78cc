import pytest
from torch import Tensor, nn

from repareto.search.devices.fusion import fuse_kernels, with_joined_pads
from repareto.search.devices.readers.torch_reader import read_module


class Fork(nn.Module):
    """The convolution's result is read by its activation and by the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return (y.relu() + y).relu()


def kinds(module: nn.Module) -> list[list[str]]:
    graph = read_module(module.eval(), (1, 2, 6))
    return [[operator.kind for operator in kernel.operators] for kernel in fuse_kernels(graph)]


def test_normalisation_and_activation_join_their_convolution() -> None:
    module = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.ReLU(), nn.Conv1d(3, 1, 1))
    assert kinds(module) == [["conv", "normalization", "activation"], ["conv"]]


def test_what_is_read_twice_stays() -> None:
    assert kinds(Fork()) == [["conv"], ["activation"], ["elementwise", "activation"]]


def test_costly_activations_and_pools_stay_alone() -> None:
    module = nn.Sequential(nn.Conv1d(2, 3, 1), nn.SiLU(), nn.AvgPool1d(2), nn.ReLU())
    assert [k for k in kinds(module) if k != ["view"]] == [["conv"], ["activation"], ["pool"], ["activation"]]


def test_a_kernel_reads_and_writes_what_crosses_its_border() -> None:
    graph = read_module(nn.Sequential(nn.Conv1d(2, 3, 1), nn.ReLU()).eval(), (1, 2, 6))
    (kernel,) = fuse_kernels(graph)
    assert kernel.inputs == ("input", "0.weight", "0.bias")
    assert kernel.outputs == graph.outputs
    assert kernel.macs == graph.macs == 36


class Sum(nn.Module):
    """Zeros that two layers read."""

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.one, self.two = nn.ZeroPad2d((1, 2, 0, 0)), nn.Conv2d(2, 3, (1, 4)), nn.Conv2d(2, 3, (1, 4))

    def forward(self, x: Tensor) -> Tensor:
        padded = self.pad(x)
        return self.one(padded) + self.two(padded)


@pytest.mark.parametrize(
    ("module", "padding"),
    [
        (nn.Sequential(nn.ZeroPad2d((1, 2, 3, 4)), nn.Conv2d(2, 3, (4, 4))), (3, 1)),
        (nn.Sequential(nn.ConstantPad2d((4, 0), 0.0), nn.Conv2d(2, 3, (3, 5), padding=(1, 0), groups=1)), (1, 4)),
        (nn.Sequential(nn.ConstantPad2d((1, 1, 1, 1), 2.0), nn.Conv2d(2, 3, 3)), None),
        (nn.Sequential(nn.ZeroPad2d(1), nn.AvgPool2d(3)), None),
        (Sum(), None),
    ],
    ids=["uneven", "on top of its own", "not zeros", "no convolution", "read twice"],
)
def test_zeros_join_the_one_convolution_that_reads_them(module: nn.Module, padding: tuple[int, int] | None) -> None:
    graph = read_module(module.eval(), (1, 2, 6, 8))
    joined = with_joined_pads(graph)
    assert (joined.macs, joined.parameters, joined.outputs) == (graph.macs, graph.parameters, graph.outputs)
    if padding is None:
        assert joined.digest == graph.digest
    else:
        (convolution,) = joined.operators
        assert convolution.inputs[0] == "input"
        assert convolution.attribute("padding") == padding
