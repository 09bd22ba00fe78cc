"""The view in MLflow, on a real store: what is written, and that writing it again changes nothing."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from repareto.search.facts import StudyFacts
from repareto.search.mlflow_runs import PARENT_TAG, STUDY_TAG, MlflowRuns
from repareto.search.objectives import Budget
from repareto.search.pages.rows import front_table, trial_name
from repareto.search.records import State


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store for all tests here, for making its tables takes seconds; each test has a study of its own."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def uri(store: Path) -> str:
    return f"sqlite:///{store}/mlflow.db"


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    return (f"study-{number}" for number in itertools.count())


class View:
    """A study in MLflow as a user sees it."""

    def __init__(self, client: MlflowClient, uri: str, artifacts: str, name: str) -> None:
        self.client, self.name = client, name
        self._uri, self._artifacts = uri, artifacts

    def connect(self, study_id: str = "a") -> MlflowRuns:
        """As each driver does."""
        data = {"name": "digits", "labels": ["0", "1"], "examples": {"train": 8, "validation": 4, "test": 4}}
        facts = StudyFacts(self.name, (Budget.parse("latency", "1us"),), "host", data, {"source": "digits"})
        return MlflowRuns(self._uri, self._artifacts, facts, study_id)

    @property
    def experiment_id(self) -> str:
        return self.client.get_experiment_by_name(self.name).experiment_id

    @property
    def runs(self) -> list[Run]:
        return list(self.client.search_runs([self.experiment_id], run_view_type=ViewType.ACTIVE_ONLY))

    @property
    def parent(self) -> Run:
        (parent,) = (run for run in self.runs if run.data.tags["role"] == "study")
        return parent

    @property
    def children(self) -> dict[int, Run]:
        children = [run for run in self.runs if run.data.tags["role"] == "trial"]
        by_number = {int(run.data.tags["repareto.trial"]): run for run in children}
        assert len(by_number) == len(children), "one run a trial"
        return by_number

    def history(self, number: int | None, metric: str) -> list[tuple[int, float]]:
        run = self.parent if number is None else self.children[number]
        return sorted((m.step, m.value) for m in self.client.get_metric_history(run.info.run_id, metric))

    def everything(self) -> dict[str, Any]:
        """Every tag, parameter, metric point and status, by run."""
        seen = {}
        for run in self.runs:
            data, info = run.data, run.info
            points = {
                name: [(m.step, m.value, m.timestamp) for m in self.client.get_metric_history(info.run_id, name)]
                for name in data.metrics
            }
            seen[info.run_id] = (data.tags, data.params, points, info.status, info.start_time, info.end_time)
        return seen


@pytest.fixture
def view(client: MlflowClient, uri: str, store: Path, names: Iterator[str]) -> View:
    return View(client, uri, (store / "artifacts").as_uri(), next(names))


@pytest.fixture
def records(lab):
    return (
        lab.record(0, 0.2, 2000, 20480),
        lab.record(1, 0.1, 3000, 40960),
        lab.record(2, state=State.STOPPED, reason="dominated at the rung of epoch 3"),
        lab.record(3, state=State.REJECTED, reason="latency 3 ms > 2 ms"),
        lab.record(4, state=State.FAILED, reason="the loss is NaN"),
        lab.record(5, state=State.RUNNING),
    )


def write_all(runs: MlflowRuns, lab, records) -> None:
    for record in records:
        runs.write_trial(record)
    runs.write_progress(lab.results(*records))


def test_one_parent_and_a_child_for_each_trial(lab, view: View, records) -> None:
    write_all(view.connect(), lab, records)
    assert view.parent.info.run_name == view.name
    children = view.children
    assert sorted(children) == [0, 1, 2, 3, 4, 5]
    for number, run in children.items():
        record = records[number]
        tags = run.data.tags
        assert tags["mlflow.parentRunId"] == view.parent.info.run_id
        assert tags["repareto.study"] == view.name
        assert tags["state"] == record.state.value
        assert tags["candidate"] == record.candidate.digest
        assert tags["on_front"] == str(number in (0, 1)).lower()
        assert tags.get("reason", "") == record.reason
        assert tags["device"] == "host"
        assert run.info.run_name == trial_name(record)
        assert run.info.start_time == int(record.started * 1000)
        assert run.info.end_time == (None if record.ended is None else int(record.ended * 1000))
        assert run.data.params == {name: str(value) for name, value in record.candidate.items()}
    assert [children[number].data.tags.get("reject_reason") for number in range(6)] == [
        None, None, None, "latency", None, None,
    ]  # fmt: skip
    assert [children[number].info.status for number in range(6)] == [
        "FINISHED", "FINISHED", "FINISHED", "KILLED", "FAILED", "RUNNING",
    ]  # fmt: skip


def test_the_metrics_of_a_trial(lab, view: View, records) -> None:
    write_all(view.connect(), lab, records)
    record = records[0]
    metrics = view.children[0].data.metrics
    for name, value in record.measurement.figures.items():
        assert metrics[name] == pytest.approx(value)
    assert metrics["train_seconds"] == 1.5
    assert metrics["branched_parameters"] == 1234
    assert metrics["fusion.largest_relative_difference"] == pytest.approx(2e-7)
    assert view.history(0, "epoch.error") == [(e, p.error) for e, p in enumerate(record.curve, 1)]
    assert view.history(0, "epoch.train_loss") == [(e, p.train_loss) for e, p in enumerate(record.curve, 1)]
    assert view.history(2, "epoch.error") == [(e, p.error) for e, p in enumerate(records[2].curve, 1)]
    rejected = view.children[3].data.metrics
    assert rejected["latency_us"] == lab.profile(records[3].candidate).value("latency_us")
    assert "error" not in rejected
    assert "latency_us" not in view.children[5].data.metrics, "a running trial has no end yet"


def test_the_hypervolume_over_trials_and_the_counts(lab, view: View, records) -> None:
    write_all(view.connect(), lab, records)
    results = lab.results(*records)
    assert view.history(None, "hypervolume") == [(step, value) for step, value, _ in results.hypervolume_by_trial()]
    costs = [sum(len(record.curve) for record in records[:count]) for count in (1, 2, 3, 5)]
    assert [step for step, _ in view.history(None, "hypervolume_by_epochs")] == costs
    tags = view.parent.data.tags
    counted = {"finished": "2", "stopped": "1", "rejected": "1", "failed": "1", "running": "1"}
    assert {state: tags[f"trials.{state}"] for state in counted} == counted


def test_writing_twice_changes_nothing(lab, view: View, records) -> None:
    runs = view.connect()
    write_all(runs, lab, records)
    before = view.everything()
    write_all(runs, lab, records)
    assert view.everything() == before


def test_another_driver_finds_the_runs_and_changes_nothing(lab, view: View, records) -> None:
    first = view.connect()
    write_all(first, lab, records)
    before = view.everything()
    second = view.connect()
    assert second.parent_run_id == first.parent_run_id
    write_all(second, lab, records)
    assert view.everything() == before
    assert all(second.run_id(number) == first.run_id(number) for number in range(6))


def test_another_study_has_runs_of_its_own(lab, view: View, client, uri, store, names, records) -> None:
    write_all(view.connect(), lab, records[:2])
    other = View(client, uri, (store / "artifacts").as_uri(), next(names))
    write_all(other.connect(), lab, records[:1])
    assert sorted(other.children) == [0]
    assert sorted(view.children) == [0, 1]


def test_a_running_trial_grows(lab, view: View) -> None:
    runs = view.connect()
    finished = lab.record(0)
    for epochs in (0, 1, 2, 2, 5):
        runs.write_trial(lab.record(0, state=State.RUNNING, curve=finished.curve[:epochs]))
    assert len(view.history(0, "epoch.error")) == 5
    assert view.children[0].info.status == "RUNNING"
    runs.write_trial(finished)
    child = view.children[0]
    assert len(view.history(0, "epoch.error")) == 9
    assert child.info.status == "FINISHED" and child.data.tags["state"] == "finished"


def test_a_driver_that_goes_on_writes_each_epoch_once(lab, view: View) -> None:
    finished = lab.record(0)
    view.connect().write_trial(lab.record(0, state=State.RUNNING, curve=finished.curve[:4]))
    view.connect().write_trial(finished)
    assert view.history(0, "epoch.error") == [(e, p.error) for e, p in enumerate(finished.curve, 1)]


def test_members_of_the_front_come_and_go(lab, view: View) -> None:
    runs = view.connect()
    weak, strong = lab.record(0, 0.5, 2000), lab.record(1, 0.1, 1000)
    write_all(runs, lab, [weak])
    assert view.children[0].data.tags["on_front"] == "true"
    write_all(runs, lab, [weak, strong])
    assert [view.children[n].data.tags["on_front"] for n in (0, 1)] == ["false", "true"]


def test_members_that_left_while_nobody_wrote_are_told_by_the_next_driver(lab, view: View) -> None:
    weak, strong = lab.record(0, 0.5, 2000), lab.record(1, 0.1, 1000)
    write_all(view.connect(), lab, [weak])
    # The first driver is killed before it writes the end of trial 1, which the ledger has.
    write_all(view.connect(), lab, [weak, strong])
    assert [view.children[n].data.tags["on_front"] for n in (0, 1)] == ["false", "true"]


def test_a_write_that_fails_once_is_complete_when_it_is_repeated(lab, view: View, monkeypatch) -> None:
    """A server that goes down between the making of a run and the writing of what is in it."""
    runs = view.connect()
    record = lab.record(0)

    def down(*_arguments: object, **_options: object) -> None:
        raise ConnectionError("down")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", down)
        with pytest.raises(ConnectionError):
            runs.write_trial(record)
    runs.write_trial(record)
    child = view.children[0]
    assert child.data.params == {name: str(value) for name, value in record.candidate.items()}
    assert child.data.tags["state"] == "finished"
    assert len(view.history(0, "epoch.error")) == 9


class Requests:
    """Counts the requests that change something, and lets the answer to one of them be lost."""

    CALLS = ("create_run", "log_batch", "set_terminated", "set_tag", "delete_run", "update_run")

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: Counter[str] = Counter()
        self._answers_to_lose: Counter[str] = Counter()
        for call in self.CALLS:
            monkeypatch.setattr(MlflowClient, call, self._counted(call, getattr(MlflowClient, call)))

    def lose_the_answer(self, call: str, *, after: int = 0) -> None:
        """The server does what it is asked, dies, and is back for the next request."""
        self._answers_to_lose[call] = self.made[call] + after + 1

    def _counted(self, call: str, real: Callable) -> Callable:
        def counted(*arguments: object, **options: object) -> object:
            answer = real(*arguments, **options)
            self.made[call] += 1
            if self.made[call] == self._answers_to_lose[call]:
                raise ConnectionResetError(call)
            return answer

        return counted


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


def test_a_trial_that_ended_costs_three_requests_and_none_again(lab, view: View, records, requests: Requests) -> None:
    runs = view.connect()
    runs.write_trials(records[:5])
    assert requests.made == {"create_run": 1 + 5, "log_batch": 5, "set_terminated": 5}
    runs.write_progress(lab.results(*records[:5]))
    requests.made.clear()
    for again in (runs, view.connect()):
        write_all(again, lab, records[:5])
        assert requests.made == {}, "what is written is known, to a new connection too"


def test_a_new_connection_writes_of_a_running_trial_what_is_new(lab, view: View, monkeypatch) -> None:
    finished = lab.record(0)
    view.connect().write_trial(lab.record(0, state=State.RUNNING, curve=finished.curve[:4]))
    written: list[tuple[str, int]] = []
    log_batch = MlflowClient.log_batch

    def watched(client, run_id, metrics=(), params=(), tags=()):
        written.extend((metric.key, metric.step) for metric in metrics)
        assert not params
        log_batch(client, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", watched)
    view.connect().write_trial(lab.record(0, state=State.RUNNING, curve=finished.curve[:6]))
    assert [step for name, step in written if name == "epoch.error"] == [5, 6]


def everything_by_trial(view: View) -> dict[str, Any]:
    """All that stands in MLflow, by name of the run in place of its random identity."""
    seen = view.everything()
    names = {run.info.run_id: run.info.run_name for run in view.runs}
    assert len(set(names.values())) == len(names)
    return {
        names[run_id]: ({**tags, PARENT_TAG: names.get(tags.get(PARENT_TAG, "")), STUDY_TAG: ""}, *rest[:2])
        for run_id, (tags, *rest) in seen.items()
    }


@pytest.mark.parametrize(
    ("call", "after"),
    [(call, after) for call in ("create_run", "log_batch", "set_terminated") for after in (0, 1, 4)]
    + [("set_tag", 0), ("set_tag", 1)],
)
def test_an_answer_that_is_lost_leaves_no_duplicate(
    lab, view: View, client, uri, store, names, records, requests: Requests, call: str, after: int
) -> None:
    """The server has done what it was asked, the driver does not know, connects again and goes on."""
    undisturbed = View(client, uri, (store / "artifacts").as_uri(), next(names))
    write_all(undisturbed.connect(), lab, records)
    requests.lose_the_answer(call, after=after)
    for _ in range(3):
        try:
            runs = view.connect()
            write_all(runs, lab, records)
            break
        except ConnectionResetError:
            continue
    else:
        raise AssertionError
    seen, expected = everything_by_trial(view), everything_by_trial(undisturbed)
    assert seen.pop(view.name)[2] == expected.pop(undisturbed.name)[2]
    assert seen.keys() == expected.keys()
    for name, (tags, params, points) in expected.items():
        assert {**seen[name][0], PARENT_TAG: ""} == {**tags, PARENT_TAG: ""}
        assert seen[name][1:] == (params, points)


def test_of_runs_that_were_made_twice_the_fullest_stays(lab, view: View, client, records) -> None:
    """A request that was sent again by a proxy, or came to a server twice: nobody saw an error."""
    runs = view.connect()
    write_all(runs, lab, records)
    tags = {name: text for name, text in view.children[1].data.tags.items() if not name.startswith("mlflow.run")}
    started = int(records[1].started * 1000)
    for _ in range(2):
        client.create_run(view.experiment_id, started, tags, run_name="#1")
    second_parent = client.create_run(
        view.experiment_id, tags={"repareto.study": view.name, "role": "study"}, run_name=view.name
    )
    client.set_tag(runs.run_id(2), PARENT_TAG, second_parent.info.run_id)
    again = view.connect()
    assert again.parent_run_id == runs.parent_run_id == view.parent.info.run_id
    assert {number: again.run_id(number) for number in range(6)} == {n: runs.run_id(n) for n in range(6)}
    assert {run.data.tags[PARENT_TAG] for run in view.children.values()} == {again.parent_run_id}
    write_all(again, lab, records)
    assert len(view.runs) == 7


def test_a_run_of_an_older_study_of_that_name_is_replaced(lab, view: View, records) -> None:
    """The store was removed and the study begun anew, the tracking server stayed."""
    write_all(view.connect(), lab, records)
    other = replace(records[0], candidate=lab.candidate(77))
    later = replace(records[1], started=records[1].started + 60)
    write_all(view.connect(), lab, [other, later, *records[2:]])
    assert view.children[0].data.params == {name: str(value) for name, value in other.candidate.items()}
    assert view.children[1].info.start_time == int(later.started * 1000)
    assert len(view.history(1, "epoch.error")) == len(later.curve)
    assert [view.children[n].data.tags["on_front"] for n in (0, 1)] == ["true", "true"]


def test_a_deleted_experiment_is_taken_out_of_the_bin(lab, view: View, client, records) -> None:
    write_all(view.connect(), lab, records)
    client.delete_experiment(view.experiment_id)
    write_all(view.connect(), lab, records)
    assert client.get_experiment(view.experiment_id).lifecycle_stage == "active"
    assert sorted(view.children) == list(range(6))


def test_an_error_ends_the_writing_of_many(lab, view: View, monkeypatch) -> None:
    runs = view.connect()
    tried: list[str] = []

    def down(_client, _run_id, *_arguments: object) -> None:
        tried.append("")
        raise ConnectionError("down")

    monkeypatch.setattr(MlflowClient, "log_batch", down)
    with pytest.raises(ConnectionError):
        runs.write_trials([lab.record(number) for number in range(200)])
    assert len(tried) < 100


def test_many_parameters_and_a_long_reason_fit(lab, view: View) -> None:
    values = {f"stage{number}.width": number for number in range(250)}
    candidate = type(lab.candidate()).of("large", values)
    record = lab.record(0, state=State.FAILED, reason="x" * 20_000)
    view.connect().write_trial(replace(record, candidate=candidate))
    child = view.children[0]
    assert child.data.params == {name: str(value) for name, value in values.items()}
    assert child.data.tags["reason"] == "x" * 5000


def test_the_front_as_page_picture_and_table(lab, view: View, records) -> None:
    runs = view.connect()
    results = lab.results(*records)
    write_all(runs, lab, records)
    runs.write_front(results)
    files = {file.path for file in view.client.list_artifacts(runs.parent_run_id)}
    tables = {f"{name}.{form}" for name in ("front", "trials") for form in ("json", "csv")}
    assert files == tables | {"front.html", "front.png", "hypervolume.png", "parameters.png"}
    folder = Path(view.client.download_artifacts(runs.parent_run_id, ""))
    page = (folder / "front.html").read_text()
    assert all(run.info.run_id in page for run in view.children.values())
    assert view.experiment_id in page
    note = view.parent.data.tags["mlflow.note.content"]
    assert all(view.children[record.number].info.run_id in note for record in results.front)
    assert "2 models on the front of 2 trained in full" in (folder / "front.html").read_text()
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "front.json").read_text()) == front_table(results)
    assert json.loads(view.parent.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": name, "type": "table"} for name in ("front.json", "trials.json")
    ]


def test_no_front_is_written_before_a_model_is_there(lab, view: View) -> None:
    runs = view.connect()
    runs.write_front(lab.results(lab.record(0, state=State.STOPPED)))
    assert view.client.list_artifacts(runs.parent_run_id) == []


def test_texts_of_the_parent(view: View) -> None:
    runs = view.connect()
    for _ in range(2):
        runs.write_texts({"config.json": '{"a": 1}', "environment.json": "{}"})
    folder = Path(view.client.download_artifacts(runs.parent_run_id, ""))
    assert (folder / "config.json").read_text() == '{"a": 1}'
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "environment.json"]


def test_the_status_of_the_study(view: View) -> None:
    runs = view.connect()
    for status in ("RUNNING", "KILLED", "RUNNING", "FINISHED"):
        runs.write_status(status)
        assert view.parent.info.status == status


def test_measured_figures_and_the_model_of_a_member(lab, view: View) -> None:
    runs = view.connect()
    record = lab.record(0)
    runs.write_trial(record)
    assert runs.model_uri(record) is None
    profile = {
        "device": "host",
        "latency_us": {"value": 12.5, "unit": "us", "method": "measured", "error": None},
        "macs": {"value": 7, "unit": "MACs", "method": "exact", "error": None},
    }
    for _ in range(2):
        runs.write_measured(record, profile)
    assert view.history(0, "measured.latency_us") == [(len(record.curve), 12.5)]
    assert "measured.macs" not in view.children[0].data.metrics
    estimated_us = record.profile["latency_us"]["value"]
    assert view.history(0, "estimate_error.latency_us") == [(len(record.curve), pytest.approx(estimated_us / 12.5 - 1))]
    for run in (view.parent, view.children[0]):
        (dataset,) = run.inputs.dataset_inputs
        assert dataset.dataset.name == "digits"
        assert json.loads(dataset.dataset.profile) == {"labels": 2, "train": 8, "validation": 4, "test": 4}
    runs.write_model_uri(record, "models:/m-1")
    assert view.connect().model_uri(record) == "models:/m-1"


def test_the_hypervolume_is_that_of_now_where_repeats_changed_it(lab, view: View) -> None:
    records = [lab.record(0, 0.2, 200, 2048), lab.record(1, 0.1, 300, 4096)]
    runs = view.connect()
    write_all(runs, lab, records)
    results = lab.results(*records)
    lucky = results.hypervolume
    results.update(replace(records[1], repeats=(0.3, 0.5)))
    assert results.hypervolume < lucky
    runs.write_progress(results)
    steps = len(results.hypervolume_by_trial())
    for _ in range(2):
        assert view.parent.data.metrics["hypervolume"] == results.hypervolume
        assert len(view.history(None, "hypervolume")) == len(view.history(None, "hypervolume_by_epochs")) == steps + 1
        # Who connects anew finds it written.
        view.connect().write_progress(results)


def test_a_study_that_was_made_anew_has_nothing_of_the_old_one(lab, view) -> None:
    """The ledger was deleted, the tracking server was not."""
    old = [lab.record(number) for number in range(4)]
    runs = view.connect("old")
    runs.write_trials(old)
    runs.write_progress(lab.results(*old))
    new = [lab.record(number, error=0.2 + number / 10) for number in range(2)]
    runs = view.connect("new")
    runs.write_trials(new)
    runs.write_progress(lab.results(*new))
    assert sorted(view.children) == [0, 1]
    assert view.children[0].data.metrics["error"] == 0.2
    assert [step for step, _ in view.history(None, "hypervolume")] == [1, 2]
    assert len(view.runs) == 3
