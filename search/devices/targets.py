"""The devices that a model can be profiled for, by name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...spaces.errors import UserError, nearest_hint
from .device import Device
from .host import HostOnnxRuntime, Reference
from .profile import Figure, Profile

_DEVICES: dict[str, Callable[[], Device]] = {kind.name: kind for kind in (HostOnnxRuntime, Reference)}


def device_names() -> tuple[str, ...]:
    """The names of all devices that are known without a file."""
    return tuple(_DEVICES)


def device(name: str) -> Device:
    """A device by name; ``UserError`` with the nearest name and the list for an unknown one."""
    if name not in _DEVICES:
        raise UserError(f'device "{name}" is unknown ({nearest_hint(name, _DEVICES)})')
    return _DEVICES[name]()


def profile_file(path: str | Path, device: Device) -> Profile:
    """The profile of a ``.pt2`` or ``.onnx`` file on a device, before anything is run.

    Flash is the size of an ``.onnx`` file, and the weights of a ``.pt2`` file, which is not what ships.
    Raises ``UserError`` for another suffix and for a missing, corrupt or dynamic model.
    """
    path = Path(path)
    if path.suffix == ".onnx":
        from .onnx_reader import read_onnx

        return replace(device.profile(read_onnx(path)), flash_bytes=_file_size(path.stat().st_size))
    if path.suffix == ".pt2":
        from .pt2_reader import read_pt2

        return device.profile(read_pt2(path))
    raise UserError(f'{path}: cannot profile a "{path.suffix}" file (give a .pt2 or an .onnx model)')


def _file_size(nbytes: int) -> Figure:
    return Figure(nbytes, "bytes", "measured", "the size of the ONNX file")
