"""What one can ask of a search from outside: how far it is, to stop, to write its MLflow view again."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..spaces.errors import UserError
from .config import Config
from .lease import hold_lease
from .ledger import Ledger
from .records import State, TrialRecord
from .run import complete_front, read_results, write_view

SECONDS_BETWEEN_LOOKS = 1.0

Say = Callable[[str], None]


def print_status(ledger: Ledger, say: Say) -> None:
    """Say how far a study is, who drives it, and what its running trials do."""
    results = read_results(ledger)
    holder = ledger.lease_state().holder
    alive = holder is not None and ledger.is_driven()
    counts = results.counts
    say(f"study {ledger.name}: {results.trained} of {ledger.goal()} trials trained")
    say("  " + ", ".join(f"{counts[state]} {state}" for state in State))
    say(f"  front {len(results.front)}, hypervolume {results.hypervolume:.4f}")
    if alive:
        say(f"  driven by {holder}")
    elif holder is not None:
        say(f"  its driver, {holder}, is dead; the same search command goes on")
    else:
        say("  nobody drives it" + ("; the same search command goes on" if counts[State.RUNNING] else ""))
    for record in results.records:
        if record.state is State.RUNNING:
            say(f"  trial {record.number}: {_progress(record)}{'' if alive else '; waits to be continued'}")


def _progress(record: TrialRecord) -> str:
    losses = f", lost {len(record.losses)} workers" if record.losses else ""
    if not record.curve:
        return f"in its first epoch{losses}"
    return f"{len(record.curve)} epochs, error {record.curve[-1].error:.4f}{losses}"


def stop_search(ledger: Ledger, say: Say) -> None:
    """Ask a study's driver to end, and wait until it has; raises :class:`UserError` where nobody drives."""
    if not ledger.is_driven():
        raise UserError(f"study {ledger.name}: nobody drives it, so there is nothing to stop")
    token = ledger.lease_state().token
    ledger.request_stop()
    say(f"study {ledger.name}: stops when its running epochs have ended")
    while ledger.lease_state().token == token and ledger.is_driven():
        time.sleep(SECONDS_BETWEEN_LOOKS)
    results = read_results(ledger)
    if results.trained < ledger.goal() or results.counts[State.RUNNING]:
        say("stopped; the same search command goes on from here")
    else:
        say(f"it had come to its end: {results.trained} of {ledger.goal()} trials trained")


def sync_view(ledger: Ledger, config: Config, say: Say) -> None:
    """Write a study's MLflow view from the ledger; raises :class:`UserError` where a driver lives, who does it."""
    with hold_lease(ledger.address, ledger.name):
        results = read_results(ledger)
        status = "FINISHED" if results.trained >= ledger.goal() else "KILLED"
        trouble = write_view(config, ledger, status)
        if trouble:
            raise UserError(f"MLflow cannot be written ({trouble}); start its server and run the same command again")
        complete_front(config, ledger, say)
    say(f"wrote {len(results.records)} trials of study {ledger.name} to MLflow")
