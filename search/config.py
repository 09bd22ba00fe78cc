"""The config file: read, overridden from the command line, validated, every complaint with its line."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..spaces.errors import UserError, first_line, nearest_hint
from .addresses import LedgerAddress, default_store, has_password, is_url, ledger_address
from .objectives import Budget, Objective, objective
from .units import parse_quantity

SECRETS = "set PGPASSWORD or PGPASSFILE, MLFLOW_TRACKING_PASSWORD or AWS_SHARED_CREDENTIALS_FILE instead"

Sampler = Literal["frontier", "tpe", "nsga2", "nsga3", "gp", "random", "qmc"]
Location = tuple[str | int, ...]
STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Section(BaseModel):
    """A part of the config; unknown keys are refused, values are fixed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SearchSection(Section):
    """How the search decides."""

    trials: int = Field(24, ge=1, description="trained candidates; those rejected before training do not count")
    time_budget: str | None = Field(None, description="stop after this long, such as 10m; the study can be continued")
    sampler: Sampler = Field("frontier", description="who proposes candidates")
    startup_trials: int | None = Field(
        None, ge=2, description="candidates before the sampler decides; 5 for frontier, 10 for others by default"
    )
    early_stopping: bool = Field(True, description="stop the dominated at rungs")
    first_rung: int = Field(3, ge=1, description="epochs before the first decision to stop")
    reduction: float = Field(2, gt=1, description="one in this many goes on at a rung; the undominated always do")

    repeats: int = Field(0, ge=0, description="how often members of the front are trained again, on other seeds")
    inherit: bool = Field(False, description="candidates begin with the trained weights of their nearest relative")

    @field_validator("time_budget", mode="before")
    @classmethod
    def _is_duration(cls, text: object) -> object:
        if text is not None:
            parse_quantity(text, "duration")
        return text

    @property
    def time_budget_seconds(self) -> float | None:
        return None if self.time_budget is None else parse_quantity(self.time_budget, "duration") / 1e6


class WorkersSection(Section):
    """What the search runs on."""

    count: int | None = Field(None, ge=1, description="concurrent trials; as many as the resources admit by default")
    cpus: float = Field(1, gt=0, description="CPUs a trial")
    gpus: float | None = Field(None, ge=0, description="GPUs a trial; by default a fair share of those there are")
    threads: int = Field(1, ge=1, description="torch threads a trial")
    address: str | None = Field(None, description="a Ray cluster, such as auto; a local one by default")
    epoch_timeout: str = Field("1h", description="a trial whose epoch takes longer has lost its worker")

    @field_validator("epoch_timeout", mode="before")
    @classmethod
    def _is_duration(cls, text: object) -> object:
        parse_quantity(text, "duration")
        return text

    @property
    def epoch_timeout_seconds(self) -> float:
        return parse_quantity(self.epoch_timeout, "duration") / 1e6


class Config(Section):
    """A whole search. ``space``, ``data`` and ``training`` are validated by the classes that they name."""

    study: str = Field(pattern=STUDY_NAME, description="its name in the ledger and in MLflow")
    seed: int = Field(0, ge=0, description="of data, proposals and training: the same seed gives the same study")
    data: dict[str, Any] = Field(description="a source by its name, and its settings")
    space: dict[str, Any] = Field(description="a search space by its name; every other key narrows a dimension")
    training: dict[str, Any] = Field({}, description="how a candidate learns")
    device: str = Field("host-onnxruntime", description="what figures are of; `repareto devices` lists them")
    objectives: tuple[str, ...] = Field(
        ("error", "latency", "peak_memory"), description="what the front is of; the error is among them"
    )
    budgets: dict[str, Any] = Field({}, description="upper bounds with units; what breaks one is never trained")
    search: SearchSection = SearchSection()  # type: ignore[call-arg]
    workers: WorkersSection = WorkersSection()  # type: ignore[call-arg]
    store: str = Field(
        default_factory=default_store, description="trained weights; a folder or such as s3://bucket/prefix"
    )
    ledger: str | None = Field(None, description="a PostgreSQL database; SQLite in the store by default")
    tracking: str | None = Field(
        default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI"),
        validate_default=True,
        description="an MLflow tracking server; the store has its own by default",
    )

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            objective(name)
        if len(set(names)) != len(names) or len(names) < 2 or "error" not in names:
            raise ValueError(f"{list(names)}: need two or more different objectives, error among them")
        # The error first, whatever the order in the file: it is what the others are weighed against.
        return ("error", *(name for name in names if name != "error"))

    @field_validator("store", mode="before")
    @classmethod
    def _without_tilde(cls, store: object) -> object:
        if not isinstance(store, str | Path):
            return store
        return str(store) if is_url(str(store)) else str(Path(store).expanduser())

    @field_validator("store", "ledger", "tracking")
    @classmethod
    def _without_password(cls, address: str | None) -> str | None:
        if address is not None and has_password(address):
            raise ValueError("has a password, which would be logged with the config; " + SECRETS)
        return address

    @model_validator(mode="after")
    def _named_parts(self) -> Config:
        for section, key in ((self.space, "name"), (self.data, "source")):
            if not isinstance(section.get(key), str):
                which = "space" if key == "name" else "data"
                raise ValueError(f"{which}: needs a {key!r}")
        return self

    def parsed_objectives(self) -> tuple[Objective, ...]:
        return tuple(objective(name) for name in self.objectives)

    @property
    def ledger_address(self) -> LedgerAddress:
        """Where the ledger is: a folder, or a database."""
        return ledger_address(self.store, self.ledger)

    def parsed_budgets(self) -> tuple[Budget, ...]:
        return tuple(Budget.parse(name, text) for name, text in self.budgets.items())


