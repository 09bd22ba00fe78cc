"""A table that fits a terminal: a narrow one gets headers of several lines and leaves out what is of least use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

Row = TypeVar("Row")
UNBOUNDED = 10_000
"""Letters a line, for how wide a table would like to be."""


@dataclass(frozen=True)
class Column(Generic[Row]):
    """What stands in a column, and the same in fewer letters where there is such a form."""

    cell: Callable[[Row], str]
    short: Callable[[Row], str] | None = None
    left_out: str = ""
    """What the short form does not say, such as ``the latency's interval``."""


Columns = Mapping[str, Column[Row]]


def print_fitting(
    console: Console, title: str, columns: Columns[Row], rows: Sequence[Row], least_useful: Sequence[str]
) -> list[str]:
    """Print a line a row if the console is not too narrow for all that must stand, and return what was left out.

    First to go are the lines between columns, then the long forms of cells, then columns in the order of
    ``least_useful``.
    """
    table = _table(title, columns, rows)
    left_out: list[str] = []
    steps = _ever_less(columns, least_useful)
    while _wanted_width(console, table) > console.width and (step := next(steps, None)):
        kept, left_out = step
        table = _narrow(title, kept, rows)
    console.print(table)
    return left_out


def _ever_less(columns: Columns[Row], least_useful: Sequence[str]) -> Iterator[tuple[Columns[Row], list[str]]]:
    """Yield columns that take less and less room, with what is left out of them."""
    yield columns, []
    droppable = [name for name in least_useful if name in columns]
    for count in range(len(droppable) + 1):
        dropped = droppable[:count]
        kept = {name: column for name, column in columns.items() if name not in dropped}
        shortened = [column.left_out for column in kept.values() if column.short]
        yield {name: Column(column.short or column.cell) for name, column in kept.items()}, [*shortened, *dropped]


def _table(title: str, columns: Columns[Row], rows: Sequence[Row]) -> Table:
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(column.cell(row) for column in columns.values()))
    return table


def _narrow(title: str, columns: Columns[Row], rows: Sequence[Row]) -> Table:
    """Return a table without lines between its columns, each as wide as its widest cell or word of its header."""
    table = _table(title, columns, rows)
    table.box, table.padding, table.title_justify = box.SIMPLE_HEAD, (0, 1, 0, 0), "left"
    for name, column, drawn in zip(columns, columns.values(), table.columns, strict=True):
        drawn.width = max(map(cell_len, [*name.split(), *(column.cell(row) for row in rows)]))
    return table


def _wanted_width(console: Console, table: Table) -> int:
    return Measurement.get(console, console.options.update(max_width=UNBOUNDED), table).maximum
