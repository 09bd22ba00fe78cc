"""Classes named in a config: built in, or the user's own by import path."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from .errors import UserError, nearest_hint


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
