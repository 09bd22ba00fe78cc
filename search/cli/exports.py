"""Commands that write a folder to ship: of a model that a search has found, or of a user's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...spaces.errors import UserError
from ...spaces.imports import make_importable
from .common import (
    LedgerUrl,
    SparseWeights,
    Store,
    StudyName,
    ask,
    example,
    open_ledger,
    say,
    say_to_stderr,
    told_latency,
)

if TYPE_CHECKING:
    from ..objectives import Budget
    from ..records import TrialRecord
    from ..results import Results
    from ..weighing import Worth

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
    operating_point: Annotated[int | None, typer.Option(min=0, help="Of a trial with early exits.")] = None,
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
    from ..choose import choose as choose_by
    from ..export import Retraining, export_trial
    from ..finish import register
    from ..packaging.package import Extras
    from ..run import read_results, stored_config

    ways = {"--trial": trial is not None, "--knee": knee, "--weights": weights is not None, "--choose": choose}
    _refuse_two_ways(ways)
    if seeds > 1 and retrain is None:
        raise UserError(f"--seeds {seeds}: are those of --retrain (say for how many epochs, such as --retrain 40)")
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
    manifest = export_trial(
        ledger,
        config,
        record,
        out,
        force=force,
        extras=Extras(tuple(format_ or ()), sparse_weights),
        with_data=not without_data,
        retraining=None if retrain is None else Retraining(retrain, seeds),
        say=say_to_stderr,
    )
    say(f"wrote trial {record.number} to {out}: {told_latency(manifest)}")
    say(register(ledger, config, record, out))


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
    from ..devices import targets
    from ..importing import export_of_imported, import_model, parse_shape, read_samples
    from ..packaging.package import Extras, refuse_existing, write_export
    from ..profiles import Subject, report_on
    from ..tables import print_report

    if out is not None:
        refuse_existing(out, force=force)
    shape, target = parse_shape(input_), targets.device(device)
    known = None if samples is None else read_samples(samples, shape)
    imported = import_model(model, shape)
    say(
        f"{model}: {imported.report.fused_blocks} blocks fused, {imported.folded_norms} normalisations folded; outputs "
        f"differ by {imported.report.largest_relative_difference:.1g} at most (relative)"
    )
    report = report_on(Subject(model, imported.form.graph()), target)
    print_report(report, layers=False)
    if out is not None:
        names = [name.strip() for name in labels.split(",")] if labels else []
        package = export_of_imported(imported, target, names, known, report.profile)
        manifest = write_export(package, out, Extras(tuple(format_ or ())))
        say(f"wrote {out}: {told_latency(manifest)}")


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
