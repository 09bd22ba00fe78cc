"""Classes named in a config: built in, or the user's own by import path."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from .errors import UserError, nearest_hint

_added_folders: list[str] = []


def make_importable(*folders: str | Path) -> None:
    """Let modules in ``folders`` be imported here and in processes started from here, such as a local cluster's."""
    for folder in (str(Path(folder).absolute()) for folder in folders):
        if folder not in _added_folders:
            _added_folders.append(folder)
            sys.path.append(folder)
            known = os.environ.get("PYTHONPATH")
            os.environ["PYTHONPATH"] = f"{known}{os.pathsep}{folder}" if known else folder


def importable_folders() -> tuple[str, ...]:
    """Return the folders that :func:`make_importable` added."""
    return tuple(_added_folders)


def load_class(path: str, built_in: Mapping[str, str], kind: str) -> type:
    """Return the class that ``package.module:Class`` or a built-in name stands for; raises :class:`UserError`."""
    module_name, colon, class_name = built_in.get(path, path).partition(":")
    if not colon:
        hint = nearest_hint(path, built_in)
        raise UserError(f"{kind} {path!r} is unknown ({hint}; your own: package.module:Class)")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{kind} {path!r} cannot be imported: {error} (is its folder in PYTHONPATH?)") from error
    if not isinstance(found, type):
        raise UserError(f"{kind} {path!r} is not a class")
    return found
