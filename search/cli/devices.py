"""Commands on devices: list them, say what a model costs on one, and fit one to this machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...spaces.errors import UserError
from .common import example, print_json, say, say_to_stderr

if TYPE_CHECKING:
    from ..devices.base import Device
    from ..profiles import Subject

commands = typer.Typer()


@commands.command(epilog=example("repareto devices --json"))
def devices(
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List what models can be profiled for: how each figure is got there, and the error to expect."""
    rows = [
        {"name": name, "missing": found}
        if isinstance(found, str)
        else {"name": name, "runtime": found.runtime, "precision": found.precision, **found.describe()}
        for name, found in _all_devices().items()
    ]
    if json:
        print_json(rows)
        return
    from ..tables import print_devices

    print_devices(rows)


@commands.command(epilog=example("repareto profile exported/model.onnx --device host-onnxruntime --layers"))
def profile(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A `.pt2`, `.onnx`, `.tflite` or a config.")],
    device: Annotated[
        str | None, typer.Option(help="What it would run on: by default the config's, or `host-onnxruntime`.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Print what each layer costs.")] = False,
    memory_map: Annotated[
        Path | None, typer.Option(help="Draw the memory over time, as `.svg` or `.html`.", metavar="FILE")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with another model, or with this one on another device.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Run the device's own tool on the file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a key of the config.")] = None,
) -> None:
    """Say what a model costs on a device, and what does not run well there.

    Of a config, the candidate in the middle of its space is taken.
    """
    from ..devices.report import memory_map as maps
    from ..profiles import report_data, report_on, subject_and_device

    if memory_map is not None:
        maps.refuse_other_suffix(memory_map)
    tell = say_to_stderr if json else say
    subject, target = subject_and_device(model, device, set_ or [], tell)
    report = report_on(subject, target, measure)
    other = None
    if against is not None:
        other = report_on(*_other(against, subject, target, set_ or [], tell), measure)
    if memory_map is not None:
        maps.write_memory_map(memory_map, report.graph, report.plan, f"{report.title} on {target.name}")
        print(f"wrote {memory_map}", file=sys.stderr)
    if json:
        print_json(report_data(report, other))
        return
    from ..tables import print_comparison, print_report

    print_report(report, layers)
    if other is not None:
        print_comparison(report, other)


def _other(
    against: str, subject: Subject, target: Device, overrides: list[str], tell: Callable[[str], None]
) -> tuple[Subject, Device]:
    """What ``--against`` names: another model for the same device, or another device for the same model."""
    from ..devices import targets
    from ..profiles import CONFIG_SUFFIXES, MODEL_SUFFIXES, subject_and_device

    if Path(against).suffix in (*MODEL_SUFFIXES, *CONFIG_SUFFIXES):
        return subject_and_device(against, target.name, overrides, tell)[0], target
    try:
        return subject, targets.device(against)
    except UserError as error:
        raise UserError(f"--against {against}: neither a model file nor a config; as a device: {error}") from error


@commands.command(epilog=example("repareto calibrate --device host-onnxruntime"))
def calibrate(
    device: Annotated[str, typer.Option(help="A device whose latency is fitted on this machine.")] = "host-onnxruntime",
) -> None:
    """Fit a device's latency model on this machine, and print its error on models that the fit has not seen.

    Takes less than three minutes. Keep the machine quiet meanwhile.
    """
    from ..devices import targets
    from ..devices.host.devices import Calibrated
    from ..devices.latency.calibration import calibration_path, recalibrate
    from ..tables import print_calibration

    target = targets.device(device)
    if not isinstance(target, Calibrated):
        fitted = (name for name, other in _all_devices().items() if isinstance(other, Calibrated))
        raise UserError(f"--device {device}: nothing is fitted there (fitted on a machine: {', '.join(fitted)})")
    say(f"timing layers and networks in {target.runtime}, {target.precision}; keep the machine quiet")
    print_calibration(recalibrate(target.runtime, target.precision))
    say(f"kept in {calibration_path(target.runtime, target.precision)}")


def _all_devices() -> dict[str, Device | str]:
    """Each device by name, or why it cannot be had here."""
    from ..devices import targets

    found: dict[str, Device | str] = {}
    for name in targets.device_names():
        try:
            found[name] = targets.device(name)
        except UserError as error:
            found[name] = str(error)
    return found
