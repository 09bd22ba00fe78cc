"""The JSON schema of a config, with which editors complete keys and mark what is wrong."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from itertools import pairwise
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter

from ..spaces.space import BUILT_IN
from ..trainers.data import SOURCES, data_source
from ..trainers.supervised import TrainingConfig
from .config import Config
from .devices.targets import device_names
from .objectives import OBJECTIVES
from .units import KINDS


def config_schema() -> dict[str, Any]:
    """Return the schema of a config file (JSON Schema, draft 2020-12).

    Classes of a user's own are let pass: what they take is known when they are loaded.
    """
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "A search by repareto"
    properties = schema["properties"]
    properties["device"] |= _one_of(device_names(), r"\.toml$", "a board file of your own")
    properties["objectives"] |= {"items": {"enum": list(OBJECTIVES)}, "uniqueItems": True, "minItems": 2}
    properties["budgets"] |= {"additionalProperties": False, "properties": _budgets()}
    properties["space"] |= _named("name", tuple(BUILT_IN))
    properties["data"] |= _named("source", tuple(SOURCES)) | {"allOf": [_source(name, schema) for name in SOURCES]}
    properties["training"] |= _settings(TrainingConfig, schema) | {"additionalProperties": False}
    return schema


def _one_of(names: tuple[str, ...], pattern: str, else_: str) -> dict[str, Any]:
    return {"anyOf": [{"enum": list(names)}, {"type": "string", "pattern": pattern, "description": else_}]}


def _named(key: str, names: tuple[str, ...]) -> dict[str, Any]:
    own = _one_of(names, r"^[\w.]+:\w+$", "a class of your own, package.module:Class")
    return {"type": "object", "required": [key], "properties": {key: own}}


def _budgets() -> dict[str, Any]:
    return {
        name: {"type": ["string", "number"], "description": f"{KINDS[objective.kind][1]}, such as {example}"}
        for name, objective in OBJECTIVES.items()
        for example in (KINDS[objective.kind][2],)
    }


def _source(name: str, root: dict[str, Any]) -> dict[str, Any]:
    """The settings of a data source, where it is the one that is named."""
    settings = _settings(data_source(name), root)
    settings["properties"] = {"source": True, **settings["properties"]}
    # What a config leaves out, such as a folder, --set may give.
    settings.pop("required", None)
    settings["additionalProperties"] = False
    return {"if": {"properties": {"source": {"const": name}}}, "then": settings}


def _settings(cls: type, root: dict[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass; definitions that they refer to are put into the ``root``."""
    schema = TypeAdapter(cls).json_schema()
    definitions = schema.pop("$defs", {})
    for part in _parts(cls):
        _describe(schema if part is cls else definitions.get(part.__name__, {}), part)
    root.setdefault("$defs", {}).update(definitions)
    return schema


def _parts(cls: type) -> Iterator[type]:
    """A dataclass, and those that its fields are of."""
    yield cls
    for kind in get_type_hints(cls).values():
        for option in (kind, *get_args(kind)):
            if isinstance(option, type) and is_dataclass(option):
                yield from _parts(option)


def _describe(schema: dict[str, Any], cls: type) -> None:
    """Tell of each field what its docstring says, which is the text below it."""
    (body,) = (node.body for node in ast.parse(textwrap.dedent(inspect.getsource(cls))).body)  # type: ignore[attr-defined]
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            told = ast.literal_eval(text.value)
            schema.get("properties", {}).get(field.target.id, {})["description"] = " ".join(told.split())
