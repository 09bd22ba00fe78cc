"""The sparse form of an export's files, beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from ...spaces.errors import UserError
from ..devices.base import Device
from .onnx_parts import put_together, sizes_of, taken_apart

DECODER = "decoder.c"


def refuse_other_files(target: Device) -> None:
    """Raise :class:`UserError` for a device whose files are not taken apart."""
    if not target.file_name.endswith(".onnx"):
        raise UserError(
            f"--sparse-weights: what ships on {target.name} is {target.file_name}, and only ONNX files are taken apart "
            "(leave it out)"
        )


def write_sparse_weights(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Write the two parts of each ONNX file, and the decoder in C; return names and sizes for the manifest."""
    files = {}
    for name in names:
        content = (folder / name).read_bytes()
        structure, weights = taken_apart(content)
        assert taken_apart(put_together(structure, weights)) == (structure, weights)
        parts = {"structure": f"{Path(name).stem}.structure.onnx", "weights": f"{Path(name).stem}.rpsw"}
        (folder / parts["structure"]).write_bytes(structure)
        (folder / parts["weights"]).write_bytes(weights)
        files[name] = {**parts, **asdict(sizes_of(content, structure, weights))}
    source = resources.files(__package__).joinpath(DECODER).read_text()
    (folder / DECODER).write_text(source)
    return {"decoder": DECODER, "files": files}
