from torch import Tensor, nn

from repareto.search.devices.fusion import fuse_kernels
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
