"""Proposals: conditional, reproducible, and blind to nothing that the ledger knows."""

import copy
import random
from dataclasses import replace
from typing import get_args

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from repareto.search import sampling
from repareto.search.config import Sampler
from repareto.search.sampling import OptunaProposer, candidate_seed, distribution, make_sampler
from repareto.spaces.space import Choice, Float, Int

SAMPLERS = [sampler for sampler in get_args(Sampler) if sampler != "frontier"]
"""Optuna's."""
STARTUP = 3


def test_a_distribution_for_each_dimension() -> None:
    assert distribution(Int(1, 9, step=2)) == IntDistribution(1, 9, step=2)
    assert distribution(Float(0.1, 10, log=True)) == FloatDistribution(0.1, 10, log=True)
    assert distribution(Float(0, 1)) == FloatDistribution(0, 1)
    assert distribution(Choice((False, 3, "a"))) == CategoricalDistribution((False, 3, "a"))


def test_seeds_of_candidates_are_apart_and_stay() -> None:
    seeds = {candidate_seed(seed, number) for seed in range(20) for number in range(50)}
    assert len(seeds) == 1000
    assert candidate_seed(1, 2) == candidate_seed(1, 2) != candidate_seed(2, 1)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert candidate_seed(0, 0) == 2968811710, "frozen: a change makes every old study another one"


def settle(lab, proposer: OptunaProposer, number: int, candidate) -> None:
    """Give a trial one of the ends there are, by its number: most are trained, some stopped, rejected, failed."""
    kind = number % 5
    if kind == 3:
        proposer.settle(number, TrialState.PRUNED, None, {"latency": 0.5})
    elif kind == 4 and number % 2:
        proposer.settle(number, TrialState.FAIL, None, {})
    elif kind == 4:
        proposer.settle(number, TrialState.PRUNED, None, {"fidelity": 0.6})
    else:
        profile = lab.profile(candidate)
        values = [lab.error(candidate), profile.value("latency_us"), profile.value("peak_memory_bytes")]
        proposer.settle(number, TrialState.COMPLETE, values, {"latency": -0.1})


def proposals(lab, proposer: OptunaProposer, first: int, count: int) -> list:
    made = []
    for number in range(first, first + count):
        candidate = proposer.propose().candidate
        made.append(candidate)
        settle(lab, proposer, number, candidate)
    return made


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_proposal_is_a_candidate_of_the_space(lab, sampler: str) -> None:
    proposer = lab.proposer(sampler=sampler, startup_trials=STARTUP)
    for number in range(5):
        candidate, distributions, _ = proposer.propose()
        assert lab.space.candidate(dict(candidate)) == candidate
        assert set(distributions) == set(candidate)
        assert ("depth" in candidate) == (candidate["form"] == "deep")
        assert distributions == lab.distributions(candidate)
        settle(lab, proposer, number, candidate)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_same_seed_proposes_the_same_and_another_seed_another(lab, sampler: str) -> None:
    one, same, other = (
        proposals(lab, lab.proposer(sampler=sampler, startup_trials=STARTUP, seed=s), 0, 5) for s in (0, 0, 1)
    )
    assert one == same
    assert one != other
    assert len(set(one)) > 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_global_random_generators_play_no_part(lab, sampler: str) -> None:
    import numpy as np

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    one = proposals(lab, lab.proposer(sampler=sampler, startup_trials=STARTUP), 0, 5)
    random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    state = random.getstate()
    assert proposals(lab, lab.proposer(sampler=sampler, startup_trials=STARTUP), 0, 5) == one
    assert random.getstate() == state


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_what_is_proposed_follows_from_the_trials_known(lab, sampler: str) -> None:
    """Evolution remembers generations besides: that it goes on after a restart is tested with the study."""
    first, second = lab.proposer(sampler=sampler), lab.proposer(sampler=sampler)
    proposals(lab, first, 0, 12)
    second.restore(first._study.get_trials(), first.state)
    assert proposals(lab, second, 12, 8) == proposals(lab, first, 12, 8)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_running_still_counts_as_a_trial(lab, sampler: str) -> None:
    proposer = lab.proposer(sampler=sampler, startup_trials=STARTUP)
    for _ in range(6):
        proposer.propose()
    candidate = proposer.propose().candidate
    assert lab.space.candidate(dict(candidate)) == candidate


