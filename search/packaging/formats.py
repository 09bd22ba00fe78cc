"""Other formats that an export is asked for, beside the files that it always has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...spaces.errors import UserError, nearest_hint
from ..devices.base import Device
from ..devices.targets import device
from .c_source import HEADER, SOURCE, c_source
from .checks import Checker

if TYPE_CHECKING:
    from ..forms import Form

ALWAYS = ("onnx", "pt2")
DEVICES = {
    "onnx-int8": "host-onnxruntime-int8",
    "tflite": "host-litert",
    "tflite-int8": "host-litert-int8",
    "executorch": "mobile-xnnpack",
    "executorch-int8": "mobile-xnnpack-int8",
}
C = "c"
FORMATS = (*ALWAYS, *DEVICES, C)


@dataclass(frozen=True)
class Wanted:
    """Formats to write, and the devices whose runtimes make and run them."""

    devices: tuple[Device, ...]
    with_c: bool

    @classmethod
    def of(cls, names: Sequence[str]) -> Wanted:
        """Raises :class:`UserError` for an unknown format, and for one whose extra is not installed."""
        for name in names:
            if name not in FORMATS:
                raise UserError(f'--format "{name}": is unknown ({nearest_hint(name, FORMATS)})')
        asked = dict.fromkeys(name for name in names if name in DEVICES)
        return cls(tuple(device(DEVICES[name]) for name in asked), C in names)

    @property
    def needs_samples(self) -> bool:
        """Whether something is quantised, by the ranges of real examples."""
        return self.with_c or any(target.quantises for target in self.devices)


@dataclass(frozen=True)
class Conversion:
    """A network to convert, and the training examples (n, *input_shape) that set the ranges of its int8 forms."""

    form: Form
    labels: Sequence[str]
    samples: np.ndarray | None
    checker: Checker

    def write_all(self, wanted: Wanted, ships: tuple[Device, bytes], folder: Path) -> dict[str, Any]:
        """Write each format that is wanted, run it in its runtime, and return its check by file name.

        ``ships`` is the file of the search's own device: what a C array is made of where it is TFLite in int8. Raises
        :class:`UserError` where a file answers otherwise than torch, and without samples where they are needed.
        """
        if wanted.needs_samples and self.samples is None:
            raise UserError("--format: an int8 model needs the study's data, for its ranges (leave out --without-data)")
        checks = {}
        for target in wanted.devices:
            content = self._convert(target)
            name = f"model.{target.precision}{Path(target.file_name).suffix}"
            checks[name] = self._check(name, target, content)
            (folder / name).write_bytes(content)
        if wanted.with_c:
            checks[SOURCE] = self._write_c(*ships, folder)
        return checks

    def _convert(self, target: Device) -> bytes:
        samples = self.samples if target.quantises else None
        return target.convert(self.form.fused, self.form.input_shape, samples, self.labels)

    def _check(self, name: str, target: Device, content: bytes) -> dict[str, Any]:
        return self.checker.check(
            name, target.runtime, lambda features: target.run(content, features), quantised=target.quantises
        )

    def _write_c(self, target: Device, content: bytes, folder: Path) -> dict[str, Any]:
        if target.file_name != "model.tflite" or not target.quantises or self.form.file_name(target) != "model.tflite":
            target = device(DEVICES["tflite-int8"])
            content = self._convert(target)
        check = self._check(SOURCE, target, content)
        for name, text in c_source(content).items():
            (folder / name).write_text(text)
        return {**check, "header": HEADER}
