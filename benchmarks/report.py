"""Claims: what a benchmark measured against what was promised, printed as a table and kept as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "ray", "optuna", "mlflow", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Claim:
    """``value`` with its interval ``[low, high]`` is to be ``op`` (``<=`` or ``>=``) than ``target``."""

    id: str
    value: float
    low: float
    high: float
    op: str
    target: float
    what: str
    why: str = ""
    """A sentence on why it does not hold, where it does not."""

    @property
    def holds(self) -> bool:
        return self.value <= self.target if self.op == "<=" else self.value >= self.target


def over(
    values: Sequence[float], statistic: Callable[[Sequence[float]], float] = statistics.median
) -> dict[str, float]:
    """Return a statistic of repeats with their range, as the fields of a claim."""
    return {"value": statistic(values), "low": min(values), "high": max(values)}


def exactly(value: float) -> dict[str, float]:
    """Return a figure that has no spread, such as a count, as the fields of a claim."""
    return {"value": value, "low": value, "high": value}


def arguments(description: str | None, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Parse ``--quick``, ``--out`` and a benchmark's own arguments."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="the same path, smaller: two minutes at most")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    for name, options in more:
        parser.add_argument(name, **options)
    return parser.parse_args()


def publish(
    benchmark: str, command: str, claims: Sequence[Claim], rows: Sequence[dict[str, Any]], *, quick: bool, out: Path
) -> None:
    """Print the claims and write ``out/<benchmark>.json`` (``<benchmark>.quick.json`` for a quick run)."""
    print_claims(claims)
    document = {
        "benchmark": benchmark,
        "command": command,
        "quick": quick,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "claims": [{**asdict(claim), "holds": claim.holds} for claim in claims],
        "rows": list(rows),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / (f"{benchmark}.quick.json" if quick else f"{benchmark}.json")
    path.write_text(json.dumps(document, indent=1) + "\n")
    print(f"wrote {path}")


def machine() -> str:
    """Return such as ``2 cores, x86_64, Linux``."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"


def print_claims(claims: Sequence[Claim]) -> None:
    """Print one line a claim."""
    for claim in claims:
        verdict = "holds" if claim.holds else "FAILS"
        interval = f"[{claim.low:.4g}, {claim.high:.4g}]"
        print(f"{verdict}  {claim.id:<34} {claim.value:.4g} {interval} {claim.op} {claim.target:g}  {claim.what}")
        if claim.why and not claim.holds:
            print(f"       {claim.why}")
