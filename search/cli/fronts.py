"""Commands on what studies found: one page to send to somebody, and fronts laid over one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...spaces.errors import UserError, first_line
from .common import LedgerUrl, Store, StudyName, example, open_ledger, print_json, say_to_stderr

if TYPE_CHECKING:
    from ..compare import Comparison
    from ..config import Config

commands = typer.Typer()


@commands.command(epilog=example("repareto report keywords --out report.html"))
def report(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="File to write; it loads nothing and can be sent.")],
    store: Store = None,
    ledger_url: LedgerUrl = None,
) -> None:
    """Write one page on a study: its front, what mattered, what was measured, how it was made."""
    from ..config import Config
    from ..facts import StudyFacts
    from ..pages.report import report_page
    from ..reading import read_results

    ledger = open_ledger(study, store, ledger_url)
    header = ledger.header()
    _write(out, report_page(read_results(ledger), StudyFacts.of(Config(**header["config"]), header), header), "--out")
    say_to_stderr(f"wrote {out}")


@commands.command(epilog=example("repareto compare keywords keywords-sparse --html both.html"))
def compare(
    studies: Annotated[list[str], typer.Argument(help="Names of two studies or more, of the same objectives.")],
    html: Annotated[Path | None, typer.Option(help="Write the interactive plot to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    log: Annotated[bool, typer.Option(help="Log the comparison to the first study's MLflow.")] = True,
    store: Store = None,
    ledger_url: LedgerUrl = None,
) -> None:
    """Lay the fronts of several studies over one another: hypervolume, coverage, and the front of all of them."""
    from ..compare import Comparison
    from ..config import Config
    from ..facts import StudyFacts
    from ..pages.comparison import comparison_page
    from ..run import read_results, stored_config

    ledgers = {study: open_ledger(study, store, ledger_url) for study in studies}
    facts = {}
    for study, ledger in ledgers.items():
        header = ledger.header()
        facts[study] = StudyFacts.of(Config(**header["config"]), header)
    comparison = Comparison.of({study: read_results(ledger) for study, ledger in ledgers.items()}, facts)
    if html is not None:
        _write(html, comparison_page(comparison), "--html")
    if json:
        print_json(comparison.as_dict())
    else:
        from ..comparison_table import print_comparison

        print_comparison(comparison)
    if log:
        say_to_stderr(_log(stored_config(ledgers[studies[0]], store), comparison))


def _log(config: Config, comparison: Comparison) -> str:
    """Log a comparison to the MLflow of a study, and return what to tell the user."""
    from ..finish import MLFLOW_ERRORS
    from ..mlflow_comparison import EXPERIMENT, write_comparison
    from ..tracking import tracking_of

    try:
        name = write_comparison(*tracking_of(config), comparison)
    except MLFLOW_ERRORS as error:
        return f"not logged to MLflow ({first_line(error)}); the same command tries again, --no-log leaves it out"
    return f'logged to MLflow: experiment {EXPERIMENT}, run "{name}"'


def _write(path: Path, page: str, option: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{option} {path}: cannot be written ({error.strerror})") from error
