"""The command line. Imports what a command needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys

import typer

from ...spaces.errors import UserError
from . import beginning, devices, exports, fronts, models, recordings, studies

app = typer.Typer(
    help="Search small on-device models: what you deploy is what you search.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for _about in (beginning, studies, fronts, exports, models, recordings, devices):
    app.add_typer(_about.commands)


def main() -> None:
    """Run the command line: a user's mistake is one line on standard error and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
