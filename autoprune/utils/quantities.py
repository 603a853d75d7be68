"""Numbers with units: exact text that reads back equal, and short text for people."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise

# The lengths hold every float written out, and keep Decimal arithmetic clear of overflow.
_NUMBER = r"(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?"
_AMOUNT = re.compile(rf"({_NUMBER})\s*([A-Za-zµ]*)")
_PART = re.compile(rf"({_NUMBER})\s*([A-Za-zµ]+)\s*")

COUNTS: Mapping[str, Decimal] = {
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
}
SIZES: Mapping[str, Decimal] = {
    "B": Decimal(1),
    "kB": Decimal(10**3),
    "MB": Decimal(10**6),
    "GB": Decimal(10**9),
    "KiB": Decimal(2**10),
    "MiB": Decimal(2**20),
    "GiB": Decimal(2**30),
}
DURATIONS: Mapping[str, Decimal] = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
}


def _scale(suffix: str, units: Mapping[str, Decimal]) -> Decimal:
    if suffix in units:
        return units[suffix]
    near = [unit for unit in units if unit.lower() == suffix.lower()]
    if near:
        raise ValueError(f"unit {suffix!r} is unknown, did you mean {near[0]}?")
    problem = f"unit {suffix!r} is unknown" if suffix else "it has no unit"
    raise ValueError(f"{problem}, use {', '.join(unit for unit in units if unit)}")


def _parse(text: str, units: Mapping[str, Decimal]) -> float:
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a number with a unit")
    return float(Decimal(match[1]) * _scale(match[2], units))


def parse_count(text: str) -> float:
    """Read ``300M`` or ``1200``. Raises ValueError with the reason."""
    return _parse(text, COUNTS)


def parse_bytes(text: str) -> float:
    """Read ``4MB`` or ``512KiB`` as bytes. Raises ValueError with the reason."""
    return _parse(text, SIZES)


def parse_seconds(text: str) -> float:
    """Read ``2ms``, ``90s`` or ``1h30m`` as seconds. Raises ValueError with the reason."""
    parts = _PART.findall(text)
    if not parts or _PART.sub("", text):
        _parse(text, DURATIONS)
        raise ValueError(f"{text!r} is not a duration")
    scales = [_scale(suffix.replace("µ", "u"), DURATIONS) for _, suffix in parts]
    if any(later >= earlier for earlier, later in pairwise(scales)):
        raise ValueError(f"the units of {text!r} must go from large to small")
    terms = (Decimal(number) * scale for (number, _), scale in zip(parts, scales, strict=True))
    return float(sum(terms, Decimal(0)))


def plain(value: Decimal) -> str:
    """A decimal without exponent or trailing zeros."""
    return f"{value.normalize():f}"


def _exact(value: float, units: Mapping[str, Decimal], order: Sequence[str]) -> str:
    decimal = Decimal(repr(float(value)))
    unit = next((unit for unit in order if decimal >= units[unit]), order[-1])
    return f"{plain(decimal / units[unit])}{unit}"


def exact_count(value: float) -> str:
    """Text that :func:`parse_count` reads back as the same float."""
    return _exact(value, COUNTS, ("T", "G", "M", "k", ""))


def exact_bytes(value: float) -> str:
    """Text that :func:`parse_bytes` reads back as the same float."""
    return _exact(value, SIZES, ("GB", "MB", "kB", "B"))


def exact_seconds(value: float) -> str:
    """Text that :func:`parse_seconds` reads back as the same float."""
    if value < 60 or not value.is_integer():
        return _exact(value, DURATIONS, ("s", "ms", "us"))
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)


def _three_digits(value: float, units: Sequence[tuple[float, str]]) -> str:
    """``value`` to three significant digits in the first of ``units`` (largest first) not above it."""
    if not math.isfinite(value):
        return str(value)
    rounded = float(f"{value:.3g}")
    scale, unit = next((entry for entry in units if abs(rounded) >= entry[0]), units[-1])
    scaled = rounded / scale
    digits = 0 if scaled == 0 else max(0, 2 - math.floor(math.log10(abs(scaled)) + 1e-9))
    return f"{scaled:.{digits}f}{unit}"


def human_count(value: float) -> str:
    """``31_000_000`` as ``31.0M``; whole numbers below a thousand stay as they are."""
    if abs(value) < 1000 and float(value).is_integer():
        return str(int(value))
    return _three_digits(value, ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1, "")))


def human_bytes(value: float) -> str:
    """Bytes as ``4.19 MB`` (powers of 1000)."""
    if abs(value) < 1000:
        return f"{value:.0f} B"
    return _three_digits(value, ((1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1, " B")))


def human_seconds(value: float) -> str:
    """Seconds as ``2.31 ms``, ``12.5 s``, ``4m 10s`` or ``1h 05m``."""
    if value == 0:
        return "0 s"
    if not math.isfinite(value) or abs(value) < 59.95:
        return _three_digits(value, ((1, " s"), (1e-3, " ms"), (1e-6, " us"), (1e-9, " ns")))
    sign = "-" if value < 0 else ""
    minutes, seconds = divmod(round(abs(value)), 60)
    if minutes < 60:
        return f"{sign}{minutes}m {seconds:02d}s"
    hours, minutes = divmod(round(abs(value) / 60), 60)
    return f"{sign}{hours}h {minutes:02d}m"
