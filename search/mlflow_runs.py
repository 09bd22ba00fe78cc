"""What a study looks like in MLflow: the runs, their parameters, metrics, tags and files.

Every write is idempotent: runs are found by study and trial number, and points carry the ledger's times, so writing the
same again changes nothing and a view that was behind is simply written again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType

from .objectives import Budget
from .plots import front_html, front_png
from .records import State, TrialRecord, measured_figures, profile_figures
from .results import Results, objective_values

STUDY_TAG, TRIAL_TAG, MODEL_TAG = "repareto.study", "repareto.trial", "repareto.model"
PARENT_TAG = "mlflow.parentRunId"
STATUS = {
    State.RUNNING: "RUNNING", State.FINISHED: "FINISHED", State.STOPPED: "FINISHED",
    State.REJECTED: "KILLED", State.FAILED: "FAILED",
}  # fmt: skip
# MLflow's own limits.
PARAMS_A_BATCH, PARAM_CHARACTERS, TAG_CHARACTERS = 100, 6000, 5000


class MlflowRuns:
    """The runs of one study on one tracking server."""

    def __init__(self, uri: str, artifacts: str | None, study: str, budgets: Sequence[Budget]) -> None:
        """Connect, and find or make the experiment and the parent run.

        ``artifacts`` is where a new experiment keeps its files; None leaves that to the server.
        """
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.uri = uri
        self._client = MlflowClient(tracking_uri=uri)
        self._study, self._budgets = study, tuple(budgets)
        experiment = self._client.get_experiment_by_name(study)
        self._experiment_id = (
            self._client.create_experiment(study, artifact_location=artifacts)
            if experiment is None
            else experiment.experiment_id
        )
        self.parent_run_id = self._find_or_create_parent()
        children = self._find_children()
        self._run_ids = {number: run.info.run_id for number, run in children.items()}
        self._ended: dict[int, State] = {}
        self._epochs_written: dict[int, int] = {}
        self._members_written = {number for number, run in children.items() if run.data.tags.get("on_front") == "true"}
        self._with_params = {number for number, run in children.items() if run.data.params}
        self._steps_written = 0
        self._counts_written: dict[str, str] = {}

    def _search(self, filter_string: str) -> Iterable[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], filter_string, ViewType.ACTIVE_ONLY, max_results=1000, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _find_or_create_parent(self) -> str:
        for run in self._search(f"tags.`{STUDY_TAG}` = '{self._study}' and tags.role = 'study'"):
            return run.info.run_id
        tags = {STUDY_TAG: self._study, "role": "study"}
        return self._client.create_run(self._experiment_id, tags=tags, run_name=self._study).info.run_id

    def _find_children(self) -> dict[int, Any]:
        children = self._search(f"tags.`{PARENT_TAG}` = '{self.parent_run_id}'")
        return {int(run.data.tags[TRIAL_TAG]): run for run in children}

    def write_texts(self, texts: Mapping[str, str]) -> None:
        """Write files of the parent run, by name."""
        for name, text in texts.items():
            self._client.log_text(self.parent_run_id, text, name)

    def write_trial(self, record: TrialRecord) -> None:
        """Make the child run of one trial equal to its record, but for its membership in the front."""
        run_id = self._run_ids.get(record.number)
        params: list[Param] = []
        if run_id is None:
            run_id = self._create_child(record)
        if record.number not in self._with_params:
            params = [Param(name, str(value)[:PARAM_CHARACTERS]) for name, value in record.candidate.items()]
        if self._ended.get(record.number) == record.state:
            return
        metrics = list(self._curve_metrics(record))
        tags = [RunTag("state", record.state.value)]
        if record.reason:
            tags.append(RunTag("reason", record.reason[:TAG_CHARACTERS]))
        if record.state is not State.RUNNING:
            metrics += _figure_metrics(record)
        self._log(run_id, metrics, params, tags)
        self._with_params.add(record.number)
        self._epochs_written[record.number] = len(record.curve)
        if record.ended is not None:
            self._client.set_terminated(run_id, STATUS[record.state], int(record.ended * 1000))
            self._ended[record.number] = record.state

    def _create_child(self, record: TrialRecord) -> str:
        tags = {
            STUDY_TAG: self._study, TRIAL_TAG: str(record.number), PARENT_TAG: self.parent_run_id, "role": "trial",
            "on_front": "false", "state": record.state.value, "candidate": record.candidate.digest,
        }  # fmt: skip
        run = self._client.create_run(
            self._experiment_id, int(record.started * 1000), tags, run_name=f"#{record.number}"
        )
        self._run_ids[record.number] = run.info.run_id
        return run.info.run_id

    def _curve_metrics(self, record: TrialRecord) -> Iterable[Metric]:
        written = self._epochs_written.get(record.number, 0)
        for epoch, point in enumerate(record.curve[written:], written + 1):
            # The same whenever it is written.
            seconds = sum(earlier.seconds for earlier in record.curve[:epoch])
            timestamp = int(1000 * (record.started + seconds))
            for name, value in point._asdict().items():
                yield Metric(f"epoch.{name}", value, timestamp, epoch)

    def _log(self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        for start in range(0, max(len(metrics), len(params), 1), PARAMS_A_BATCH):
            part = slice(start, start + PARAMS_A_BATCH)
            self._client.log_batch(run_id, metrics[part], params[part], tags if start == 0 else [])

    def write_progress(self, results: Results) -> None:
        """Write which trials are on the front, and the hypervolume after each trained trial."""
        members = {record.number for record in results.front}
        for number in members ^ self._members_written:
            if number in self._run_ids:
                self._client.set_tag(self._run_ids[number], "on_front", str(number in members).lower())
        self._members_written = members
        steps = results.hypervolume_by_trial()
        fresh = [
            Metric("hypervolume", value, int(ended * 1000), step)
            for step, value, ended in steps
            if step > self._steps_written
        ]
        counts = {f"trials.{state}": str(results.counts[state]) for state in State}
        if fresh or counts != self._counts_written:
            self._log(self.parent_run_id, fresh, [], [RunTag(name, count) for name, count in counts.items()])
            self._steps_written, self._counts_written = len(steps), counts

    def write_front(self, results: Results) -> None:
        """Write the front's page, picture and table."""
        if not results.finished:
            return
        title = f"{self._study}: {len(results.front)} models on the front of {len(results.finished)} trained in full"
        self._client.log_text(self.parent_run_id, front_html(results, self._budgets, title), "front.html")
        self._log_png(front_png(results, self._budgets, title))
        self._client.log_text(self.parent_run_id, json.dumps(front_table(results)), "front.json")
        # By this tag MLflow's UI knows that the file is a table to show.
        tables = json.dumps([{"path": "front.json", "type": "table"}])
        self._client.set_tag(self.parent_run_id, "mlflow.loggedArtifacts", tables)

    def _log_png(self, picture: bytes) -> None:
        import tempfile
        from pathlib import Path

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "front.png"
            path.write_bytes(picture)
            self._client.log_artifact(self.parent_run_id, str(path))

    def run_id(self, number: int) -> str:
        """Return the child run of a trial that :meth:`write_trial` has seen."""
        return self._run_ids[number]

    def write_measured(self, record: TrialRecord, profile: Mapping[str, Any]) -> None:
        """Write the figures of a profile that were measured on a trial's fused model."""
        for name, value in measured_figures(profile).items():
            # At the trial's end, so that writing it again changes nothing.
            assert record.ended is not None
            timestamp = int(record.ended * 1000)
            self._client.log_metric(self.run_id(record.number), f"measured.{name}", value, timestamp, len(record.curve))

    def model_uri(self, number: int) -> str | None:
        """Return the URI of the model that was logged for a trial, if one was."""
        return self._client.get_run(self.run_id(number)).data.tags.get(MODEL_TAG)

    def write_model_uri(self, number: int, uri: str) -> None:
        self._client.set_tag(self.run_id(number), MODEL_TAG, uri)

    def write_status(self, status: str) -> None:
        """Set the parent run's status: RUNNING, FINISHED, KILLED (interrupted) or FAILED."""
        if status == "RUNNING":
            self._client.update_run(self.parent_run_id, status)
        else:
            self._client.set_terminated(self.parent_run_id, status)


def _figure_metrics(record: TrialRecord) -> list[Metric]:
    figures = record.measurement.figures if record.measurement else profile_figures(record.profile)
    assert record.ended is not None
    timestamp, step = int(record.ended * 1000), len(record.curve)
    metrics = [Metric(name, float(value), timestamp, step) for name, value in figures.items()]
    if record.measurement:
        metrics += [
            Metric(name, float(getattr(record.measurement, name)), timestamp, step)
            for name in ("train_seconds", "branched_parameters")
        ]
        difference = record.measurement.fusion["largest_relative_difference"]
        metrics.append(Metric("fusion.largest_relative_difference", difference, timestamp, step))
    return metrics


def front_table(results: Results) -> dict[str, Any]:
    """Return the front as MLflow's table format: ``columns`` and ``data``."""
    columns = ["trial", *(o.key for o in results.objectives), "candidate"]
    data = [
        [record.number, *objective_values(results.objectives, record), record.candidate.to_json()]
        for record in results.front
    ]
    return {"columns": columns, "data": data}
