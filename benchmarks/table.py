"""What a search would find out by training, as a table: parameters, learning curve, cheap objectives, a row each."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from repareto.search.devices.profile import FIGURES, Figure, Profile
from repareto.spaces.errors import UserError
from repareto.spaces.space import Candidate, Choice, Int, Parameter, SearchSpace, Value

TABLES = Path(__file__).parent / "tables"
ERROR = "error@"
"""In front of an epoch's number, in the names of the columns."""


@dataclass(frozen=True)
class Row:
    """One candidate trained in full. ``errors`` are of the fused network on the validation split, one an epoch."""

    candidate: Candidate
    errors: tuple[float, ...]
    test_error: float
    train_seconds: float
    """Of the processor, one thread."""
    figures: dict[str, float]
    """What is known before training, by figure name."""

    @property
    def profile(self) -> Profile:
        """The figures as a device would tell them."""
        return profile_of(self.figures)

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps({**asdict(self), "candidate": self.candidate.to_json()})

    @classmethod
    def from_json(cls, text: str) -> Row:
        fields = json.loads(text)
        return cls(**{**fields, "candidate": Candidate.from_json(fields["candidate"]), "errors": (*fields["errors"],)})


def profile_of(figures: Mapping[str, float]) -> Profile:
    """Return a profile that says just these figures, of a graph that is named by them."""
    known = {name: Figure(figures.get(name, 0.0), name, "exact") for name in FIGURES}
    return Profile("table", "none", "fp32", json.dumps(dict(figures)), **known)


class Table:
    """Rows that are found by their candidate."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = {row.candidate: row for row in rows}
        self.epochs = len(rows[0].errors)

    def write(self, path: Path) -> None:
        """Write a CSV file: a column for each parameter, epoch and figure, numbers of six digits."""
        first = next(iter(self.rows.values()))
        epochs = [f"{ERROR}{epoch}" for epoch in range(1, self.epochs + 1)]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*first.candidate, *epochs, "test_error", "train_seconds", *first.figures])
            for row in sorted(self.rows.values(), key=lambda row: row.candidate.items_sorted):
                numbers = (*row.errors, row.test_error, row.train_seconds, *row.figures.values())
                writer.writerow([*row.candidate.values(), *(f"{number:.6g}" for number in numbers)])

    @classmethod
    def read(cls, path: Path, space: SearchSpace) -> Table:
        """Read such a file; ``space`` says which columns are parameters, and of which type.

        Raises :class:`UserError` for a file without a row, and for values that are not in the space.
        """
        parameters = {parameter.name: parameter for parameter in space.parameters()}
        with path.open(newline="") as file:
            rows = [_row(fields, parameters, space) for fields in csv.DictReader(file)]
        if not rows:
            raise UserError(f"{path}: has no rows")
        return cls(rows)


def _row(fields: Mapping[str, str], parameters: Mapping[str, Parameter], space: SearchSpace) -> Row:
    # A cell is empty where the parameter does not exist in the candidate.
    texts = {name: text for name, text in fields.items() if name in parameters and text}
    values = {name: _value(text, parameters[name]) for name, text in texts.items()}
    numbers = {name: float(text) for name, text in fields.items() if name not in parameters}
    epochs = sum(name.startswith(ERROR) for name in numbers)
    return Row(
        candidate=space.candidate(values),
        errors=tuple(numbers.pop(f"{ERROR}{epoch}") for epoch in range(1, epochs + 1)),
        test_error=numbers.pop("test_error"),
        train_seconds=numbers.pop("train_seconds"),
        figures=numbers,
    )


def _value(text: str, parameter: Parameter) -> Value:
    dimension = parameter.dimension
    if isinstance(dimension, Choice):
        return next((option for option in dimension.options if str(option) == text), text)
    return int(text) if isinstance(dimension, Int) else float(text)
