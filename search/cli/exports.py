"""Commands that write a folder to ship: of a model that a search has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...spaces.errors import UserError
from ...spaces.imports import make_importable
from .common import LedgerUrl, SparseWeights, Store, StudyName, ask, example, open_ledger, say, told_latency

if TYPE_CHECKING:
    from ..objectives import Budget
    from ..records import TrialRecord
    from ..results import Results
    from ..weighing import Worth

commands = typer.Typer()


@commands.command(epilog=example("repareto export keywords --out wakeup --max latency=2ms --max peak_memory=64KiB"))
def export(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial to take.")] = None,
    operating_point: Annotated[int | None, typer.Option(min=0, help="Of a trial with early exits.")] = None,
    max_: Annotated[list[str] | None, typer.Option("--max", help="An upper bound: `latency=2ms`.")] = None,
    knee: Annotated[bool, typer.Option("--knee", help="Take the knee of the front, not the least error.")] = False,
    weights: Annotated[
        str | None, typer.Option(help="Weigh objectives against one another: `error=2,latency=1`.")
    ] = None,
    choose: Annotated[bool, typer.Option("--choose", help="Show the front and ask which one to take.")] = False,
    sparse_weights: SparseWeights = False,
    force: Annotated[bool, typer.Option(help="Replace an existing folder.")] = False,
    store: Store = None,
    ledger_url: LedgerUrl = None,
) -> None:
    """Write the best feasible fused model, checked in its runtime, and register it in MLflow as the champion."""
    from ..choose import choose as choose_by
    from ..export import export_trial
    from ..finish import register
    from ..run import read_results, stored_config

    ways = {"--trial": trial is not None, "--knee": knee, "--weights": weights is not None, "--choose": choose}
    _refuse_two_ways(ways)
    ledger = open_ledger(study, store, ledger_url)
    make_importable(*ledger.header()["import_folders"], ".")
    config = stored_config(ledger, store)
    results = read_results(ledger)
    # What was estimated to hold a budget may have been measured not to.
    bounds = [*config.parsed_budgets(), *_bounds(max_ or [])]
    if choose:
        record = _asked(results, bounds)
    else:
        worth = _worth(results, knee, weights)
        record = choose_by(results, number=trial, point=operating_point, bounds=bounds, worth=worth)
    manifest = export_trial(ledger, config, record, out, force=force, sparse_weights=sparse_weights)
    say(f"wrote trial {record.number} to {out}: {told_latency(manifest)}")
    say(register(ledger, config, record, out / "model.onnx"))


def _refuse_two_ways(ways: Mapping[str, bool]) -> None:
    """Raise :class:`UserError` where a model is chosen in more ways than one."""
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: each chooses the model (give one of them)")


def _worth(results: Results, knee: bool, weights: str | None) -> Worth:
    from .. import weighing

    if weights is not None:
        return weighing.weighed(weighing.parse_weights(weights, results.objectives))
    return weighing.knee if knee else weighing.by_first_objective


def _asked(results: Results, bounds: Sequence[Budget]) -> TrialRecord:
    """Show the members of the front that hold the bounds, and ask for one of them."""
    from ..choose import places_within
    from ..tables import print_choice

    front = results.front
    members = [front[place] for place in places_within(front, bounds)]
    print_choice(results, members)

    def check(answer: str) -> None:
        if not answer.isdecimal() or not 1 <= int(answer) <= len(members):
            raise UserError(f'"{answer}" is none of the numbers 1 to {len(members)}')

    return members[int(ask("Which one?", "1", check)) - 1]


def _bounds(texts: Sequence[str]) -> list[Budget]:
    from ..objectives import Budget

    bounds = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f'--max "{text}": not of the form objective=bound (try --max latency=2ms)')
        bounds.append(Budget.parse(name.strip(), value))
    return bounds
