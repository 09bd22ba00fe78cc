"""The objects that a config names, each validated by its own class."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..spaces.errors import UserError, nearest_hint
from ..spaces.space import SearchSpace, load_space
from ..trainers.data import data_source
from ..trainers.data.dataset import DataSource
from ..trainers.data.front_ends import Variant, variants_of
from ..trainers.supervised import TrainingConfig
from .config import Config
from .devices.base import Device
from .devices.targets import device


class Parts:
    """The space, the data source, the training settings and the device of a config."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.space: SearchSpace = load_space(config.space)
        source = {key: value for key, value in config.data.items() if key != "source"}
        self.data: DataSource = construct("data", data_source(config.data["source"]), source)
        self.variants: tuple[Variant, ...] = variants_of(self.data, self.space.front_end_options())
        self.training: TrainingConfig = construct("training", TrainingConfig, config.training)
        self.device: Device = device(config.device)
        if self.training.quantization_aware_epochs and not self.device.quantises:
            raise UserError(
                f"training.quantization_aware_epochs = {self.training.quantization_aware_epochs}: "
                f"device {config.device} runs {self.device.precision}, which is not quantised (take the key out)"
            )

    def refuse_unclaimed(self) -> None:
        """Raise :class:`UserError` where the search would be decided by a figure that the device has not."""
        for key, names in (("objectives", self.config.objectives), ("budgets", self.config.budgets)):
            of_time = [name for name in ("latency", "expected_latency") if name in names]
            if of_time and not self.device.claims_latency:
                raise UserError(
                    f"{key}: {of_time[0]}: {self.device.name} claims none "
                    "(take peak_memory, flash, macs or parameters, or another device)"
                )

    def identity(self) -> dict[str, Any]:
        """Return what a study cannot change while it continues."""
        return {
            "space": {
                "name": self.config.space["name"],
                "parameters": self.space.describe(),
                "settings": _plain(self.space),
            },
            "data": {"source": self.config.data["source"], **_plain(self.data)},
            "training": _plain(self.training),
            "device": self.device.identity,
            "objectives": list(self.config.objectives),
            "budgets": {budget.objective.name: budget.bound for budget in self.config.parsed_budgets()},
            "seed": self.config.seed,
        }


def construct(section: str, cls: type, settings: Mapping[str, Any]) -> Any:
    """Return ``cls(**settings)``, values checked and converted by its annotations.

    Raises :class:`UserError` that names the key, its value and the nearest known one.
    """
    known = [field.name for field in dataclasses.fields(cls)]
    for key in settings:
        if key not in known:
            raise UserError(f"{section}.{key}: unknown key ({nearest_hint(key, known)})")
    try:
        return TypeAdapter(cls).validate_python(dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "value_error":
            raise UserError(message if message.startswith(section) else f"{section}: {message}") from error
        place = ".".join([section, *(str(part) for part in first["loc"])])
        if first["type"] in ("missing", "missing_argument"):
            raise UserError(f"{place}: this key is needed") from error
        raise UserError(f"{place} {first['input']!r}: {message[:1].lower()}{message[1:]}") from error


def _plain(settings: Any) -> dict[str, Any]:
    return json.loads(json.dumps(dataclasses.asdict(settings), default=str))
