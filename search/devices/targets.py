"""The devices that a model can be profiled for, by name."""

from collections.abc import Callable

from ...spaces.errors import UserError, nearest_hint
from .base import Device
from .boards.board import board_names
from .boards.device import BoardDevice
from .executorch.device import MobileXnnpack, MobileXnnpackInt8
from .host.devices import HostLiteRt, HostLiteRtInt8, HostOnnxRuntime, HostOnnxRuntimeInt8, Reference

_KINDS = (HostOnnxRuntime, HostOnnxRuntimeInt8, HostLiteRt, HostLiteRtInt8, MobileXnnpack, MobileXnnpackInt8, Reference)
_DEVICES: dict[str, Callable[[], Device]] = {kind.name: kind for kind in _KINDS}


def device_names() -> tuple[str, ...]:
    """The names of all devices that are known without a file of one's own."""
    return (*_DEVICES, *board_names())


def device(name: str) -> Device:
    """A device by its name, or by the path of a board file (``.toml``).

    Raises ``UserError`` with the nearest name for an unknown one, for a board file that does not hold, and where the
    extra that a device needs is not installed.
    """
    if name in _DEVICES:
        return _DEVICES[name]()
    if name in board_names() or name.endswith(".toml"):
        return BoardDevice(name)
    raise UserError(f'device "{name}" is unknown ({nearest_hint(name, device_names())})')
