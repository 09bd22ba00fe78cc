"""Studies whose training is looked up: the real study on an imagined clock, and peers that pay for what they train."""

from pathlib import Path

import pytest

from benchmarks.search_peers import Training, run_peer
from benchmarks.simulated_study import SimulatedStudy, make_study
from benchmarks.synthetic_problems import SyntheticProblem, synthetic_problems
from benchmarks.table import Row, Table
from repareto.search.records import State
from repareto.search.rungs import ParetoRungs
from repareto.search.sampling import OptunaProposer
from repareto.spaces.errors import UserError


@pytest.fixture(scope="module")
def problem() -> SyntheticProblem:
    return synthetic_problems()[0]


def random_study(problem: SyntheticProblem, rungs: ParetoRungs | None = None):
    return make_study(
        problem, OptunaProposer(problem.space, 2, sampler="random", startup_trials=4, seed=0), rungs=rungs
    )


def test_epochs_are_counted_and_the_hypervolume_is_that_of_whole_trials(problem) -> None:
    study = random_study(problem, ParetoRungs((3,), 3))
    moments = SimulatedStudy(problem, study).run(100)
    assert sum(study.results.epochs.values()) == 100
    assert study.results.counts[State.STOPPED] > 0
    assert moments[-1].hypervolume == study.results.hypervolume
    assert [moment.hypervolume for moment in moments] == sorted({moment.hypervolume for moment in moments})
    for record in study.results.finished:
        row = problem.row(record.candidate)
        assert record.measurement.figures["error"] == row.errors[-1]
        assert [point.error for point in record.curve] == list(row.errors)


def test_more_workers_take_less_of_the_imagined_time_and_as_many_epochs(problem) -> None:
    alone, four = (SimulatedStudy(problem, random_study(problem), workers).run(72) for workers in (1, 4))
    assert alone[-1].epochs <= 72 and four[-1].epochs <= 72
    assert alone[-1].seconds == alone[-1].epochs, "an epoch takes a second"
    assert four[-1].seconds == pytest.approx(four[-1].epochs / 4, abs=1)


def test_a_table_is_read_as_it_was_written(problem, tmp_path: Path) -> None:
    import random

    rng = random.Random(0)
    rows = [problem.row(problem.space.draw(rng)) for _ in range(5)]
    path = tmp_path / "table.csv"
    Table(rows).write(path)
    table = Table.read(path, problem.space)
    assert set(table.rows) == {row.candidate for row in rows}
    for row in rows:
        read = table.rows[row.candidate]
        assert read.errors == pytest.approx(row.errors, rel=1e-5)
        assert read.figures == pytest.approx(row.figures, rel=1e-5)
        assert Row.from_json(row.to_json()) == row
        assert read.profile.value("latency_us") == pytest.approx(row.figures["latency_us"], rel=1e-5)
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match="has no rows"):
        Table.read(path, problem.space)


def test_a_peer_pays_for_an_epoch_once(problem) -> None:
    training = Training(problem, epochs=20)
    values = {f"x{index}": 3 for index in range(8)}
    row = training.begin(values)
    training.objectives(row, 3)
    assert training.trace == [(0, 0.0)], "what is not whole is on no front"
    training.objectives(row, 9)
    training.objectives(training.begin(values), 9)
    assert training.trace[-1][0] == 9 and training.goes_on
    training.objectives(training.begin(values | {"x0": 4}), 9)
    training.objectives(training.begin(values | {"x0": 5}), 2)
    assert not training.goes_on


@pytest.mark.parametrize("name", ["Optuna NSGA-II", "Ray OptunaSearch TPE + ASHA"])
def test_peers_search_until_their_epochs_are_spent(problem, name: str) -> None:
    trace = run_peer(name, problem, 0, 90)
    assert 0 < trace[-1][0] <= 90 + problem.epochs
    assert trace[-1][1] > 0.1
    assert run_peer(name, problem, 0, 90) == trace
