"""Commands that write a folder to ship: of a model that a search has found, or of a user's own."""

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

Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format", help="A format more: `onnx-int8`, `tflite`, `tflite-int8`, `executorch`, `executorch-int8`, `c`."
    ),
]
Force = Annotated[bool, typer.Option(help="Replace an existing folder.")]


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
    retrain: Annotated[
        int | None, typer.Option(min=1, help="Train the chosen candidate again for so many epochs.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --retrain: from so many seeds, of which the best ships.")] = 1,
    format_: Formats = None,
    sparse_weights: SparseWeights = False,
    without_data: Annotated[
        bool, typer.Option("--without-data", help="Check on made-up inputs, where the study's data is not here.")
    ] = False,
    force: Force = False,
    store: Store = None,
    ledger_url: LedgerUrl = None,
) -> None:
    """Write the best feasible fused model, checked in its runtime, and register it in MLflow as the champion."""
    from ..api.study import open_study

    ways = {"--trial": trial is not None, "--knee": knee, "--weights": weights is not None, "--choose": choose}
    _refuse_two_ways(ways)
    if seeds > 1 and retrain is None:
        raise UserError(f"--seeds {seeds}: are those of --retrain (say for how many epochs, such as --retrain 40)")
    opened = open_study(study, store=store, ledger=ledger_url)
    bounds = _bounds(max_ or [])
    if choose:
        trial, operating_point = _asked(opened, bounds)
    opened.export(
        out, trial=trial, operating_point=operating_point, bounds=bounds, knee=knee, weights=weights,
        sparse_weights=sparse_weights, formats=format_ or (), retrain=retrain, seeds=seeds, without_data=without_data,
        force=force, say=say,
    )  # fmt: skip


@commands.command("import", epilog=example("repareto import model.py:build --input 1x40x50 --out package"))
def import_(
    model: Annotated[str, typer.Argument(metavar="FILE.py:FUNCTION", help="A function that returns a torch module.")],
    input_: Annotated[str, typer.Option("--input", help="Shape of one input without the batch: `1x40x50`.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write; without it the model is only profiled.")] = None,
    device: Annotated[str, typer.Option(help="What it would run on.")] = "host-onnxruntime",
    labels: Annotated[str | None, typer.Option(help="Names of the outputs: `yes,no`.")] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Features as `.npy`, or `.npz` with `labels`: for int8, and to check on.")
    ] = None,
    format_: Formats = None,
    force: Force = False,
) -> None:
    """Fuse a PyTorch model of your own, compare and profile it, and write it as a package."""
    from ..api.models import import_model
    from ..export import told_latency
    from ..importing import parse_shape
    from ..tables import print_report

    made = import_model(
        model, parse_shape(input_), device=device, out=out, samples=samples, formats=format_ or (), force=force,
        labels=[name.strip() for name in labels.split(",")] if labels else (),
    )  # fmt: skip
    imported, compared = made.imported, made.imported.report
    say(
        f"{model}: {compared.fused_blocks} blocks fused, {imported.folded_norms} normalisations folded; "
        f"outputs differ by {compared.largest_relative_difference:.1g} at most (relative)"
    )
    print_report(made.profiled, layers=False)
    if made.manifest is not None:
        say(f"wrote {out}: {told_latency(made.manifest)}")


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
