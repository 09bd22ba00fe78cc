"""Quantities as people write them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repareto.search.units import KINDS, format_quantity, parse_quantity
from repareto.spaces.errors import UserError

UNITS = [(kind, unit) for kind, (units, *_) in KINDS.items() for unit in units]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("2 ms", "duration", 2000),
        ("2ms", "duration", 2000),
        ("  .5s ", "duration", 500_000),
        ("10m", "duration", 600e6),
        ("1.5 h", "duration", 5400e6),
        ("3 µs", "duration", 3),
        ("250ns", "duration", 0.25),
        ("64KiB", "size", 65536),
        ("64 kB", "size", 64000),
        ("1e3 B", "size", 1000),
        ("2 MiB", "size", 2 * 1024 * 1024),
        ("15%", "fraction", 0.15),
        ("0.15", "fraction", 0.15),
        (0.15, "fraction", 0.15),
        ("1.5M", "count", 1.5e6),
        (20000, "count", 20000),
    ],
)
def test_what_people_write(text: object, kind: str, value: float) -> None:
    assert parse_quantity(text, kind) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "kind", "complaint"),
    [
        ("2 mss", "duration", '"2 mss": not a duration (try "2 ms")'),
        ("2", "duration", '"2": not a duration (try "2 ms")'),
        (2, "duration", '"2": not a duration (try "2 ms")'),
        ("2 ms", "size", '"2 ms": not a size (try "64 KiB")'),
        ("64 kib", "size", '"64 kib": not a size (try "64 KiB")'),
        ("-2 ms", "duration", '"-2 ms": not a duration (try "2 ms")'),
        ("0 ms", "duration", '"0 ms": a duration must be positive (try "2 ms")'),
        ("1e999 ms", "duration", '"1e999 ms": a duration must be positive (try "2 ms")'),
        ("1e-999 ms", "duration", '"1e-999 ms": a duration must be positive (try "2 ms")'),
        ("nan", "fraction", '"nan": not a fraction (try "15%")'),
        ("inf", "count", '"inf": not a number (try "1.5M")'),
        ("", "count", '"": not a number (try "1.5M")'),
        (None, "count", '"None": not a number (try "1.5M")'),
        ("1 2", "count", '"1 2": not a number (try "1.5M")'),
        ("٣ ms", "duration", '"٣ ms": not a duration (try "2 ms")'),
    ],
)
def test_what_is_refused(text: object, kind: str, complaint: str) -> None:
    with pytest.raises(UserError) as raised:
        parse_quantity(text, kind)
    assert str(raised.value) == complaint


@pytest.mark.parametrize(("kind", "unit"), UNITS)
@pytest.mark.parametrize("blank", ["", " "])
def test_every_unit_has_its_factor(kind: str, unit: str, blank: str) -> None:
    assert parse_quantity(f"3{blank}{unit}", kind) == pytest.approx(3 * KINDS[kind][0][unit], rel=1e-12)


@given(st.text(max_size=12), st.sampled_from(sorted(KINDS)))
def test_any_text_gives_a_positive_number_or_a_complaint_that_repeats_it(text: str, kind: str) -> None:
    value, complaint = 1.0, f'"{text}"'
    try:
        value = parse_quantity(text, kind)
    except UserError as error:
        complaint = str(error)
    assert 0 < value < math.inf
    assert f'"{text}"' in complaint


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (2000, "duration", "2 ms"),
        (999, "duration", "999 us"),
        (0.5, "duration", "0.5 us"),
        (60e6, "duration", "60 s"),
        (65536, "size", "64 KiB"),
        (1023, "size", "1023 B"),
        (0.1234, "fraction", "12.34 %"),
        (0, "fraction", "0.00 %"),
        (0, "count", "0"),
        (12, "count", "12"),
        (1.5e6, "count", "1.5 M"),
    ],
)
def test_what_people_read(value: float, kind: str, text: str) -> None:
    assert format_quantity(value, kind) == text


@given(st.floats(1e-3, 1e12), st.sampled_from(["duration", "size", "count"]))
def test_what_is_printed_can_be_typed(value: float, kind: str) -> None:
    assert parse_quantity(format_quantity(value, kind), kind) == pytest.approx(value, rel=1e-3)
