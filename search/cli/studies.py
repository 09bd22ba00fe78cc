"""Commands on a study: run it, here or on a cluster, ask how it stands, end it, and look at what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...spaces.errors import UserError
from ...spaces.imports import make_importable
from .common import LedgerUrl, Store, StudyName, example, open_ledger, print_json, say, say_to_stderr, write_page

Address = Annotated[
    str | None, typer.Option(help="Run this command on a Ray cluster: the address of its dashboard.", metavar="URL")
]

commands = typer.Typer()


@commands.command(epilog=example("repareto search examples/digits.yaml --trials 20 --set budgets.latency=200us"))
def search(
    config: Annotated[Path, typer.Argument(help="A config file, see `examples/`.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a key: `search.sampler=nsga2`.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trained candidates in all.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop after this long, such as `10m`.")] = None,
) -> None:
    """Run a search, or continue it: the same command again goes on where the study stands."""
    from ..addresses import options_of
    from ..api.study import run_search
    from ..front_table import print_front
    from ..units import parse_quantity

    try:
        parse_quantity(time_budget or "1s", "duration")
    except UserError as error:
        raise UserError(f"--time-budget {error}") from error
    study = run_search(config, overrides=set_ or [], trials=trials, time_budget=time_budget, say=say)
    assert study.outcome is not None
    print_front(study.outcome.results, study.facts.error_examples)
    if study.outcome.unfinished:
        say(f"{study.outcome.unfinished}: the same command goes on from here")
    say(f"look at it:  {study.config.tracking or f'repareto ui{options_of(study.config)}'}")
    say(f"take it:     repareto export {study.name} --out exported{options_of(study.config)}")
    if study.outcome.interrupted:
        raise typer.Exit(130)


@commands.command(epilog=example("repareto launch keywords.yaml --address http://head:8265 --detach"))
def launch(
    config: Annotated[Path, typer.Argument(help="A config file, see `examples/`.")],
    address: Annotated[
        str, typer.Option(envvar="RAY_ADDRESS", metavar="URL", help="The Ray cluster's dashboard: `http://head:8265`.")
    ],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a key: `search.sampler=nsga2`.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trained candidates in all.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop after this long, such as `10m`.")] = None,
    detach: Annotated[bool, typer.Option(help="Return when the cluster has the search.")] = False,
    install: Annotated[bool, typer.Option(help="Have the nodes install what repareto depends on.")] = False,
) -> None:
    """Run a search on a Ray cluster, as a job that brings its code along. Ctrl-C leaves it running."""
    from ..launch import launch as submit

    overrides = list(set_ or [])
    raise typer.Exit(submit(config, address, overrides, trials, time_budget, detach=detach, install=install, say=say))


@commands.command(epilog=example("repareto status keywords"))
def status(study: StudyName, store: Store = None, ledger_url: LedgerUrl = None, address: Address = None) -> None:
    """Say how far a study is, who drives it, and what its running trials do."""
    if address:
        raise typer.Exit(_on_cluster(address, "status", study, store, ledger_url))
    from ..control import print_status

    print_status(open_ledger(study, store, ledger_url), say)


@commands.command(epilog=example("repareto stop keywords"))
def stop(study: StudyName, store: Store = None, ledger_url: LedgerUrl = None, address: Address = None) -> None:
    """End a search when its running epochs have. Nothing is lost: the same search command goes on."""
    if address:
        raise typer.Exit(_on_cluster(address, "stop", study, store, ledger_url))
    from ..control import stop_search

    stop_search(open_ledger(study, store, ledger_url), say)


@commands.command(epilog=example("repareto sync keywords"))
def sync(
    study: StudyName,
    tracking: Annotated[str | None, typer.Option(help="An MLflow server; by default the study's own.")] = None,
    store: Store = None,
    ledger_url: LedgerUrl = None,
    address: Address = None,
) -> None:
    """Write a study's MLflow view from the ledger: what is missing, or all of it on an empty server."""
    if address:
        words = ["--tracking", tracking] if tracking else []
        raise typer.Exit(_on_cluster(address, "sync", study, store, ledger_url, *words))
    from ..control import sync_view
    from ..run import stored_config

    ledger = open_ledger(study, store, ledger_url)
    make_importable(*ledger.header()["import_folders"], ".")
    sync_view(ledger, stored_config(ledger, store, tracking), say)


@commands.command(epilog=example("repareto front keywords --json"))
def front(
    study: StudyName,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the interactive plot to this file.")] = None,
    store: Store = None,
    ledger_url: LedgerUrl = None,
    address: Address = None,
) -> None:
    """Print the Pareto front of a study."""
    if address:
        if html is not None:
            raise UserError(f"--html {html}: would be written on the cluster; the study's page in MLflow has the plot")
        raise typer.Exit(_on_cluster(address, "front", study, store, ledger_url, *(["--json"] if json else [])))
    from ..api.study import open_study

    opened = open_study(study, store=store, ledger=ledger_url)
    if html is not None:
        write_page(html, opened.page(), "--html")
        say_to_stderr(f"wrote {html}")
    if json:
        print_json(opened.as_dict())
    elif html is None:
        from ..front_table import print_front

        print_front(opened.results, opened.facts.error_examples)


def _on_cluster(address: str, command: str, study: str, store: str | None, ledger_url: str | None, *flags: str) -> int:
    """Run a command where the ledger can be reached, and return its exit code."""
    from ..launch import run_as_job

    options = [("--store", store), ("--ledger", ledger_url)]
    named = [word for name, value in options if value for word in (name, value)]
    return run_as_job(address, [command, study, *flags, *named])


@commands.command(epilog=example("repareto ui --port 5001"))
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    store: Store = None,
) -> None:
    """Open the MLflow UI on the store that the search wrote. Ctrl-C ends it."""
    from ..addresses import default_store, folder_of
    from ..ui import serve

    where = store or default_store()
    serve(folder_of(where, "this command", "open the page of the MLflow server that the search writes to"), port)
