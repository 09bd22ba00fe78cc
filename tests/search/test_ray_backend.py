"""The adapters between Ray and the study, without a cluster."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from repareto.search.checkpoints import SLOTS
from repareto.search.files import MEASUREMENT, Files, trial_folder
from repareto.search.lineage import Lineage
from repareto.search.ray_backend import StudyScheduler, StudySearcher, Trouble, loss_of
from repareto.search.records import EpochPoint, Loss, State
from repareto.spaces.errors import UserError
from repareto.spaces.space import Candidate


class Ray:
    """What Ray Tune 2.60 does with a result: one with ``done`` goes to the searcher's end and to no scheduler."""

    def __init__(self, study, folder: Path, **options) -> None:
        self.trouble = Trouble()
        self.said: list[str] = []
        self.searcher = StudySearcher(study, Files(str(folder)), self.trouble, **options)
        self.scheduler = StudyScheduler(study, self.trouble, self.said.append)

    def lose(self, trial_id: str, config: dict, error: Path) -> None:
        """A worker is gone: the scheduler hears of it first, with the file in which Ray keeps the reason."""
        self.scheduler.on_trial_error(None, SimpleNamespace(config=config, error_file=str(error)))
        self.searcher.on_trial_complete(trial_id, None, error=True)

    def start(self, trial_id: str) -> dict:
        config = self.searcher.suggest(trial_id)
        assert isinstance(config, dict)
        return config

    def result(self, trial_id: str, config: dict, result: dict) -> bool:
        """Return whether the trial goes on."""
        if not result.get("done"):
            decision = self.scheduler.on_trial_result(None, SimpleNamespace(config=config), result)
            if decision == TrialScheduler.CONTINUE:
                return True
        self.searcher.on_trial_complete(trial_id, result)
        return False

    def train(self, lab, trial_id: str, config: dict) -> None:
        candidate = Candidate.from_json(config["candidate"])
        for epoch in range(1, lab.epochs + 1):
            result = {"curve": curve(lab, candidate, epoch)}
            if epoch == lab.epochs:
                result |= {"measurement": json.dumps(asdict(lab.measurement(candidate))), "done": True}
            if not self.result(trial_id, config, result):
                return


def curve(lab, candidate: Candidate, epochs: int) -> str:
    return json.dumps([EpochPoint(lab.error(candidate, epoch), 1.0, 0.1) for epoch in range(1, epochs + 1)])


def test_trials_reach_the_study_with_all_their_epochs(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=2)
    ray = Ray(study, tmp_path)
    for trial_id in "ab":
        ray.train(lab, trial_id, ray.start(trial_id))
    assert ray.searcher.suggest("c") == Searcher.FINISHED
    assert [record.state for record in study.results.records] == [State.FINISHED] * 2
    assert [record.number for record in study.results.records] == [0, 1]
    for record in study.results.records:
        assert [point.error for point in record.curve] == [lab.error(record.candidate, e) for e in range(1, 10)]


def test_a_trial_is_told_of_its_relatives_where_candidates_inherit(lab, tmp_path: Path) -> None:
    ray = Ray(lab.study(tmp_path, trials=2), tmp_path, lineage=Lineage(lab.space))
    first = ray.start("a")
    ray.train(lab, "a", first)
    (relative,) = json.loads(ray.start("b")["relatives"])
    assert json.loads(first["relatives"]) == []
    assert relative == {"number": 0, "candidate": first["candidate"], "epochs": lab.epochs}


def test_a_stopped_trial_stays_stopped(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=12, rungs=(3,))
    ray = Ray(study, tmp_path)
    for number in range(12):
        ray.train(lab, str(number), ray.start(str(number)))
    states = [record.state for record in study.results.records]
    assert State.STOPPED in states and State.FINISHED in states
    assert all(len(record.curve) == 3 for record in study.results.records if record.state is State.STOPPED)


def test_what_a_worker_reports_of_its_failure(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=2)
    ray = Ray(study, tmp_path)
    config = ray.start("a")
    ray.result("a", config, {"done": True, "failed": "the loss is NaN in epoch 2"})
    ray.start("b")
    ray.searcher.on_trial_complete("b", None)
    failed, interrupted = study.results.records
    assert failed.state is State.FAILED and failed.reason == "the loss is NaN in epoch 2"
    assert interrupted.state is State.RUNNING, "the next driver goes on with it"


# As Ray 2.60 wrote them when a worker process, a node, and the way to a node were taken away.
KILLED = """The actor died unexpectedly before finishing this task.
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was killed \
by the OOM killer due to high memory usage, (2) ray stop --force was called"""
NODE_DIED = """The actor died unexpectedly before finishing this task.
The actor died because its node has died. Node Id: 5bac8f23d4246abdfb4afa806494a5874e2c4d21c0f2b6e268077408"""
UNAVAILABLE = (
    """The actor 1809a1158c3ec6e4cad3b42301000000 is unavailable: The actor is temporarily unavailable: RpcError"""
)


