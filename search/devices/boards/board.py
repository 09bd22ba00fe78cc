"""The boards that a model can be planned for: data files, of ours and of users.

A board file is TOML. ``kind = "cortex-m"`` has a clock and the cycles that operators take; ``kind = "ethos-u"`` names
an accelerator and sections of Vela's configuration. Both say where their numbers come from and how far they may be off.
"""

import configparser
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ....spaces.errors import UserError, nearest_hint
from ..tflite.builtins import BUILTINS

FOLDER = Path(__file__).parent
KINDS = ("cortex-m", "ethos-u")
KERNELS = ("reference", "cmsis-nn-dsp", "cmsis-nn-mve")
GROUPS = ("ELEMENTWISE", "REDUCE", "ACTIVATION", "SOFTMAX", "MOVE", "TRANSPOSE", "OTHER")
"""What stands for all operators of a kind that the file does not name."""
REQUIRED_COSTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "OTHER")
ACCELERATORS = tuple(
    f"ethos-{family}-{macs}"
    for family, sizes in (("u55", (32, 64, 128, 256)), ("u65", (256, 512)), ("u85", (128, 256, 512, 1024, 2048)))
    for macs in sizes
)
MEMORY_MODES = ("Shared_Sram",)
"""Vela's others put constants into SRAM or the arena into DRAM: its totals do not tell the two apart."""
_COST_NAMES = (*BUILTINS, "CONV_2D_1X1", *GROUPS)


@dataclass(frozen=True)
class OperatorCost:
    """The cycles of one operator: for each multiply-accumulate, each value read and written, and once a call."""

    cycles_per_mac: float = 0.0
    cycles_per_input: float = 0.0
    cycles_per_output: float = 0.0
    cycles_per_call: float = 0.0


@dataclass(frozen=True)
class CortexMBoard:
    """A microcontroller: its clock, the kernels that TensorFlow Lite Micro has there, and what its operators cost.

    ``error_share`` is how far a latency may be off either way, as a share of it; ``code_bytes`` the code that each
    operator links, and under "RUNTIME" the interpreter, where that was measured.
    """

    name: str
    description: str
    clock_hz: float
    kernels: str
    origin: str
    error: str
    error_share: float
    costs: Mapping[str, OperatorCost]
    code_bytes: Mapping[str, int]


@dataclass(frozen=True)
class EthosUBoard:
    """An Ethos-U accelerator; ``system_config`` and ``memory_mode`` are sections of the ``vela.ini`` of Vela."""

    name: str
    description: str
    accelerator: str
    system_config: str
    memory_mode: str
    origin: str
    error: str


Board = CortexMBoard | EthosUBoard


def board_names() -> tuple[str, ...]:
    """The boards that come with the package, smaller ones first."""
    return tuple(sorted((path.stem for path in FOLDER.glob("*.toml")), key=_natural))