SECTIONS: Mapping[str, type[Section]] = {"search": SearchSection, "workers": WorkersSection}


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 1e-3, without a point, for a text; YAML 1.2, JSON and people take it for a number."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _load(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


class ConfigFile:
    """A config as read, with the line of every key, so that each complaint names its place.

    Of a mapping in place of a file, complaints name the key alone.
    """

    def __init__(self, source: Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
        self.path = source if isinstance(source, Path) else None
        self._lines: dict[Location, int] = {}
        self.values: dict[str, Any]
        if isinstance(source, Path):
            self.values, self._lines = _read(source)
        else:
            self.values = copy.deepcopy(dict(source))
        for key in self.values:
            if not isinstance(key, str):
                raise UserError(
                    f"{self.place((str(key),))}{key!r}: unknown key (known: {', '.join(Config.model_fields)})"
                )
        for override in overrides:
            self._override(override)

    def _override(self, text: str) -> None:
        dotted, equals, value = text.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise UserError(f'--set "{text}": not of the form key=value (try --set search.trials=40)')
        target = self.values
        for depth, key in enumerate(keys[:-1]):
            target = target.setdefault(key, {})
            if not isinstance(target, dict):
                raise UserError(f'--set "{text}": {".".join(keys[: depth + 1])} is not a section')
        try:
            target[keys[-1]] = _load(value)
        except yaml.YAMLError as error:
            raise UserError(f'--set "{text}": the value is not YAML') from error
        self._lines[tuple(keys)] = 0

    def place(self, location: Location) -> str:
        """Return ``file:line: `` of a key, or of the nearest section around it that stands in the file."""
        while location and location not in self._lines:
            location = location[:-1]
        line = self._lines.get(location, 1)
        if line and self.path is None:
            return ""
        return f"{self.path}:{line}: " if line else "--set: "

    @contextmanager
    def naming_lines(self) -> Iterator[None]:
        """Put the place in front of complaints that begin with a key, such as those of the data source's own class."""
        try:
            yield
        except UserError as error:
            key = re.match(r"(?:space|data|training|workers)\b[\w.]*", str(error))
            if key is None or ":" not in str(error):
                raise
            raise UserError(f"{self.place(tuple(key[0].split('.')))}{error}") from error

    def validated(self) -> Config:
        """Return the config; raises :class:`UserError` with place, key, value and mend for the first complaint."""
        try:
            config = Config(**self.values)
        except ValidationError as error:
            first = error.errors()[0]
            location = tuple(first["loc"])
            raise UserError(self.place(location) + _complaint(location, first)) from error
        for name, text in config.budgets.items():
            try:
                Budget.parse(name, text)
            except UserError as error:
                raise UserError(f"{self.place(('budgets', name))}{error}") from error
        return self._with_board(config)

    def _with_board(self, config: Config) -> Config:
        """Return the config with the absolute path of a board file, which lies beside the config or here."""
        if not config.device.endswith(".toml"):
            return config
        folder, device = self.path.parent if self.path else Path(), Path(config.device)
        # By its name alone where it came with a job.
        places = (folder / device, device, folder / device.name)
        found = next((place for place in places if place.is_file()), places[0])
        return config.model_copy(update={"device": str(found.absolute())})


def _read(path: Path) -> tuple[dict[str, Any], dict[Location, int]]:
    """The values of a file and the line of each key; raises :class:`UserError` for what is no mapping in YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}){_like(path)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8") from error
    try:
        root = yaml.compose(text, Loader=_Loader)
        values = _load(text) or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}:1: a config is a mapping of keys to values")
    try:
        return values, {} if root is None else dict(_lines_of(root))
    except RecursionError as error:
        raise UserError(f"{path}: an alias contains itself") from error


def _like(path: Path) -> str:
    """What else there is beside a config that is not there, or how to get one."""
    there = [other.name for other in path.parent.glob("*.y*ml")]
    if path.exists() or not path.parent.is_dir():
        return ""
    return f": {nearest_hint(path.name, there)}" if there else f": `repareto init {path}` writes one"


def _lines_of(node: yaml.Node, location: Location = ()) -> Iterator[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*location, key.value)
            yield here, key.start_mark.line + 1
            yield from _lines_of(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*location, index), value.start_mark.line + 1


def _complaint(location: Location, error: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        known = list(SECTIONS.get(str(location[0]), Config).model_fields)
        return f"{name}: unknown key ({nearest_hint(str(location[-1]), known)})"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{name}: this key is needed"
    if error["type"] == "value_error":
        return f"{name} {message}".strip()
    return f"{name} {error['input']!r}: {message[:1].lower()}{message[1:]}"
