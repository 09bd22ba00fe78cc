"""What the config of an example searches, trained for real by the worker, each candidate once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from repareto.search.config import Config
from repareto.search.devices.profile import Profile
from repareto.search.exits.bounds import Bounds
from repareto.search.files import Files
from repareto.search.lineage import Lineage, Relative
from repareto.search.objectives import Budget, Objective
from repareto.search.parts import Parts
from repareto.search.records import TrialRecord, profile_figures
from repareto.search.results import Results
from repareto.search.run import appraiser_for, load_data, new_header
from repareto.search.worker import Job, train_whole
from repareto.spaces.space import Candidate, SearchSpace

from .table import Row


@dataclass(frozen=True)
class KeptRows:
    """Rows of candidates that are trained, in a file of one line each."""

    path: Path
    rows: dict[Candidate, Row]

    @classmethod
    def read(cls, path: Path) -> KeptRows:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        rows = [Row.from_json(line) for line in path.read_text().splitlines()]
        return cls(path, {row.candidate: row for row in rows})

    def keep(self, row: Row) -> None:
        with self.path.open("a") as file:
            file.write(row.to_json() + "\n")
        self.rows[row.candidate] = row


class TrainedProblem:
    """A problem (see :class:`.simulated_study.Problem`) whose rows are trained when they are asked for."""

    def __init__(self, config: Config, folder: Path) -> None:
        """What is trained is kept in ``folder``, for all searches of the same config and seed."""
        parts = Parts(config)
        self.name = config.study
        self.space: SearchSpace = parts.space
        self.objectives: Sequence[Objective] = config.parsed_objectives()
        self.budgets: Sequence[Budget] = config.parsed_budgets()
        self.epochs = parts.training.epochs
        self._datasets = load_data(parts, lambda _: None)
        self._appraiser = appraiser_for(parts, self._datasets)
        self.reference: Sequence[float] = new_header(parts, self._datasets, self._appraiser)["reference"]
        settings = config.model_dump_json(exclude={"store", "ledger", "tracking", "search", "workers"})
        # Of a name that says all that a training hangs on.
        self.folder = folder / f"{config.study}{config.seed}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
        self._kept = KeptRows.read(self.folder / "rows.jsonl")
        self._job = Job(
            space=parts.space,
            training=parts.training,
            study_id=config.study,
            study_folder=Files(str(self.folder / "trained")),
            seed=config.seed,
            threads=1,
            target=parts.device,
            exit_bounds=Bounds.of(config.parsed_budgets()),
        )

    @property
    def trained(self) -> list[Row]:
        """What was trained so far, whoever asked."""
        return list(self._kept.rows.values())

    def profile(self, candidate: Candidate) -> Profile:
        return self._appraiser(candidate)

    def row(self, candidate: Candidate) -> Row:
        if candidate not in self._kept.rows:
            # Of a number of its own, so that its seed hangs on nothing but the candidate.
            number = int(candidate.digest, 16) % 2**32
            self._kept.keep(self._train(self._job, candidate, number, ()))
            shutil.rmtree(self.folder / "trained", ignore_errors=True)
        return self._kept.rows[candidate]

    def by_inheritance(self, name: str) -> Callable[[TrialRecord, Results], Row]:
        """Return what trains a study's trials, each from its nearest relative's weights; ``name`` is the study's."""
        lineage = Lineage(self.space)
        shutil.rmtree(self.folder / name, ignore_errors=True)
        job = dataclasses.replace(self._job, study_folder=Files(str(self.folder / name)), inherits=True)

        def train(record: TrialRecord, results: Results) -> Row:
            return self._train(job, record.candidate, record.number, lineage.relatives(record.candidate, results))

        return train

    def _train(self, job: Job, candidate: Candidate, number: int, relatives: Sequence[Relative]) -> Row:
        """Train a candidate as a worker does. One that fails makes as many errors as guessing does."""
        texts = json.dumps([relative.to_json() for relative in relatives])
        config = {"number": number, "candidate": candidate.to_json(), "relatives": texts}
        result = train_whole(job, self._datasets, config)
        figures = profile_figures(asdict(self.profile(candidate)))
        if "measurement" not in result:
            guessing = self.reference[0]
            return Row(candidate, (guessing,) * self.epochs, guessing, 0.0, figures)
        measurement = json.loads(result["measurement"])
        errors = [point[0] for point in json.loads(result["curve"])]
        # What counts in the end is the error of what ships.
        errors[-1] = measurement["figures"]["error"]
        test_error, seconds = measurement["figures"]["test_error"], measurement["train_seconds"]
        return Row(candidate, tuple(errors), test_error, seconds, figures)
