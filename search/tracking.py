"""Keeps MLflow equal to the ledger from a thread of its own, so that a slow server does not slow the search.

A server that is down delays the view and loses nothing: what changed is kept and written when it answers again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spaces.errors import first_line
from .addresses import folder_of
from .records import State, TrialRecord
from .results import Results

if TYPE_CHECKING:
    from .config import Config
    from .mlflow_runs import MlflowRuns

# Page and tables of a long study take a part of a second: they are not written anew for each of many quick trials.
SECONDS_BETWEEN_PAGES = 10.0
SECONDS_BETWEEN_WRITES = 0.5
# Importing MLflow takes seconds, which a driver that starts would rather give its workers.
SECONDS_BEFORE_START = 6.0
RETRY_SECONDS = 5.0

logger = logging.getLogger("repareto")


def default_tracking_uri(store: Path) -> str:
    """Return the tracking store that lies beside the ledger."""
    return f"sqlite:///{(store / 'mlflow.db').absolute()}"


def default_artifacts(store: Path) -> str:
    return (store / "mlartifacts").absolute().as_uri()


def tracking_of(config: Config) -> tuple[str, str | None]:
    """Return a study's tracking server, and where it keeps files where the server does not decide that."""
    if config.tracking is not None:
        return config.tracking, None
    folder = folder_of(config.store, "MLflow's own store", "name a server: `tracking: http://host:5000`")
    return default_tracking_uri(folder), default_artifacts(folder)


def connect_runs(config: Config, header: Mapping[str, Any]) -> MlflowRuns:
    """Return the runs of the study with that ``header`` in its ledger, on its tracking server.

    Importing MLflow and making its store takes seconds.
    """
    from .facts import StudyFacts
    from .mlflow_runs import MlflowRuns

    uri, artifacts = tracking_of(config)
    return MlflowRuns(uri, artifacts, StudyFacts.of(config, header), header["id"])


class MlflowView:
    """An observer of a study that writes what it sees to MLflow."""

    def __init__(self, connect: Callable[[], MlflowRuns], texts: Mapping[str, str], results: Results) -> None:
        """``connect`` is called by the thread, for importing MLflow and making its store takes seconds.

        ``texts`` are files of the parent run. All trials of ``results`` are written first, where the view lacks them.
        """
        self._connect, self._texts = connect, dict(texts)
        self._runs: MlflowRuns | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        # Its own, for the driver's changes while this one is read.
        self._results = results.copy()
        self._changed: dict[int, TrialRecord] = {}
        self._shown = 0
        self._next_page = 0.0
        self._closing_status = ""
        self._trouble = ""
        self._wake.set()
        self._thread = threading.Thread(target=self._work, name="mlflow-view", daemon=True)
        self._thread.start()

    def trial_changed(self, record: TrialRecord, _results: Results) -> None:
        with self._lock:
            self._changed[record.number] = record
        self._wake.set()

    def close(self, status: str) -> str:
        """Write what is left, set the parent run's status, and return "" or why the view stays behind the ledger."""
        self._closing_status = status
        self._closing.set()
        self._wake.set()
        self._thread.join()
        return self._trouble

    def _work(self) -> None:
        self._closing.wait(SECONDS_BEFORE_START)
        while True:
            self._wake.wait(RETRY_SECONDS if self._trouble else SECONDS_BETWEEN_PAGES)
            # Quick trials begin and end meanwhile, and are written once.
            self._closing.wait(SECONDS_BETWEEN_WRITES)
            self._wake.clear()
            status = self._closing_status
            with self._lock:
                changed, self._changed = self._changed, {}
            try:
                self._write(changed, status)
                self._trouble = ""
            except Exception as error:
                # Whatever a server or a network can answer: the search must not care, and nothing is lost.
                trouble = first_line(error)
                if not self._trouble:
                    logger.warning("the MLflow view is behind, the ledger is not: %s", trouble)
                self._trouble = trouble
                # What the server did of it is not known: the next connection looks at what is there.
                self._runs = None
                with self._lock:
                    self._changed = {**changed, **self._changed}
                if not status:
                    self._closing.wait(RETRY_SECONDS)
            if status:
                return

    def _write(self, changed: Mapping[int, TrialRecord], status: str) -> None:
        for record in changed.values():
            self._results.update(record)
        records = [changed[number] for number in sorted(changed)]
        runs = self._runs
        if runs is None:
            runs = self._connect()
            runs.write_texts(self._texts)
            runs.write_status("RUNNING")
            records = list(self._results.records)
        runs.write_trials(records)
        # Not before all trials are there: a connection that broke starts with all of them again.
        self._runs = runs
        runs.write_progress(self._results)
        shown = self._results.counts[State.FINISHED]
        if shown != self._shown and (status or time.monotonic() >= self._next_page):
            runs.write_front(self._results, complete=bool(status))
            self._shown = shown
            self._next_page = time.monotonic() + SECONDS_BETWEEN_PAGES
        if status:
            runs.write_status(status)
