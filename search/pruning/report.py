"""A model's figures before and after it was pruned, as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ..tables import KINDS_OF_FIGURES
from ..units import format_quantity
from .prune import Pruned

ROWS = {
    "error": "validation error",
    "test_error": "test error",
    "latency_us": "latency",
    "peak_memory_bytes": "peak memory",
    "flash_bytes": "flash",
    "macs": "MACs",
    "parameters": "parameters",
    "zero_weights": "zeros in kernels",
}


def print_pruned(pruned: Pruned) -> None:
    """Print all that is known of both."""
    table = Table()
    for title in ("figure", "before", "after"):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for key, name in ROWS.items():
        if key in pruned.before:
            kind = KINDS_OF_FIGURES.get(key, "fraction")
            table.add_row(name, *(format_quantity(figures[key], kind) for figures in (pruned.before, pruned.after)))
    Console().print(table)
