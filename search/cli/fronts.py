"""Commands on what studies found: one page to send to somebody, and fronts laid over one another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...spaces.errors import first_line
from .common import (
    LedgerUrl,
    Store,
    StudyName,
    example,
    print_json,
    say_to_stderr,
    studies_that_begin,
    write_page,
)

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
    from ..api.study import open_study

    write_page(out, open_study(study, store=store, ledger=ledger_url).report(), "--out")
    say_to_stderr(f"wrote {out}")


@commands.command(epilog=example("repareto compare keywords keywords-sparse --html both.html"))
def compare(
    studies: Annotated[
        list[str],
        typer.Argument(help="Names of two studies or more, of the same objectives.", autocompletion=studies_that_begin),
    ],
    html: Annotated[Path | None, typer.Option(help="Write the interactive plot to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    log: Annotated[bool, typer.Option(help="Log the comparison to the first study's MLflow.")] = True,
    store: Store = None,
    ledger_url: LedgerUrl = None,
) -> None:
    """Lay the fronts of several studies over one another: hypervolume, coverage, and the front of all of them."""
    from ..api.study import compare as compared
    from ..api.study import open_study
    from ..pages.comparison import comparison_page

    comparison = compared(studies, store=store, ledger=ledger_url)
    if html is not None:
        write_page(html, comparison_page(comparison), "--html")
    if json:
        print_json(comparison.as_dict())
    else:
        from ..comparison_table import print_comparison

        print_comparison(comparison)
    if log:
        say_to_stderr(_log(open_study(studies[0], store=store, ledger=ledger_url).config, comparison))


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
