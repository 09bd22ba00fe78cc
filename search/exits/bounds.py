"""What the operating points of a study may have at most."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """What operating points may have at most."""

    error: float = math.inf
    expected_latency_us: float = math.inf
