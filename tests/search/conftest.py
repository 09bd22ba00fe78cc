"""A small study that needs neither training nor Ray: a toy space, hand-made profiles, a backend in a few lines."""

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from torch import nn

from repareto.search.addresses import LedgerAddress
from repareto.search.database import open_storage
from repareto.search.devices.profile import Figure, Profile
from repareto.search.frontier.proposer import FrontierProposer
from repareto.search.ledger import Ledger
from repareto.search.objectives import Budget, objective
from repareto.search.records import EpochPoint, Measurement, State, TrialRecord, profile_figures
from repareto.search.results import Results
from repareto.search.rungs import ParetoRungs
from repareto.search.sampling import OptunaProposer
from repareto.search.study import Study
from repareto.spaces.space import Candidate, Choice, Float, Int, Parameter, SearchSpace
from tests.integration.cluster import Postgres

EPOCHS = 9


@dataclass(frozen=True)
class Toy(SearchSpace):
    """Small enough to know all of it: ``depth`` exists only in deep candidates."""

    name: ClassVar[str] = "toy"

    form: Choice = Choice(("plain", "deep"))
    width: Int = Int(4, 64, step=4)
    depth: Int = Int(2, 5)
    skip: Choice = Choice((False, True))
    learning_rate: Float = Float(1e-4, 1e-1, log=True)

    def parameters(self) -> tuple[Parameter, ...]:
        return (
            Parameter("form", self.form),
            Parameter("width", self.width),
            Parameter("depth", self.depth, "form", ("deep",)),
            Parameter("skip", self.skip),
            Parameter("training.learning_rate", self.learning_rate),
        )

    def build(self, candidate: Candidate, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        width, inputs = candidate.integer("width"), math.prod(input_shape)
        layers: list[nn.Module] = [nn.Flatten()]
        for _ in range(candidate.integer("depth") if candidate["form"] == "deep" else 1):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
            inputs = width
        return nn.Sequential(*layers, nn.Linear(inputs, classes))


def size_of(candidate: Mapping[str, Any]) -> int:
    return candidate["width"] * candidate.get("depth", 1)


class Lab:
    """What the tests of the search make over and over."""

    epochs = EPOCHS
    space = Toy()
    objectives = tuple(objective(name) for name in ("error", "latency", "peak_memory"))
    reference = (0.9, 1000.0, 64 * 1024.0)

    def candidate(self, seed: int = 0) -> Candidate:
        return self.space.draw(random.Random(seed))

    @staticmethod
    def profile(candidate: Candidate) -> Profile:
        """What a device would say: a larger model costs more of everything."""
        size = size_of(candidate)
        return Profile(
            device="hand-made",
            runtime="none",
            precision="fp32",
            graph_digest=f"{size:032x}",
            latency_us=Figure(2.0 * size, "us", "estimated", "none: made up"),
            peak_memory_bytes=Figure(128 * candidate["width"], "bytes", "planned"),
            flash_bytes=Figure(40 * size, "bytes", "exact"),
            macs=Figure(100 * size, "MACs", "exact"),
            parameters=Figure(10 * size, "values", "exact"),
            unknown_operators=("aten.erfinv",),
        )

    @staticmethod
    def error(candidate: Mapping[str, Any], epoch: int = EPOCHS) -> float:
        """A larger model is better, and a learning rate near 0.01 is; more epochs help."""
        miss = abs(math.log10(candidate["training.learning_rate"]) + 2)
        return min(0.9, 2 / size_of(candidate) + 0.1 * miss + 0.3 / epoch)

    def distributions(self, candidate: Candidate) -> dict[str, Any]:
        from repareto.search.sampling import distribution

        return {p.name: distribution(p.dimension) for p in self.space.parameters() if p.name in candidate}

    def measurement(self, candidate: Candidate, *, error: float | None = None, complete: bool = False) -> Measurement:
        """What a worker hands back, or with the figures of the profile too, as the ledger keeps it."""
        error = self.error(candidate) if error is None else error
        figures = {"error": error, "test_error": error + 0.01}
        if complete:
            figures = {**profile_figures(asdict(self.profile(candidate))), **figures}
        fusion = {
            "largest_absolute_difference": 1e-7,
            "largest_relative_difference": 2e-7,
            "tolerance": 1e-4,
            "fused_blocks": 3,
        }
        return Measurement(figures, fusion, 7, EPOCHS, 1.5, 1234)

    def curve(self, candidate: Candidate, epochs: int = EPOCHS) -> tuple[EpochPoint, ...]:
        return tuple(EpochPoint(self.error(candidate, e), 1 / e, 0.5) for e in range(1, epochs + 1))

    def record(
        self,
        number: int,
        error: float = 0.1,
        latency_us: float = 100.0,
        peak_memory_bytes: float = 2048.0,
        *,
        state: State = State.FINISHED,
        **changes: Any,
    ) -> TrialRecord:
        """A trial as the ledger would tell of it, its objectives set by hand."""
        candidate = self.candidate(number)
        finished = state is State.FINISHED
        measurement = None
        if finished:
            measurement = self.measurement(candidate, error=error, complete=True)
            figures = {"latency_us": latency_us, "peak_memory_bytes": peak_memory_bytes}
            measurement = replace(measurement, figures={**measurement.figures, **figures})
        record = TrialRecord(
            number=number,
            state=state,
            candidate=candidate,
            profile=asdict(self.profile(candidate)),
            curve=() if state is State.REJECTED else self.curve(candidate, EPOCHS if finished else 3),
            measurement=measurement,
            feasible=finished or state is State.RUNNING,
            started=1_700_000_000.0 + 10 * number,
            ended=None if state is State.RUNNING else 1_700_000_005.25 + 10 * number,
        )
        return replace(record, **changes)

    def results(self, *records: TrialRecord) -> Results:
        return Results(self.objectives, self.reference, records)

    def header(self, **identity: Any) -> dict[str, Any]:
        identity = {"space": self.space.describe(), "seed": 0, **identity}
        return {"identity": identity, "reference": list(self.reference), "config": {}, "import_folders": []}

    def ledger(self, store: LedgerAddress, name: str = "study", **identity: Any) -> Ledger:
        """The study of that name, made where there is none."""
        return Ledger.find(store, name) or Ledger.create(store, name, self.header(**identity))

    def proposer(self, *, sampler: str = "random", startup_trials: int = 4, seed: int = 0) -> OptunaProposer:
        return OptunaProposer(
            self.space, len(self.objectives), sampler=sampler, startup_trials=startup_trials, seed=seed
        )

    def frontier(
        self,
        *,
        startup_trials: int = 4,
        seed: int = 0,
        budgets: Mapping[str, str] | None = None,
        appraise: Callable[[Candidate], Profile] | None = None,
        space: SearchSpace | None = None,
    ) -> FrontierProposer:
        return FrontierProposer(
            space or self.space,
            appraise or self.profile,
            objectives=self.objectives,
            budgets=[Budget.parse(name, text) for name, text in (budgets or {}).items()],
            reference=self.reference,
            startup_trials=startup_trials,
            seed=seed,
        )

    def study(
        self,
        store: Path | None,
        *,
        trials: int = 6,
        budgets: Mapping[str, str] | None = None,
        rungs: Sequence[int] = (),
        reduction: float = 3,
        sampler: str = "random",
        seed: int = 0,
        appraise: Callable[[Candidate], Profile] | None = None,
        **others: Any,
    ) -> Study:
        return Study(
            Ledger.in_memory("study", self.header()) if store is None else self.ledger(store),
            appraise or self.profile,
            self.frontier(budgets=budgets, appraise=appraise, seed=seed)
            if sampler == "frontier"
            else self.proposer(sampler=sampler, seed=seed),
            objectives=self.objectives,
            budgets=[Budget.parse(name, text) for name, text in (budgets or {}).items()],
            reference=self.reference,
            trials=trials,
            epochs=EPOCHS,
            rungs=ParetoRungs(rungs, reduction) if rungs else None,
            **others,
        )

    def train(self, study: Study, record: TrialRecord, *, until: int = EPOCHS) -> bool:
        """Train one trial as a worker would, from the epoch it reached on; return whether it came to its end."""
        for epoch in range(len(record.curve) + 1, until + 1):
            point = EpochPoint(self.error(record.candidate, epoch), 1 / epoch, 0.01)
            if not study.report_epoch(record.number, epoch, point):
                return False
        if until == EPOCHS:
            study.finish(record.number, self.measurement(record.candidate))
        return True

    def drive(self, study: Study) -> list[int]:
        """One worker, to the end; return the numbers of the trials in order."""
        numbers: list[int] = []
        while (record := study.next_trial()) is not None:
            numbers.append(record.number)
            self.train(study, record)
        return numbers


@pytest.fixture(scope="session")
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A real server, with an empty ledger to copy: making Optuna's tables takes long."""
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        open_storage(server.create_database("empty_ledger"), create=True).engine.dispose()
        yield server


@pytest.fixture
def database(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database of the test's own, with an empty ledger."""
    name = "test_" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    with psycopg.connect(postgres.uri("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE empty_ledger")
    yield postgres.uri(name)
    open_storage(postgres.uri(name), create=True).engine.dispose()