@pytest.mark.parametrize(
    ("text", "loss"),
    [
        (KILLED, Loss("its process was killed or crashed", True)),
        (NODE_DIED, Loss("its node was lost", False)),
        (UNAVAILABLE, Loss("its node does not answer", False)),
        ("a\nTypeError: strange\n", Loss("TypeError: strange", True)),
        ("", Loss("for a reason that Ray does not tell", True)),
    ],
)
def test_why_a_worker_was_lost(text: str, loss: Loss) -> None:
    assert loss_of(text) == loss


def test_a_hung_epoch_is_charged_unless_the_node_went() -> None:
    assert loss_of(KILLED, 61.0, 60.0) == Loss(
        "its process ended 61 s after it was last heard of; an epoch may take 60 s (workers.epoch_timeout)", True
    )
    assert loss_of(KILLED, 59.0, 60.0) == loss_of(KILLED)
    assert not loss_of(NODE_DIED, 61.0, 60.0).is_charged


def test_a_lost_trial_comes_again_and_fails_after_three_deaths(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=1)
    ray = Ray(study, tmp_path)
    error = tmp_path / "error.txt"
    for attempt, text in enumerate([KILLED, NODE_DIED, UNAVAILABLE, KILLED, KILLED]):
        config = ray.start(f"attempt{attempt}")
        assert (config["number"], config["attempt"]) == (0, attempt)
        error.write_text(text)
        ray.lose(f"attempt{attempt}", config, error)
    (record,) = study.results.records
    assert record.state is State.FAILED
    assert record.reason == "its worker died 3 times; the last time: its process was killed or crashed"
    assert ray.searcher.suggest("again") == Searcher.FINISHED
    assert len(ray.said) == 5 and "its node was lost" in ray.said[1]


def test_nothing_is_final_while_a_trial_runs(lab, tmp_path: Path) -> None:
    """FINISHED is Ray's last question, and the running trial may lose its worker yet."""
    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    config = ray.start("a")
    assert ray.searcher.suggest("b") is None
    ray.lose("a", config, _write(tmp_path / "error.txt", NODE_DIED))
    assert ray.start("c")["number"] == 0


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_as_many_trials_run_as_there_are_places(lab, tmp_path: Path) -> None:
    places = 1
    ray = Ray(lab.study(tmp_path, trials=3), tmp_path, places=lambda: places)
    ray.start("a")
    assert ray.searcher.suggest("b") is None
    places = 2
    ray.start("b")
    assert ray.searcher.suggest("c") is None
    ray.searcher.on_trial_complete("a", {"done": True, "failed": "for a test"})
    ray.start("c")


def test_without_places_a_stop_ends_the_search_and_nothing_else_does(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=1)
    ray = Ray(study, tmp_path, places=lambda: 0)
    assert ray.searcher.suggest("a") is None, "nodes may yet come"
    study.request_stop()
    assert ray.searcher.suggest("a") == Searcher.FINISHED


def test_a_worker_without_its_store_has_lost_its_trial_and_is_not_charged(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=1)
    ray = Ray(study, tmp_path)
    ray.result("a", ray.start("a"), {"done": True, "lost": "store s3://b: has not answered"})
    (record,) = study.results.records
    assert record.state is State.RUNNING and record.losses == (Loss("store s3://b: has not answered", False),)
    assert ray.start("b")["number"] == 0


class Controller:
    """Ray's, as far as a scheduler sees it."""

    def __init__(self, ray: Ray, statuses: dict[str, str]) -> None:
        self.ray = ray
        self.trials = {
            name: SimpleNamespace(
                status=status, PENDING="PENDING", RUNNING="RUNNING", config=ray.start(name), name=name,
                init_local_path=lambda name=name: self.with_folders.add(name),
            )
            for name, status in statuses.items()
        }  # fmt: skip
        self.with_folders: set[str] = set()

    def get_live_trials(self) -> set:
        return {trial.name: trial for trial in self.trials.values() if trial.status != "TERMINATED"}.values()

    def stop_trial(self, trial) -> None:
        assert trial.status == "PENDING"
        assert trial.name in self.with_folders, "Ray's summary of all trials would fail"
        trial.status = "TERMINATED"
        self.ray.searcher.on_trial_complete(trial.name)


def test_trials_start_in_the_order_of_their_numbers(lab, tmp_path: Path) -> None:
    ray = Ray(lab.study(tmp_path, trials=3), tmp_path)
    controller = Controller(ray, {"a": "RUNNING", "b": "PENDING", "c": "PENDING"})
    assert ray.scheduler.choose_trial_to_run(controller) is controller.trials["b"]