def load_board(name: str) -> Board:
    """A board by its name, or a user's own by the path of its ``.toml`` file.

    Raises ``UserError`` for an unknown name, a file that is not there or is no TOML, and one line that names the field
    for a missing, unknown, negative or otherwise wrong one.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not name.endswith(".toml") and name not in board_names():
        raise UserError(f'board "{name}" is unknown ({nearest_hint(name, board_names())})')
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give the path of a board file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no TOML: {error}") from error
    table = _Table(str(path), content)
    kind = table.choice("kind", KINDS)
    return _cortex_m(table) if kind == "cortex-m" else _ethos_u(table)


def _cortex_m(table: "_Table") -> CortexMBoard:
    table.refuse_others(
        "name", "kind", "description", "clock_hz", "kernels", "origin", "error", "error_share", "cost", "code_bytes"
    )
    clock_hz = table.number("clock_hz")
    if clock_hz == 0:
        raise UserError(f"{table.named('clock_hz')} = 0: give the clock in hertz, such as 120_000_000")
    return CortexMBoard(
        name=table.text("name"),
        description=table.text("description"),
        clock_hz=clock_hz,
        kernels=table.choice("kernels", KERNELS),
        origin=" ".join(table.text("origin").split()),
        error=table.text("error"),
        error_share=table.number("error_share"),
        costs=_costs(table.table("cost")),
        code_bytes=_code_bytes(table.table("code_bytes", {})),
    )


def _costs(table: "_Table") -> dict[str, OperatorCost]:
    names = tuple(field.name for field in fields(OperatorCost))
    table.refuse_others(*_COST_NAMES)
    for required in REQUIRED_COSTS:
        table.value(required)
    costs = {}
    for operator in table.content:
        cost = table.table(operator)
        cost.refuse_others(*names)
        costs[operator] = OperatorCost(**{name: cost.number(name) for name in names if name in cost.content})
        if operator in REQUIRED_COSTS and costs[operator] == OperatorCost():
            raise UserError(f"{table.named(operator)} costs nothing; give one of {', '.join(names)} above 0")
    return costs


def _code_bytes(table: "_Table") -> dict[str, int]:
    table.refuse_others(*_COST_NAMES, "RUNTIME")
    return {name: round(table.number(name)) for name in table.content}


def _ethos_u(table: "_Table") -> EthosUBoard:
    table.refuse_others("name", "kind", "description", "accelerator", "system_config", "memory_mode", "origin", "error")
    return EthosUBoard(
        name=table.text("name"),
        description=table.text("description"),
        accelerator=table.choice("accelerator", ACCELERATORS),
        system_config=_system_config(table),
        memory_mode=table.choice("memory_mode", MEMORY_MODES),
        origin=table.text("origin"),
        error=table.text("error"),
    )


def _system_config(table: "_Table") -> str:
    """A section of Vela's own configuration; any name where Vela is not installed, since nothing can run then."""
    known = _system_configs()
    return table.choice("system_config", known) if known else table.text("system_config")


def _system_configs() -> tuple[str, ...]:
    found = find_spec("ethosu")
    places = (
        [Path(folder) / "config_files" / "Arm" / "vela.ini" for folder in found.submodule_search_locations or ()]
        if found
        else []
    )
    sections = configparser.ConfigParser()
    sections.read(places)
    mark = "System_Config."
    return tuple(name.removeprefix(mark) for name in sections.sections() if name.startswith(mark))


@dataclass(frozen=True)
class _Table:
    """A table of a board file, and where it stands, for messages."""

    path: str
    content: Mapping[str, Any]
    prefix: str = ""

    def named(self, field: str) -> str:
        """A field as messages name it."""
        return f"{self.path}: {self.prefix}{field}"

    def value(self, field: str) -> Any:
        if field not in self.content:
            raise UserError(f"{self.named(field)} is missing (see {FOLDER.name}/ of the package for an example)")
        return self.content[field]

    def text(self, field: str) -> str:
        value = self.value(field)
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{self.named(field)} = {value!r}: give a text in quotes")
        return value.strip()

    def choice(self, field: str, known: tuple[str, ...]) -> str:
        value = self.text(field)
        if value not in known:
            raise UserError(f'{self.named(field)} = "{value}" is unknown ({nearest_hint(value, known)})')
        return value

    def number(self, field: str) -> float:
        value = self.value(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise UserError(f"{self.named(field)} = {value!r}: give a number")
        if value < 0:
            raise UserError(f"{self.named(field)} = {value!r}: is negative; give 0 or more")
        return float(value)

    def table(self, field: str, default: Mapping[str, Any] | None = None) -> "_Table":
        value = self.value(field) if default is None else self.content.get(field, default)
        if not isinstance(value, dict):
            raise UserError(f"{self.named(field)} = {value!r}: give a table, such as [{self.prefix}{field}]")
        return _Table(self.path, value, f"{self.prefix}{field}.")

    def refuse_others(self, *known: str) -> None:
        for field in self.content:
            if field not in known:
                raise UserError(f"{self.named(field)} is unknown ({nearest_hint(field, known)})")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _natural(name: str) -> tuple[int | str, ...]:
    """Texts and numbers in turn: cortex-m4 before cortex-m55, ethos-u55-32 before ethos-u55-128."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name))
