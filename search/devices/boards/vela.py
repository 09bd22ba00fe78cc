"""What Vela, the compiler for Arm's Ethos-U, says of a model: time, SRAM, flash, and what falls back to the processor.

Vela's cycles come from its own performance model of the accelerator and its memories, not from a run; operators that
fall back to the Cortex-M are not in its time. It runs in a process of its own, and its answers are kept on disk.
"""

import csv
import hashlib
import json
import re
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ....spaces.errors import UserError
from ....trainers.data.cache import default_folder
from ...files import write_atomically
from ..extras import installed_version, require
from .isolated import ToolError, run_tool

TOOL = "Vela"
LIMIT_S = 120.0
_KIBIBYTE = 1024
_ON_PROCESSOR = re.compile(r"^\s*CPU:\s*(\S+) = (.*?)(?: \(outputs.*)?$", re.MULTILINE)
_ERROR = re.compile(r"^.*\bError:\s*(.+?)'?$", re.MULTILINE)


@dataclass(frozen=True)
class VelaResult:
    """Vela's summary of one model on one accelerator; ``cpu_operators`` names what falls back, in order."""

    latency_us: float
    cycles: int
    sram_bytes: int
    dram_bytes: int
    off_chip_flash_bytes: int
    macs: int
    cpu_operators: tuple[str, ...] = ()


def simulate(
    content: bytes,
    accelerator: str,
    *,
    system_config: str | None = None,
    memory_mode: str | None = None,
    limit_s: float = LIMIT_S,
) -> VelaResult:
    """Compile a ``.tflite`` model for ``accelerator`` ("ethos-u55-128") and return Vela's summary.

    ``system_config`` and ``memory_mode`` are sections of the ``vela.ini`` that Vela ships; None takes Vela's default.
    The answer for the same bytes, options and version of Vela comes from disk (``REPARETO_CACHE``, else
    ``~/.cache/repareto``). Raises ``UserError`` for a file that is no TFLite model, and ``ToolError`` where Vela
    crashes, refuses or does not answer within ``limit_s`` seconds.
    """
    require("ethosu.vela", "mcu")
    if content[4:8] != b"TFL3":
        raise UserError(f"{TOOL}: the file is no TFLite model (it lacks the mark TFL3); give a .tflite file")
    options = {
        "accelerator-config": accelerator,
        **({"system-config": system_config} if system_config else {}),
        **({"memory-mode": memory_mode} if memory_mode else {}),
    }
    place = _cache_folder() / f"{_key(content, options)}.json"
    kept = _read(place)
    if kept is None:
        kept = _compile(content, options, limit_s)
        # A cache that cannot be written costs time, not the candidate.
        with suppress(OSError, UserError):
            write_atomically(place, json.dumps(asdict(kept), sort_keys=True).encode())
    return kept


def _compile(content: bytes, options: dict[str, str], limit_s: float) -> VelaResult:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.tflite").write_bytes(content)
        command = [sys.executable, "-P", "-m", "ethosu.vela", "model.tflite", "--output-dir", "out"]
        command += ["--show-cpu-operations", *(f"--{option}={value}" for option, value in options.items())]
        try:
            printed = run_tool(TOOL, f"this model for {options['accelerator-config']}", command, limit_s, folder)
        except ToolError as error:
            said = _ERROR.search(error.output)
            if said is None:
                raise
            raise ToolError(f"{TOOL}: refuses this model: {said[1].strip()[:200]}", error.output) from error
        tables = list(folder.glob("out/*summary*.csv"))
        if not tables:
            raise ToolError(f"{TOOL}: wrote no summary for this model", f"{printed.stdout}\n{printed.stderr}")
        left = _ON_PROCESSOR.findall(f"{printed.stdout}\n{printed.stderr}")
        writers = _writers(content) if left else {}
        return _summary(tables[0].read_text(), tuple(writers.get(output, name) for name, output in left))


def _writers(content: bytes) -> dict[str, str]:
    """The TFLite name of the operator that writes each tensor: Vela calls what it does not know a pass-through."""
    schema: Any = require("ai_edge_litert.schema_py_generated", "mcu")
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    writers = {}
    for operator in (graph.Operators(index) for index in range(graph.OperatorsLength())):
        code = model.OperatorCodes(operator.OpcodeIndex())
        name = names.get(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()), "CUSTOM")
        for index in range(operator.OutputsLength()):
            writers[(graph.Tensors(operator.Outputs(index)).Name() or b"").decode(errors="replace")] = name
    return writers


def _summary(table: str, cpu_operators: tuple[str, ...]) -> VelaResult:
    """The figures of Vela's summary table, whose memories are in KiB and whose time is in seconds."""
    row = next(csv.DictReader(table.splitlines()), {})

    def nbytes(memory: str) -> int:
        return round(float(row[f"{memory}_memory_used"]) * _KIBIBYTE)

    try:
        return VelaResult(
            latency_us=float(row["inference_time"]) * 1e6,
            cycles=int(float(row["cycles_total"])),
            sram_bytes=nbytes("sram"),
            dram_bytes=nbytes("dram"),
            off_chip_flash_bytes=nbytes("off_chip_flash"),
            macs=int(float(row["nn_macs"])),
            cpu_operators=cpu_operators,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ToolError(f"{TOOL}: its summary is not as expected ({error}); its version is not known here") from error


def _key(content: bytes, options: dict[str, str]) -> str:
    version = installed_version("ethos-u-vela", "mcu")
    stated = json.dumps([hashlib.sha256(content).hexdigest(), options, version], sort_keys=True)
    return hashlib.sha256(stated.encode()).hexdigest()


def _cache_folder() -> Path:
    return default_folder() / "vela"


def _read(place: Path) -> VelaResult | None:
    """A kept answer; None where there is none, or where it is not whole."""
    try:
        fields = json.loads(place.read_text())
        return VelaResult(**{**fields, "cpu_operators": tuple(fields["cpu_operators"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
