"""A comparison of fronts as text."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .compare import Comparison
from .pages.rows import Row


def print_comparison(comparison: Comparison) -> None:
    """Print each study's figures, what it covers of the others, and the front of all."""
    console = Console()
    union = comparison.union
    studies = Table(title="fronts")
    for column in ("study", "on its front", "hypervolume", "on the front of all"):
        studies.add_column(column, justify="left" if column == "study" else "right")
    for name in comparison.names:
        studies.add_column(f"covers of {escape(name)}", justify="right")
    from_study = [name for name, _ in union]
    for name, results in comparison.studies.items():
        covered = ["" if name == other else f"{comparison.coverage(name, other):.0%}" for other in comparison.names]
        figures = (str(len(results.front)), f"{results.hypervolume:.4f}", str(from_study.count(name)))
        studies.add_row(escape(name), *figures, *covered)
    console.print(studies)
    models = Table(title="front of all")
    for column in ("study", "model", *(objective.name.replace("_", " ") for objective in comparison.objectives)):
        models.add_column(column, justify="left" if column in ("study", "model") else "right")
    for name, record in union:
        row = Row(record, True)
        told = (objective.format(row.figure(objective) or 0.0) for objective in comparison.objectives)
        models.add_row(escape(name), escape(row.name), *told)
    console.print(models)
    for remark in comparison.remarks():
        console.print(remark, highlight=False)
