"""Who inherits from whom, and what becomes of a candidate whose relatives are gone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from repareto.search.files import WEIGHTS, Files, seal, trial_folder
from repareto.search.lineage import Lineage, Relative, begin_as_relative
from repareto.search.records import State, TrialRecord
from repareto.spaces import load_space
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import Candidate
from repareto.trainers.data.digits import Digits

SPACE = load_space({"name": "repcnn", "stages": 1, "width": [4, 12], "blocks": [1, 2], "kernel": 3, "squeeze": False})


def of(candidate: Candidate, **changes) -> Candidate:
    return SPACE.candidate({**dict(candidate), **changes})


def finished(lab, number: int, candidate: Candidate, inherited: dict | None = None) -> TrialRecord:
    record = replace(lab.record(number), candidate=candidate)
    return replace(
        record, measurement=replace(record.measurement, details={"inherited": inherited} if inherited else {})
    )


def test_the_nearest_finished_ones_with_all_their_training(lab) -> None:
    middle = SPACE.middle()
    records = [
        finished(lab, 0, of(middle, **{"stage1.width": 12, "form": "full"})),
        finished(lab, 1, of(middle, **{"stage1.width": 12}), {"trial": 0, "epochs": 18}),
        replace(lab.record(2, state=State.STOPPED), candidate=middle),
    ]
    relatives = Lineage(SPACE).relatives(of(middle, **{"stage1.width": 8}), lab.results(*records))
    assert [(relative.number, relative.epochs) for relative in relatives] == [(1, 27), (0, 9)]
    assert [Relative.from_json(relative.to_json()) for relative in relatives] == relatives


def test_none_where_what_ships_is_not_what_trains(lab) -> None:
    space = load_space({"name": "repcnn", "stages": 1, "sparsity": {"method": "magnitude", "level": 0.5}})
    results = lab.results(finished(lab, 0, space.middle()))
    assert Lineage(space).relatives(space.middle(), results) == []


@pytest.fixture(scope="module")
def dataset():
    return Digits().load(seed=0)


def network(candidate: Candidate, dataset, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return SPACE.build(candidate, dataset.input_shape, len(dataset.labels))


def test_a_child_answers_as_its_parent_and_passes_over_those_who_are_gone(dataset, tmp_path: Path) -> None:
    middle, said = SPACE.middle(), []
    folder = Files(str(tmp_path))
    wide = of(middle, **{"stage1.width": 12})
    parent = fused_copy(network(middle, dataset, 1).eval())
    trial_folder(folder, 4).write(WEIGHTS, seal(dict(parent.state_dict())))
    trial_folder(folder, 5).write(WEIGHTS, b"broken")
    relatives = [Relative(5, middle, 9), Relative(6, middle, 9), Relative(4, middle, 9)]
    child = network(wide, dataset, 2)
    assert begin_as_relative(child, relatives, SPACE, folder, dataset, said.append) == relatives[2]
    x = torch.from_numpy(dataset.test.features[:8].copy()).float()
    torch.testing.assert_close(child.eval()(x), parent(x), rtol=1e-3, atol=1e-4)
    assert said == []


def test_it_trains_from_scratch_and_says_so_where_all_are_gone(dataset, tmp_path: Path) -> None:
    middle, said = SPACE.middle(), []
    child = network(middle, dataset, 2)
    before = {name: tensor.clone() for name, tensor in child.state_dict().items()}
    gone = [Relative(6, middle, 9), Relative(7, middle, 9)]
    assert begin_as_relative(child, gone, SPACE, Files(str(tmp_path)), dataset, said.append) is None
    assert said == ["the weights of its relatives are gone (trial 6, 7), so that it trains from scratch"]
    torch.testing.assert_close(child.state_dict(), before)
