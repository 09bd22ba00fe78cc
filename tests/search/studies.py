"""A study of one trial that was trained without Ray, for tests of what comes after a search."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from repareto.search.config import Config
from repareto.search.files import study_folder
from repareto.search.ledger import Ledger
from repareto.search.parts import Parts
from repareto.search.records import Measurement, TrialRecord, profile_figures
from repareto.search.run import appraiser_for, load_data, new_header
from repareto.search.sampling import distribution
from repareto.search.worker import CandidateTrainable, Job

SPACE = {"name": "repcnn", "stages": 2, "width": 12, "blocks": 1, "kernel": 3, "conv_branches": 2}
EPOCHS = 8


class Trained:
    """The middle of a space, trained on small images."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        settings = {"device": "reference", "space": SPACE, "objectives": ("error", "macs"), **changes}
        training = {"epochs": EPOCHS, "batch_size": 32}
        self.config = Config(
            study="digits", data={"source": "digits"}, training=training, store=str(folder / "store"), **settings
        )
        parts = Parts(self.config)
        self.datasets = load_data(parts, lambda _: None)
        appraiser = appraiser_for(parts, self.datasets)
        header = new_header(parts, self.datasets, appraiser)
        self.ledger = Ledger.create(self.config.ledger_address, self.config.study, header)
        candidate = parts.space.middle()
        profile = asdict(appraiser(candidate))
        distributions = {p.name: distribution(p.dimension) for p in parts.space.parameters()}
        number = self.ledger.start(candidate, distributions, profile)
        store = study_folder(self.config.store, "digits")
        job = Job(parts.space, parts.training, "id", store, seed=0, threads=1, target=parts.device)
        worker = CandidateTrainable.__new__(CandidateTrainable)
        worker.setup({"number": number, "candidate": candidate.to_json()}, job, self.datasets)
        while not (result := worker.step()).get("done"):
            pass
        assert "failed" not in result, result
        measurement = Measurement(**json.loads(result["measurement"]))
        measurement.figures.update(profile_figures(profile))
        values = [measurement.figures[o.key] for o in self.config.parsed_objectives()]
        self.ledger.finish(number, measurement, values, {})

    @property
    def record(self) -> TrialRecord:
        return self.ledger.records()[0]