def test_rejected_stopped_and_failed_trials_are_never_best(lab) -> None:
    proposer = lab.proposer()
    made = proposals(lab, proposer, 0, 20)
    best = {trial.number for trial in proposer._study.best_trials}
    assert best
    assert all(number % 5 < 3 for number in best)
    # Nor is one that was trained in full and breaks a budget, however good.
    proposer.propose()
    proposer.settle(len(made), TrialState.COMPLETE, [0.0, 0.0, 0.0], {"error": 0.01})
    assert {trial.number for trial in proposer._study.best_trials} == best


def test_a_settled_trial_keeps_its_constraints_and_values(lab) -> None:
    proposer = lab.proposer()
    proposer.propose()
    proposer.settle(0, TrialState.COMPLETE, [0.1, 2.0, 3.0], {"latency": -0.25})
    (trial,) = proposer._study.trials
    assert trial.values == [0.1, 2.0, 3.0]
    assert trial.constraints == {"latency": -0.25}


class Watcher(optuna.samplers.RandomSampler):
    """Remembers which trials it was shown."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.seen: list[int] = []

    def infer_relative_search_space(self, study, _trial):
        self.seen = [shown.number for shown in study.get_trials(deepcopy=False)]
        return {}


@pytest.fixture
def watchers(monkeypatch: pytest.MonkeyPatch) -> list[Watcher]:
    """The samplers that were made, in order of their proposals; of 12 trials or more a choice is shown."""
    made: list[Watcher] = []

    def watch(_kind: str, _startup_trials: int, seed: int, **_: int) -> Watcher:
        made.append(Watcher(seed))
        return made[-1]

    monkeypatch.setattr(sampling, "make_sampler", watch)
    monkeypatch.setattr(sampling, "SHOWN_TRIALS", 12)
    return made


def test_a_sampler_sees_the_best_the_latest_and_what_is_running(lab, watchers: list[Watcher]) -> None:
    proposer = lab.proposer(sampler="tpe")
    proposer.propose()  # number 0 runs for ever
    for number in range(1, 41):
        proposer.propose()
        # The best by far are among the first.
        good = 3 <= number <= 8
        values = [0.01 * number, 1.0 / number, 1.0] if good else [0.9, 9.0, 9.0 + number]
        proposer.settle(number, TrialState.COMPLETE, values, {"latency": -1.0})
    proposer.propose()
    assert watchers[12].seen == list(range(13)), "twelve ended trials are few"
    assert watchers[-1].seen == [0, *range(3, 9), *range(35, 41), 41]
    assert len(proposer._study.get_trials()) == 42, "the others are hidden from the sampler only"


def test_what_broke_a_budget_or_was_stopped_is_shown_as_one_of_the_latest_only(lab, watchers: list[Watcher]) -> None:
    proposer = lab.proposer(sampler="tpe")
    for number in range(30):
        proposer.propose()
        if number % 3 == 0:
            proposer.settle(number, TrialState.COMPLETE, [0.0, 0.0, 0.0], {"latency": 1.0})
        elif number % 3 == 1:
            proposer.settle(number, TrialState.PRUNED, None, {"fidelity": 0.5})
        else:
            proposer.settle(number, TrialState.FAIL, None, {})
    proposer.propose()
    assert watchers[-1].seen == [21, 22, 24, 25, 27, 28, 30], "a failure teaches nothing and takes no place"


@pytest.mark.parametrize("sampler", ["nsga2", "nsga3", "random"])
def test_generations_are_shown_whole(lab, watchers: list[Watcher], sampler: str) -> None:
    proposals(lab, lab.proposer(sampler=sampler), 0, 30)
    assert watchers[-1].seen == list(range(30))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30), st.integers(1, 14), st.randoms())
def test_the_choice_follows_from_the_trials_and_not_from_their_order(values, half: int, rng: random.Random) -> None:
    """Against a slow oracle: ranks by counting, one trial in four can never be on the front."""
    feasible = {number: value for number, value in enumerate(values) if number % 4}

    def rank(number: int, among: dict) -> int:
        """The length of the longest chain that dominates it."""
        mine = among[number]
        above = [n for n, v in among.items() if v != mine and all(a <= b for a, b in zip(v, mine, strict=True))]
        return max((1 + rank(n, {n: among[n] for n in above}) for n in above), default=0)

    best = sorted(feasible, key=lambda number: (rank(number, feasible), -number))[:half]
    latest = sorted(range(len(values)), reverse=True)[:half]
    ended = sampling._EndedTrials()
    numbers = list(range(len(values)))
    rng.shuffle(numbers)
    for number in numbers:
        ended.add(number, feasible.get(number))
    assert ended.choice(2 * half) == {*best, *latest}


def test_a_driver_that_goes_on_proposes_the_same_from_a_choice(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials ended in another order than they began, and some still run: a restart changes no proposal."""
    monkeypatch.setattr(sampling, "SHOWN_TRIALS", 10)
    first = lab.proposer(sampler="tpe", startup_trials=STARTUP)
    candidates = [first.propose().candidate for _ in range(30)]
    for number in reversed(range(28)):
        settle(lab, first, number, candidates[number])
    second = lab.proposer(sampler="tpe", startup_trials=STARTUP)
    second.restore(first._study.get_trials(), first.state)
    assert proposals(lab, second, 30, 5) == proposals(lab, first, 30, 5)


