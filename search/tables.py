"""Profiles and devices as text: tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .devices.profile import Figure, Profile
from .objectives import OBJECTIVES

if TYPE_CHECKING:
    from .devices.latency.roofline import Calibration
    from .devices.memory import MemoryPlan
    from .devices.report.advice import Advice
    from .devices.report.layers import Layer
    from .exits.personalize import Personalised
    from .profiles import Report

DEVICE_COLUMNS = ("name", "runtime", "precision", "latency", "memory", "flash", "error", "calibrated")
KINDS_OF_FIGURES = {objective.key: objective.kind for objective in OBJECTIVES.values()}


def print_profile(profile: Profile) -> None:
    """Print each figure with how it was got and the error to expect."""
    table = Table(title=f"{profile.device} ({profile.runtime}, {profile.precision})")
    for column in ("figure", "value", "method", "error"):
        table.add_column(column, justify="right" if column == "value" else "left")
    for name, figure in profile.figures().items():
        table.add_row(name, _value(name, figure), figure.method, _error(name, figure))
    Console().print(table)
    if profile.unknown_operators:
        print(f"not covered by these figures: {', '.join(profile.unknown_operators)}")


def _value(name: str, figure: Figure) -> str:
    from .units import format_quantity

    return format_quantity(figure.value, KINDS_OF_FIGURES[name])


def _error(name: str, figure: Figure) -> str:
    """The error in words, and the interval where there is one."""
    from .units import format_quantity

    parts = [figure.error] if figure.error else []
    if figure.low is not None and figure.high is not None:
        low, high = (format_quantity(value, KINDS_OF_FIGURES[name]) for value in (figure.low, figure.high))
        parts.append(f"90 % between {low} and {high}")
    return "; ".join(parts)


def print_report(report: Report, layers: bool) -> None:
    """Print a model's figures, its layers where they are wanted, its memory peak and what to write otherwise."""
    if report.candidate is not None:
        print(f"candidate {report.candidate.to_json()}")
    print_profile(report.profile)
    if report.stages:
        print_stages(report.stages)
    if layers:
        print_layers(report.layers)
    print_peak(report.plan, report.peak, " (before Vela's scheduling)" if report.profile.runtime == "ethos-u" else "")
    print_advice(report.advice, report.profile.device)


def print_stages(stages: Sequence[Profile]) -> None:
    """Print what each stage of a network with early exits costs, and what has been spent at its exit."""
    from .exits.costs import costs_up_to

    names = list(stages[0].figures())
    spent = "latency_us" if "latency_us" in names else "macs"
    table = Table(title="stages: one after the other, until an exit is sure")
    for column in ("stage", *names, f"{spent} up to its exit"):
        table.add_column(column, justify="right")
    for number, (stage, so_far) in enumerate(zip(stages, costs_up_to(stages, spent), strict=True), 1):
        cells = [_value(name, figure) for name, figure in stage.figures().items()]
        table.add_row(str(number), *cells, _value(spent, replace(stage.figure(spent), value=so_far)))
    Console().print(table)


def print_layers(layers: Sequence[Layer]) -> None:
    """Print what each layer costs, and mark the one that makes the memory peak."""
    from .units import format_quantity

    total_us = sum(layer.time_us or 0 for layer in layers)
    timed = any(layer.time_us is not None for layer in layers)
    table = Table(title="layers, in the order they run")
    for column in ("", "layer", "operator", "output"):
        table.add_column(column, justify="right" if column == "" else "left", overflow="fold")
    for column in ("MACs", "moved", "live", *(("time", "of all") if timed else ())):
        table.add_column(column, justify="right", no_wrap=True)
    for number, layer in enumerate(layers):
        live = format_quantity(layer.live_bytes, "size")
        row = [
            str(number),
            layer.name,
            layer.operator,
            "x".join(map(str, layer.output_shape)),
            format_quantity(layer.macs, "count") if layer.macs else "",
            format_quantity(layer.moved_bytes, "size") if layer.moved_bytes else "",
            f"peak {live}" if layer.makes_peak else live,
        ]
        if timed and layer.time_us is not None:
            share = f"{layer.time_us / total_us:.0%}" if total_us else ""
            row += [format_quantity(layer.time_us, "duration"), share]
        table.add_row(*map(escape, row), style="bold" if layer.makes_peak else None)
    Console().print(table)


