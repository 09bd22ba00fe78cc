"""Searches that are ended in every way there is, and go on; and that the same seed gives the same study."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from repareto.search.records import State, TrialRecord
from tests.integration.commands import EXAMPLES, QUICK, REPARETO, environment, repareto, results_of, runs_of

End = Callable[[Path, subprocess.Popen[str]], None]
# More trials than any machine trains before it is told to stop.
ENDLESS = ("--trials", "500")
# More at once than this machine has places for, so that some wait when the search ends.
CROWDED = ("--set", f"workers.count={2 * (os.cpu_count() or 1)}")


def start_search(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [REPARETO, "search", str(EXAMPLES / "digits.yaml"), *QUICK, *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_epochs(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until a running search has trained so many more epochs."""
    before = None
    for _ in range(1800):
        assert process.poll() is None, process.communicate()
        # The ledger is not looked at before it is whole: opening a new one would make its tables at the same time.
        if (folder / "runs" / "studies" / "digits" / "trials").exists():
            epochs = sum(len(record.curve) for record in results_of(folder / "runs").records)
            before = epochs if before is None else before
            if epochs >= before + count:
                return
        time.sleep(0.1)
    raise AssertionError("the search does not get on")


def refuses_a_second_driver_and_is_killed(folder: Path, driver: subprocess.Popen[str]) -> None:
    with start_search(folder, "--trials", "3") as second:
        _, errors = second.communicate(timeout=150)
    assert second.returncode == 2
    assert f"study digits is being searched already, by process {driver.pid} on " in errors
    assert errors.count("\n") == 1
    driver.kill()
    driver.communicate(timeout=150)


def is_interrupted(_folder: Path, driver: subprocess.Popen[str]) -> None:
    os.kill(driver.pid, signal.SIGINT)
    output, errors = driver.communicate(timeout=150)
    assert driver.returncode == 130, errors
    assert "goes on from here" in output


def is_terminated(_folder: Path, driver: subprocess.Popen[str]) -> None:
    driver.send_signal(signal.SIGTERM)
    ends_in_good_order(driver)


def is_asked_to_stop(folder: Path, driver: subprocess.Popen[str]) -> None:
    assert f"driven by process {driver.pid} on " in repareto("status", "digits", cwd=folder).stdout
    stopped = repareto("stop", "digits", cwd=folder)
    assert stopped.returncode == 0, stopped.stderr
    assert "stopped; the same search command goes on" in stopped.stdout
    ends_in_good_order(driver)
    assert "nobody drives it" in repareto("status", "digits", cwd=folder).stdout


def ends_in_good_order(driver: subprocess.Popen[str]) -> None:
    output, errors = driver.communicate(timeout=150)
    assert driver.returncode == 0, errors
    assert "stopped: the same command goes on from here" in output


def search_until(folder: Path, end: End, *words: str, epochs: int = 2) -> dict[int, TrialRecord]:
    """Search until something happened after some epochs, and return the trials of then."""
    with start_search(folder, *ENDLESS, *words) as driver:
        wait_for_epochs(folder, epochs, driver)
        end(folder, driver)
    return {record.number: record for record in results_of(folder / "runs").records}


def check_nothing_is_repeated(before: dict[int, TrialRecord], after: dict[int, TrialRecord]) -> None:
    for number, record in before.items():
        assert after[number].candidate == record.candidate
        assert after[number].curve[: len(record.curve)] == record.curve
        if record.state is State.FINISHED:
            # What was measured again has another time of training.
            assert after[number].measurement.train_seconds == record.measurement.train_seconds


@pytest.mark.timeout(900)  # five searches
def test_a_search_goes_on_after_whatever_ended_it_and_repeats_nothing(tmp_path):
    # A trial has four epochs: of two workers' first ones some are finished.
    seen = search_until(tmp_path, refuses_a_second_driver_and_is_killed, epochs=10)
    for end, words in ((is_interrupted, ()), (is_asked_to_stop, ()), (is_terminated, CROWDED)):
        now = search_until(tmp_path, end, *words)
        check_nothing_is_repeated(seen, now)
        assert sum(len(record.curve) for record in now.values()) > sum(len(record.curve) for record in seen.values())
        seen = now
    # Those that were running or waiting, and one more.
    results = results_of(tmp_path / "runs")
    trials = results.trained + results.counts[State.RUNNING] + 1
    with start_search(tmp_path, "--trials", str(trials)) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    results = results_of(tmp_path / "runs")
    assert results.counts[State.RUNNING] == 0
    assert results.trained == trials
    check_nothing_is_repeated(seen, {record.number: record for record in results.records})
    parent, children = runs_of(tmp_path / "runs")
    assert parent.info.status == "FINISHED"
    assert len(children) == len(results.records)


@pytest.mark.slow  # of every sampler with imagined trainings in tests/search, of trainings in tests/trainers
def test_one_worker_and_one_seed_give_one_study(tmp_path):
    studies = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        with start_search(tmp_path / name, "--trials", "4", "--set", "workers.count=1") as process:
            _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
        records = results_of(tmp_path / name / "runs").records
        studies.append([(r.candidate, r.state, [point.error for point in r.curve]) for r in records])
    assert studies[0] == studies[1]