def test_a_restored_trial_ends_in_the_samplers_copy_only(lab) -> None:
    """The copy shares what nobody changes with the trial that it was made of, and drops what only the driver knows."""
    first, second = lab.proposer(), lab.proposer()
    first.propose()
    (running,) = first._study.get_trials()
    running.user_attrs["beginning"] = {"profile": {}}
    before = copy.deepcopy(running)
    second.restore([running], {})
    second.settle(0, TrialState.COMPLETE, [0.1, 0.2, 0.3], {"latency": -1.0})
    assert running == before
    (ended,) = second._study.trials
    assert (ended.values, ended.constraints) == ([0.1, 0.2, 0.3], {"latency": -1.0})
    assert ended.params == running.params and ended.distributions == running.distributions
    assert ended.user_attrs == {}


def test_learning_from_what_was_found(lab) -> None:
    """After many trials of which only small widths are feasible, TPE proposes smaller ones than chance does."""
    widths = {}
    for sampler in ("tpe", "random"):
        proposer = lab.proposer(sampler=sampler, startup_trials=10)
        rng = random.Random(5)
        for _ in range(60):
            candidate = lab.space.draw(rng)
            width = candidate["width"]
            trial = create_trial(
                params=dict(candidate),
                distributions=lab.distributions(candidate),
                values=[0.5, float(width), float(width)],
                constraints={"latency": width / 16 - 1},
            )
            proposer.restore([trial], {})
        drawn = [proposer.propose()[0]["width"] for _ in range(15)]
        widths[sampler] = sum(drawn) / len(drawn)
    assert widths["tpe"] < 0.6 * widths["random"]


def test_a_narrowed_dimension_is_proposed_as_it_is(lab) -> None:
    space = replace(
        lab.space, width=Int(8, 8, step=4), learning_rate=Float(3e-3, 3e-3, log=True), form=Choice(("deep",))
    )
    proposer = OptunaProposer(space, 3, sampler="tpe", startup_trials=2, seed=0)
    for number in range(5):
        candidate = proposer.propose().candidate
        assert (candidate["width"], candidate["training.learning_rate"], candidate["form"]) == (8, 3e-3, "deep")
        settle(lab, proposer, number, candidate)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_every_kind_of_the_config_has_its_sampler(kind: str) -> None:
    expected = {
        "tpe": optuna.samplers.TPESampler,
        "nsga2": optuna.samplers.NSGAIISampler,
        "nsga3": optuna.samplers.NSGAIIISampler,
        "gp": optuna.samplers.GPSampler,
        "random": optuna.samplers.RandomSampler,
        "qmc": optuna.samplers.QMCSampler,
    }
    assert type(make_sampler(kind, 4, 0)) is expected[kind]


def test_another_kind_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="cmaes"):
        make_sampler("cmaes", 4, 0)


@given(st.integers(0, 2**31), st.integers(0, 10**6))
def test_any_seed_and_number_give_a_seed(seed: int, number: int) -> None:
    assert 0 <= candidate_seed(seed, number) < 2**32
