"""What one can ask of a search from outside."""

import threading
from collections.abc import Iterator

import pytest

from repareto.search import control, lease
from repareto.search.control import print_status, stop_search, sync_view
from repareto.search.lease import Holder, hold_lease
from repareto.search.ledger import Ledger
from repareto.search.records import Loss
from repareto.search.run import stored_config
from repareto.spaces.errors import UserError


@pytest.fixture
def ledger(lab, tmp_path) -> Ledger:
    """A study with a finished trial, and one that is in its third epoch and has lost a worker."""
    config = {"study": "study", "data": {"source": "digits"}, "space": {"name": "repcnn"}, "store": str(tmp_path)}
    Ledger.create(tmp_path, "study", {**lab.header(), "config": config, "versions": {}}).record_goal(4)
    study = lab.study(tmp_path, trials=2)
    lab.train(study, study.next_trial())
    running = study.next_trial()
    lab.train(study, running, until=2)
    study.lose_worker(running.number, Loss("its node was lost", False))
    return Ledger.open(tmp_path, "study")


def status(ledger: Ledger) -> str:
    lines: list[str] = []
    print_status(ledger, lines.append)
    return "\n".join(lines)


def test_status_of_a_study_that_waits_to_be_continued(ledger: Ledger) -> None:
    text = status(ledger)
    assert text.startswith("study study: 1 of 4 trials trained\n  1 running, 1 finished, 0 stopped")
    assert "front 1, hypervolume 0." in text
    assert "nobody drives it; the same search command goes on" in text
    assert "trial 1: 2 epochs, error 0." in text and "lost 1 workers; waits to be continued" in text


def test_status_names_the_driver(ledger: Ledger, tmp_path) -> None:
    with hold_lease(tmp_path, "study"):
        assert f"driven by {Holder.this_process()}" in status(ledger)


def test_status_tells_of_a_dead_driver(ledger: Ledger, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = hold_lease(tmp_path, "study")
    held.__enter__()
    monkeypatch.setattr(Holder, "is_gone", True)
    assert "its driver, process " in status(ledger) and "is dead; the same search command goes on" in status(ledger)
    held.__exit__(None, None, None)


@pytest.fixture
def driver(ledger: Ledger, tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A driver of the study that ends when it is asked to; the event says that it was."""
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(control, "SECONDS_BETWEEN_LOOKS", 0.02)
    holding, asked = threading.Event(), threading.Event()

    def drive() -> None:
        with hold_lease(tmp_path, "study") as held:
            holding.set()
            while not held.stop_requested:
                asked.wait(0.01)
            asked.set()

    thread = threading.Thread(target=drive)
    thread.start()
    holding.wait()
    yield asked
    ledger.request_stop()
    thread.join()


def test_stop_waits_until_the_driver_has_gone(ledger: Ledger, driver: threading.Event) -> None:
    said: list[str] = []
    stop_search(ledger, said.append)
    assert driver.is_set() and ledger.lease_state().holder is None
    assert said[-1] == "stopped; the same search command goes on from here"


def test_stop_says_when_the_search_had_come_to_its_end(ledger: Ledger, driver: threading.Event) -> None:
    ledger.fail(1, "it failed in its third epoch")
    ledger.record_goal(2)
    said: list[str] = []
    stop_search(ledger, said.append)
    assert driver.is_set() and said[-1] == "it had come to its end: 2 of 2 trials trained"


def test_there_is_nothing_to_stop(ledger: Ledger) -> None:
    with pytest.raises(UserError, match="study study: nobody drives it, so there is nothing to stop"):
        stop_search(ledger, print)


def test_a_view_is_written_by_one_process(ledger: Ledger, tmp_path) -> None:
    with hold_lease(tmp_path, "study"), pytest.raises(UserError, match="is being searched already"):
        sync_view(ledger, stored_config(ledger), print)


def test_a_view_on_a_server_that_is_down(ledger: Ledger) -> None:
    config = stored_config(ledger, tracking="http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"MLflow cannot be written \(.*start its server and run the same command again"
    ):
        sync_view(ledger, config, print)
