"""What a study looks like in MLflow: the runs, their parameters, metrics, tags and files.

Every write is idempotent: runs are found by study and trial number, and points carry the ledger's times, so writing the
same again changes nothing and a view that was behind is simply written again. What is written already is read back
from the runs themselves, so that a new connection repeats none of it.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LifecycleStage,
    Metric,
    Param,
    RunTag,
    ViewType,
)

from .facts import StudyFacts
from .front_files import TABLES, FrontFiles
from .mlflow_points import curve_metrics, figure_metrics, measured_metrics, network_names
from .pages.note import front_note
from .pages.rows import trial_name
from .records import State, TrialRecord, profile_figures
from .results import Results
from .study import budget_excesses

STUDY_TAG, STUDY_ID_TAG = "repareto.study", "repareto.study_id"
TRIAL_TAG, MODEL_TAG = "repareto.trial", "repareto.model"
PARENT_TAG, NOTE_TAG, TABLES_TAG = "mlflow.parentRunId", "mlflow.note.content", "mlflow.loggedArtifacts"
# Or else MLflow's UI opens on pages about language models.
KIND_OF_EXPERIMENT = {"mlflow.experimentKind": "custom_model_development"}
EPOCHS_TAG = "epochs"
"""How many epochs of a running trial are written; MLflow writes it after them."""
STATUS = {
    State.RUNNING: "RUNNING", State.FINISHED: "FINISHED", State.STOPPED: "FINISHED",
    State.REJECTED: "KILLED", State.FAILED: "FAILED",
}  # fmt: skip
# MLflow's own limits; a batch has at most 1,000 entries in all.
PARAMS_A_BATCH, METRICS_A_BATCH, PARAM_CHARACTERS, TAG_CHARACTERS = 100, 800, 6000, 5000
# A request waits for the server most of its time.
HTTP_THREADS = 4
# At a run's end MLflow would ask the server for all of it, only to print its address.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


@dataclass
class _Child:
    """What is written of one trial."""

    run_id: str
    started_ms: int
    tags: dict[str, str]
    epochs: int | None = None
    """None before the first write, parameters included, is complete."""
    ended: State | None = None

    @classmethod
    def read(cls, run: Any) -> _Child:
        """Return what a run of MLflow says of itself."""
        tags = run.data.tags
        return cls(
            run.info.run_id,
            run.info.start_time,
            tags,
            epochs=int(tags[EPOCHS_TAG]) if EPOCHS_TAG in tags else None,
            # The status is written last.
            ended=State(tags["state"]) if run.info.status != "RUNNING" and "state" in tags else None,
        )

    def is_of(self, record: TrialRecord) -> bool:
        """Return whether this is that trial, and not one of an older study of the same name."""
        return (self.started_ms, self.tags.get("candidate")) == (int(record.started * 1000), record.candidate.digest)


class MlflowRuns:
    """The runs of one study on one tracking server."""

    def __init__(self, uri: str, artifacts: str | None, facts: StudyFacts, study_id: str = "") -> None:
        """Connect, find or make the experiment and the parent run, and read what is written already.

        ``artifacts`` is where a new experiment keeps its files; None leaves that to the server. ``study_id`` tells a
        study from an older one of the same name, whose runs are deleted.
        """
        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.uri = uri
        self._client = MlflowClient(tracking_uri=uri)
        self._facts, self._files = facts, FrontFiles(facts)
        self._study = study = facts.name
        self._experiment_id = self._find_or_create_experiment(artifacts)
        self._study_id = study_id
        runs = [run for run in self._search(f"tags.`{STUDY_TAG}` = '{study}'") if not self._deleted_as_older(run)]
        self._read_parent([run for run in runs if run.data.tags.get("role") == "study"])
        self._read_children([run for run in runs if run.data.tags.get("role") == "trial"])

    def _deleted_as_older(self, run: Any) -> bool:
        """Delete a run of an older study of this name, and return whether it was one."""
        is_older = run.data.tags.get(STUDY_ID_TAG, self._study_id) != self._study_id
        if is_older:
            self._client.delete_run(run.info.run_id)
        return is_older

    def _find_or_create_experiment(self, artifacts: str | None) -> str:
        experiment = self._client.get_experiment_by_name(self._study)
        if experiment is None:
            return self._client.create_experiment(self._study, artifact_location=artifacts, tags=KIND_OF_EXPERIMENT)
        if experiment.lifecycle_stage == LifecycleStage.DELETED:
            # MLflow keeps its name, so that no other one can be made.
            self._client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

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

    # A server that dies may have made a run and told nobody, so that the run was made once more.

    def _read_parent(self, runs: Sequence[Any]) -> None:
        parent, *others = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id)) or [self._new_parent()]
        for run in others:
            self._client.delete_run(run.info.run_id)
        self.parent_run_id = parent.info.run_id
        # Written together with the steps that they count.
        self._counts_written = {name: text for name, text in parent.data.tags.items() if name.startswith("trials.")}
        trained = [f"trials.{state}" for state in State if state.was_trained]
        self._steps_written = sum(int(self._counts_written.get(name, 0)) for name in trained)
        self._hypervolume_written = parent.data.metrics.get("hypervolume")

    def _new_parent(self) -> Any:
        tags = {STUDY_TAG: self._study, STUDY_ID_TAG: self._study_id, "role": "study"}
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=self._study)
        self._write_dataset(run.info.run_id)
        return run

    def _write_dataset(self, run_id: str) -> None:
        """Say what a run was trained on; one that says so already keeps it."""
        facts = self._facts
        if not facts.data:
            return
        source = json.dumps({"uri": str(facts.source.get("folder", facts.source.get("source", "")))})
        profile = json.dumps({"labels": len(facts.data["labels"]), **facts.data.get("examples", {})})
        dataset = Dataset(facts.data["name"], facts.data_digest, "local", source, profile=profile)
        context = InputTag("mlflow.data.context", "training")
        self._client.log_inputs(run_id, [DatasetInput(dataset, [context])])

    def _read_children(self, runs: Sequence[Any]) -> None:
        self._children: dict[int, _Child] = {}
        self._members_written: set[int] = set()
        by_number = defaultdict(list)
        for run in runs:
            by_number[int(run.data.tags[TRIAL_TAG])].append(run)
        for number, same in by_number.items():
            # All of them began when the trial did: the fullest is kept.
            *others, run = sorted(same, key=_fullness)
            for other in others:
                self._client.delete_run(other.info.run_id)
            if run.data.tags.get(PARENT_TAG) != self.parent_run_id:
                self._client.set_tag(run.info.run_id, PARENT_TAG, self.parent_run_id)
            self._children[number] = _Child.read(run)
            if run.data.tags.get("on_front") == "true":
                self._members_written.add(number)

    def write_texts(self, texts: Mapping[str, str]) -> None:
        """Write files of the parent run, by name."""
        for name, text in texts.items():
            self._client.log_text(self.parent_run_id, text, name)

    def write_trials(self, records: Iterable[TrialRecord]) -> None:
        """Make the child runs of different trials equal to their records, several at once where a server is asked."""
        pool = ThreadPoolExecutor(HTTP_THREADS if self.uri.startswith("http") else 1)
        try:
            for _ in pool.map(self.write_trial, records):
                pass
        finally:
            # The first error ends it: the others would wait for the same dead server, one by one.
            pool.shutdown(cancel_futures=True)

    def write_trial(self, record: TrialRecord) -> None:
        """Make the child run of one trial equal to its record, but for its membership in the front."""
        child = self._child_of(record)
        if child.ended is record.state:
            return
        params: list[Param] = []
        if child.epochs is None:
            params = [Param(name, str(value)[:PARAM_CHARACTERS]) for name, value in record.candidate.items()]
        metrics = list(curve_metrics(record, child.epochs or 0))
        tags = self._state_tags(record)
        if record.ended is None:
            tags[EPOCHS_TAG] = str(len(record.curve))
        else:
            metrics += figure_metrics(record)
        fresh = [RunTag(name, text) for name, text in tags.items() if child.tags.get(name) != text]
        self._log(child.run_id, metrics, params, fresh)
        child.epochs = len(record.curve)
        child.tags |= tags
        if record.ended is not None:
            self._client.set_terminated(child.run_id, STATUS[record.state], int(record.ended * 1000))
            child.ended = record.state

    def _child_of(self, record: TrialRecord) -> _Child:
        child = self._children.get(record.number)
        if child is not None and child.is_of(record):
            return child
        if child is not None:
            self._client.delete_run(child.run_id)
            self._members_written.discard(record.number)
        child = self._children[record.number] = self._new_child(record)
        return child

    def _new_child(self, record: TrialRecord) -> _Child:
        tags = {
            STUDY_TAG: self._study, STUDY_ID_TAG: self._study_id, TRIAL_TAG: str(record.number),
            PARENT_TAG: self.parent_run_id, "role": "trial",
            "on_front": "false", "candidate": record.candidate.digest, "device": self._facts.device,
            **self._state_tags(record),
        }  # fmt: skip
        started_ms = int(record.started * 1000)
        run = self._client.create_run(self._experiment_id, started_ms, tags, run_name=trial_name(record))
        return _Child(run.info.run_id, started_ms, tags)

    def _state_tags(self, record: TrialRecord) -> dict[str, str]:
        tags = {"state": record.state.value}
        if record.reason:
            tags["reason"] = record.reason[:TAG_CHARACTERS]
        if record.state is State.REJECTED:
            excesses = budget_excesses(self._facts.budgets, profile_figures(record.profile))
            broken = ", ".join(name for name, excess in excesses.items() if excess > 0)
            tags["reject_reason"] = broken or "cannot be built"
        return tags

    def _log(self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        """Write it in as few batches as MLflow takes, the tags with the last one, for they say what is written."""
        batches = max(1, ceil(len(metrics) / METRICS_A_BATCH), ceil(len(params) / PARAMS_A_BATCH))
        for batch in range(batches):
            self._client.log_batch(
                run_id,
                metrics[batch * METRICS_A_BATCH : (batch + 1) * METRICS_A_BATCH],
                params[batch * PARAMS_A_BATCH : (batch + 1) * PARAMS_A_BATCH],
                tags if batch == batches - 1 else [],
            )

    def write_progress(self, results: Results) -> None:
        """Write which trials are on the front, and the hypervolume after each trained trial."""
        members = {record.number for record in results.front}
        for number in members ^ self._members_written:
            if number in self._children:
                self._client.set_tag(self.run_id(number), "on_front", str(number in members).lower())
        self._members_written = members
        steps = results.hypervolume_by_trial(after=self._steps_written)
        costs = results.epochs_by_trial(after=self._steps_written)
        if not steps and self._steps_written and results.hypervolume != self._hypervolume_written:
            # Trials have other errors by now, the mean of repeats. Of values of one step MLflow takes the latest.
            ((step, value, _),) = results.hypervolume_by_trial(after=self._steps_written - 1)
            steps, costs = [(step, value, time.time())], results.epochs_by_trial(after=self._steps_written - 1)
        fresh = [
            metric
            for (step, value, moment), epochs in zip(steps, costs, strict=True)
            for metric in (
                Metric("hypervolume", value, int(moment * 1000), step),
                Metric("hypervolume_by_epochs", value, int(moment * 1000), epochs),
            )
        ]
        counts = {f"trials.{state}": str(results.counts[state]) for state in State}
        if fresh or counts != self._counts_written:
            self._log(self.parent_run_id, fresh, [], [RunTag(name, count) for name, count in counts.items()])
            self._steps_written = max([self._steps_written, *(step for step, _, _ in steps)])
            self._counts_written, self._hypervolume_written = counts, results.hypervolume

    def write_front(self, results: Results, *, complete: bool = False) -> None:
        """Write the front's page and tables, and pictures where they are due or it is to be ``complete``.

        The parent run's description shows the front and leads to its models.
        """
        if not results.finished:
            return
        runs = {number: child.run_id for number, child in self._children.items()}
        files = self._files.of(results, runs=runs, experiment=self._experiment_id, complete=complete)
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                path = Path(folder) / name
                path.write_bytes(content.encode() if isinstance(content, str) else content)
            self._client.log_artifacts(self.parent_run_id, folder)
        experiment, parent = self._experiment_id, self.parent_run_id
        tags = {
            NOTE_TAG: front_note(results, self._facts, experiment=experiment, parent=parent, runs=runs),
            # By this tag MLflow's UI knows that a file is a table to show.
            TABLES_TAG: json.dumps([{"path": name, "type": "table"} for name in TABLES]),
        }
        self._log(parent, [], [], [RunTag(name, text) for name, text in tags.items()])

    def run_id(self, number: int) -> str:
        """Return the child run of a trial that :meth:`write_trial` has seen."""
        return self._children[number].run_id

    def write_measured(self, record: TrialRecord, profile: Mapping[str, Any]) -> None:
        """Write what was measured on the file that ships, how far off estimates were, and what it was trained on."""
        self._log(self.run_id(record.number), measured_metrics(record, profile), [], [])
        self._write_dataset(self.run_id(record.number))

    def write_file(self, record: TrialRecord, path: Path) -> None:
        """Write a file of a trial under its own name, of one of several networks in a folder of its own."""
        self._client.log_artifact(self.run_id(record.number), str(path), "/".join(network_names(record)) or None)

    def model_uri(self, record: TrialRecord) -> str | None:
        """Return the URI of the model that was logged for a trial, or for one of its networks, if one was."""
        return self._client.get_run(self.run_id(record.number)).data.tags.get(_model_tag(record))

    def write_model_uri(self, record: TrialRecord, uri: str) -> None:
        self._client.set_tag(self.run_id(record.number), _model_tag(record), uri)

    def write_status(self, status: str) -> None:
        """Set the parent run's status: RUNNING, FINISHED, KILLED (interrupted) or FAILED."""
        if status == "RUNNING":
            self._client.update_run(self.parent_run_id, status)
        else:
            self._client.set_terminated(self.parent_run_id, status)


def _model_tag(record: TrialRecord) -> str:
    return ".".join([MODEL_TAG, *network_names(record)])


def _fullness(run: Any) -> tuple[bool, int, int, str]:
    return run.info.status != "RUNNING", len(run.data.tags), len(run.data.metrics), run.info.run_id
