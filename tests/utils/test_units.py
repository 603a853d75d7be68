from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.utils import quantities

# Time limits would fail on a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (31_000_000, "31.0M"),
        (1_814_000_000, "1.81G"),
        (999_999, "1.00M"),
        (12_345, "12.3k"),
        (512, "512"),
        (0, "0"),
        (0.5, "0.500"),
        (-31_000_000, "-31.0M"),
        (float("nan"), "nan"),
    ],
)
def test_human_count(value: float, text: str) -> None:
    assert quantities.human_count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (512, "512 B"), (4_194_304, "4.19 MB"), (999_999, "1.00 MB"), (2e9, "2.00 GB")],
)
def test_human_bytes(value: float, text: str) -> None:
    assert quantities.human_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.00231, "2.31 ms"),
        (0.0009999, "1.00 ms"),
        (2e-7, "200 ns"),
        (12.5, "12.5 s"),
        (59.94, "59.9 s"),
        (59.96, "1m 00s"),
        (250, "4m 10s"),
        (3599.6, "1h 00m"),
        (3900, "1h 05m"),
        (7199, "2h 00m"),
        (-250, "-4m 10s"),
        (float("inf"), "inf"),
    ],
)
def test_human_seconds(value: float, text: str) -> None:
    assert quantities.human_seconds(value) == text


@pytest.mark.parametrize("text", ["", "M", "1 2", "--3", "1e9999", "٣"])
def test_malformed_numbers(text: str) -> None:
    for parse in (quantities.parse_count, quantities.parse_bytes, quantities.parse_seconds):
        with pytest.raises(ValueError, match="not a number"):
            parse(text)


@patient
@given(st.floats(min_value=0, exclude_min=True, allow_infinity=False, allow_nan=False))
def test_exact_text_reads_back_equal(value: float) -> None:
    assert quantities.parse_count(quantities.exact_count(value)) == value
    assert quantities.parse_bytes(quantities.exact_bytes(value)) == value
    assert quantities.parse_seconds(quantities.exact_seconds(value)) == value