def print_peak(plan: MemoryPlan, peak: Layer | None, note: str = "") -> None:
    """Print in a line what the activations take and which layer makes it as much."""
    from .units import format_quantity

    if peak is not None:
        taken, least = (format_quantity(value, "size") for value in (plan.peak_bytes, plan.lower_bound_bytes))
        print(
            f"memory peak{note}: {peak.name} ({peak.operator}); "
            f"activations take {taken}, at least {least} however arranged"
        )


def print_advice(advice: Sequence[Advice], device: str) -> None:
    """Print what does not run well on a device and what to write instead."""
    if advice:
        print(f"what does not run well on {device}:")
    for piece in advice:
        print(f"- {piece}")


def print_comparison(report: Report, other: Report) -> None:
    """Print the figures of two models, or of two devices, side by side."""
    from .devices.report.compare import compare

    devices = (report.profile.device, other.profile.device)
    titles = devices if len(set(devices)) > 1 else (report.title, other.title)
    first, second = map(escape, titles)
    table = Table(title=f"{first} against {second}")
    for column in ("figure", first, second, "ratio", ""):
        table.add_column(column, justify="right" if column in (first, second, "ratio") else "left")
    for difference in compare(report.profile, other.profile):
        values = (_value(difference.name, figure) for figure in (difference.first, difference.second))
        ratio = "" if difference.ratio is None else f"{difference.ratio:.3g}"
        table.add_row(difference.name, *values, ratio, difference.note)
    Console().print(table)


def print_devices(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print what models can be profiled for and how its figures are got there; of what is missing, how to get it."""
    table = Table(title="devices")
    for column in DEVICE_COLUMNS:
        table.add_column(column, overflow="fold", no_wrap=column == "name")
    for row in rows:
        if "missing" not in row:
            table.add_row(*(escape(str(row.get(column) or "")) for column in DEVICE_COLUMNS))
    Console().print(table)
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if "missing" in row:
            reasons.setdefault(row["missing"], []).append(row["name"])
    for reason, names in reasons.items():
        print(f"not here: {', '.join(names)}: {reason}")


def print_calibration(calibration: Calibration) -> None:
    """Print how far a fitted latency model is off on what it was not fitted to, and how calmly it was timed."""
    table = Table(title=f"{calibration.runtime} on {escape(calibration.machine)}: error on what the fit has not seen")
    for column in ("", "how many", "median error", "90 % within", "rank correlation"):
        table.add_column(column, justify="right" if column else "left")
    for name, error in (("layers", calibration.held_out_layers), ("networks", calibration.held_out)):
        if error is not None:
            shares = (f"{error.median:.1%}", f"{error.percentile_90:.1%}", f"{error.spearman:.3f}")
            table.add_row(name, str(error.networks), *shares)
    Console().print(table)
    if calibration.interval is not None:
        low, high = calibration.interval
        print(f"90 % of those networks took {low:.2f} to {high:.2f} times their estimate")
    conditions = calibration.conditions
    if conditions is not None:
        print(f"timed on {conditions.date}; noise of one timing {conditions.spread:.1%}")
        if conditions.under_load:
            print("timed under load, which makes estimates too long: calibrate again when the machine is idle")


def print_personalised(report: Personalised) -> None:
    """Print what a user's own exits came to, and what making them would cost a device."""
    from .units import format_quantity

    table = Table()
    for title in ("exits", "error", "leave at each exit", "expected cost"):
        table.add_column(title, justify="right")
    for name, point in (("of all users", report.before), ("of this user", report.after)):
        if point is not None:
            rates = ", ".join(f"{100 * rate:.0f} %" for rate in point.rates)
            table.add_row(name, f"{100 * point.error:.1f} %", rates, f"{point.expected_cost:.4g} {report.cost_unit}")
    if report.last_error is not None:
        cost = f"{report.last_cost:.4g} {report.cost_unit}"
        table.add_row("the last alone", f"{100 * report.last_error:.1f} %", "", cost)
        Console().print(table)
    for number in report.off:
        print(f"exit {number} is off: it would lose right answers of the last one, as far as can be told")
    macs, fine_tuning = (
        f"{format_quantity(count, 'count')} MACs" for count in (report.cost.macs, report.fine_tuning_macs)
    )
    print(
        f"learnt from {report.labelled} labels and {report.pseudo_labelled} pseudo-labels: {macs} and "
        f"{format_quantity(report.cost.memory_bytes, 'size')} beside the network's own memory ({fine_tuning} for ten "
        "passes of fine-tuning)"
    )
