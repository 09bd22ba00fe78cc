"""Commands that write a folder to ship: of a model that a search has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...spaces.errors import UserError
from .common import LedgerUrl, SparseWeights, Store, StudyName, ask, example, say

if TYPE_CHECKING:
    from ..api.study import OpenStudy

commands = typer.Typer()


@commands.command(epilog=example("repareto export keywords --out wakeup --max latency=2ms --max peak_memory=64KiB"))
def export(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial to take.")] = None,
    operating_point: Annotated[int | None, typer.Option(min=0, help="Of a trial that has several.")] = None,
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
    from ..api.study import open_study

    ways = {"--trial": trial is not None, "--knee": knee, "--weights": weights is not None, "--choose": choose}
    _refuse_two_ways(ways)
    opened = open_study(study, store=store, ledger=ledger_url)
    bounds = _bounds(max_ or [])
    if choose:
        trial, operating_point = _asked(opened, bounds)
    opened.export(
        out, trial=trial, operating_point=operating_point, bounds=bounds, knee=knee, weights=weights,
        sparse_weights=sparse_weights, force=force, say=say,
    )  # fmt: skip


def _refuse_two_ways(ways: Mapping[str, bool]) -> None:
    """Raise :class:`UserError` where a model is chosen in more ways than one."""
    given = [name for name, is_given in ways.items() if is_given]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)}: each chooses the model (give one of them)")


def _asked(study: OpenStudy, bounds: Mapping[str, str]) -> tuple[int, int | None]:
    """Show the members of the front that hold the bounds, and ask for one of them: a trial, an operating point."""
    from ..choose import places_within
    from ..front_table import print_choice
    from ..records import point_of

    results = study.results
    members = [results.front[place] for place in places_within(results.front, study.bounds(bounds))]
    print_choice(results, members)

    def check(answer: str) -> None:
        if not answer.isdecimal() or not 1 <= int(answer) <= len(members):
            raise UserError(f'"{answer}" is none of the numbers 1 to {len(members)}')

    chosen = members[int(ask("Which one?", "1", check)) - 1]
    return chosen.number, point_of(chosen)


def _bounds(texts: Sequence[str]) -> dict[str, str]:
    bounds = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f'--max "{text}": not of the form objective=bound (try --max latency=2ms)')
        bounds[name.strip()] = value
    return bounds
