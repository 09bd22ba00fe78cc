"""Reads what a study found, and imports no more than that takes."""

from __future__ import annotations

from .config import Config
from .ledger import Ledger
from .results import Results


def read_results(ledger: Ledger) -> Results:
    """Return what the ledger knows."""
    header = ledger.header()
    return Results(Config(**header["config"]).parsed_objectives(), header["reference"], ledger.records())
