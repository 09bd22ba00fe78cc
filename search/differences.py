"""Where two JSON documents differ, in words."""

from __future__ import annotations

import json
from typing import Any


def first_difference(old: Any, new: Any, place: str = "") -> str:
    """Return where two JSON values differ first, such as ``stages.high: 3 there, 4 here``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return first_difference(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
    if isinstance(old, list) and isinstance(new, list):
        for index, (left, right) in enumerate(zip(old, new, strict=False)):
            if left != right:
                label = right.get("name", index) if isinstance(right, dict) else index
                return first_difference(left, right, f"{place}.{label}" if place else str(label))
    return f"{place + ': ' if place else ''}{json.dumps(old)} there, {json.dumps(new)} here"
