from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from repareto.search.devices.readers.pt2_reader import read_program, read_pt2
from repareto.search.devices.readers.torch_reader import read_module
from repareto.spaces.errors import UserError


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(6, 2)
    )


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_a_saved_program_reads_as_its_module(tmp_path: Path) -> None:
    module = net().eval()
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(module, (torch.randn(2, 4, 20),), dynamic_shapes=(batch,))
    torch.export.save(program, tmp_path / "model.pt2")
    graph, direct = read_pt2(tmp_path / "model.pt2"), read_module(module, (1, 4, 20))
    assert graph.digest == direct.digest
    assert (graph.macs, graph.parameters) == (direct.macs, direct.parameters)


def test_a_fixed_shape_is_taken_as_it_is() -> None:
    program = torch.export.export(net().eval(), (torch.randn(1, 4, 12),))
    assert read_program(program).digest == read_module(net().eval(), (1, 4, 12)).digest


def test_a_missing_and_a_corrupt_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.pt2: no such file"):
        read_pt2(tmp_path / "model.pt2")
    (tmp_path / "model.pt2").write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"model\.pt2: not a valid \.pt2 model"):
        read_pt2(tmp_path / "model.pt2")


def test_a_fixed_batch_other_than_one_is_refused() -> None:
    program = torch.export.export(net().eval(), (torch.randn(8, 4, 20),))
    with pytest.raises(UserError, match=r"input input: a fixed batch of 8: .* \(export it with a dynamic batch"):
        read_program(program)


def test_another_dynamic_axis_and_more_inputs_are_refused() -> None:
    length = {2: torch.export.Dim("length", min=4, max=64)}
    program = torch.export.export(net().eval(), (torch.randn(1, 4, 20),), dynamic_shapes=(length,))
    with pytest.raises(UserError, match="axis 2 of its input is dynamic"):
        read_program(program)
    program = torch.export.export(TwoInputs().eval(), (torch.randn(1, 2), torch.randn(1, 2)))
    with pytest.raises(UserError, match="takes 2 inputs"):
        read_program(program)