def test_the_time_of_an_epoch_begins_when_its_trial_does(lab, tmp_path: Path, monkeypatch) -> None:
    """And not when the trial was given out: it may have waited for a place for hours."""
    now = 1000.0
    monkeypatch.setattr("repareto.search.ray_backend.time.monotonic", lambda: now)
    study = lab.study(tmp_path, trials=1)
    ray = Ray(study, tmp_path)
    ray.scheduler = StudyScheduler(study, ray.trouble, ray.said.append, epoch_timeout_seconds=60.0)
    controller = Controller(ray, {"a": "PENDING"})
    trial = controller.trials["a"]
    ray.scheduler.choose_trial_to_run(controller)
    now += 5000
    trial.status = "RUNNING"
    ray.scheduler.choose_trial_to_run(controller)
    now += 59
    ray.lose("a", trial.config, _write(tmp_path / "error.txt", KILLED))
    assert study.results.records[0].losses[0].cause == "its process was killed or crashed"


def test_a_stop_does_not_wait_for_trials_that_never_began(lab, tmp_path: Path) -> None:
    """As when an autoscaler is asked for more nodes than it has."""
    study = lab.study(tmp_path, trials=3)
    ray = Ray(study, tmp_path)
    controller = Controller(ray, {"a": "RUNNING", "b": "PENDING", "c": "PENDING"})
    study.request_stop()
    assert ray.scheduler.choose_trial_to_run(controller) is None
    assert {name: trial.status for name, trial in controller.trials.items()} == {
        "a": "RUNNING", "b": "TERMINATED", "c": "TERMINATED"
    }  # fmt: skip
    assert ray.searcher.suggest("d") is None, "one runs yet"
    ray.searcher.on_trial_complete("a")
    assert ray.searcher.suggest("d") == Searcher.FINISHED
    assert all(record.state is State.RUNNING for record in study.results.records), "for the next driver"


def test_what_a_worker_notes_is_said(lab, tmp_path: Path) -> None:
    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    ray.result("a", ray.start("a"), {"notes": json.dumps(["its checkpoint was cut short"])})
    assert ray.said == ["trial 0: its checkpoint was cut short"]


def test_a_checkpoint_goes_when_the_ledger_has_the_end_and_not_before(lab, tmp_path: Path) -> None:
    ray = Ray(lab.study(tmp_path, trials=2), tmp_path)
    folders = []
    for trial_id in "ab":
        folders.append(trial_folder(Files(str(tmp_path)), ray.start(trial_id)["number"]))
        for name in (*SLOTS, MEASUREMENT):
            folders[-1].write(name, b"content")
    ray.searcher.on_trial_complete("a", {"done": True, "failed": "the loss is NaN"})
    ray.searcher.on_trial_complete("b", None)
    ray.searcher.close()
    kept = [[folder.read(name) for name in (*SLOTS, MEASUREMENT)] for folder in folders]
    assert kept == [[None] * 3, [b"content"] * 3]


def test_a_fatal_end_asks_for_no_more_trials_and_is_raised_later(lab, tmp_path: Path) -> None:
    study = lab.study(tmp_path, trials=3)
    ray = Ray(study, tmp_path)
    ray.result("a", ray.start("a"), {"done": True, "fatal": "no space left on the disk"})
    assert isinstance(ray.trouble.error, UserError)
    assert ray.searcher.suggest("b") == Searcher.FINISHED
    assert study.results.records[0].state is State.RUNNING


def test_impossible_budgets_end_the_search(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repareto.search.study.REJECTION_LIMIT", 5)
    ray = Ray(lab.study(tmp_path, trials=3, budgets={"latency": "1us"}), tmp_path)
    assert ray.searcher.suggest("a") == Searcher.FINISHED
    assert "none of 5 candidates fits" in str(ray.trouble.error)


def test_an_evaluation_without_an_epoch_goes_on(lab, tmp_path: Path) -> None:
    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    config = ray.start("a")
    assert ray.result("a", config, {})


def test_an_epoch_that_the_dead_driver_did_not_hear_of_is_not_lost(lab, tmp_path: Path) -> None:
    """The worker keeps its checkpoint before it reports, so a driver killed in between misses an epoch."""
    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    config = ray.start("a")
    candidate = Candidate.from_json(config["candidate"])
    ray.result("a", config, {"curve": curve(lab, candidate, 1)})
    again = lab.study(tmp_path, trials=1)
    ray = Ray(again, tmp_path)
    assert ray.start("a") == config
    ray.result("a", config, {"curve": curve(lab, candidate, 3)})
    errors = [point.error for point in again.results.records[0].curve]
    assert errors == [lab.error(candidate, epoch) for epoch in (1, 2, 3)]


def test_rays_own_snapshot_of_an_experiment_holds_no_study(lab, tmp_path: Path) -> None:
    import pickle

    ray = Ray(lab.study(tmp_path, trials=1), tmp_path)
    for adapter in (ray.searcher, ray.scheduler):
        assert len(pickle.dumps(adapter)) < 500
