# ruff: noqa: RUF001
from __future__ import annotations

import io
import json

import optuna
import pandas as pd
import pytest
from handmade_study import create, tell
from optuna.storages import InMemoryStorage
from rich.console import Console

from autoprune.review import front, front_table, headline, open_study, summary, to_csv, to_json
from autoprune.review.text import limits_text, quality_text, share_text


def lines(study: optuna.Study, width: int = 80) -> list[str]:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(front_table(front(study), summary(study), width=width))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.fixture
def study(studied: str) -> optuna.Study:
    return open_study(studied, "digits")


def test_table_at_80_columns(study: optuna.Study) -> None:
    assert lines(study) == [
        "          trial      accuracy    test         FLOPs          latency  parameters",
        "─" * 80,
        "original      0  97.00% ±0.90  96.50%  31.0M (100%)  2.00 ms (1.00×)        270k",
        "best          6  96.00% ±0.90  95.50%   18.0M (58%)                         157k",
        "              1  94.00% ±0.90  93.50%   15.5M (50%)  1.00 ms (0.50×)        135k",
        "              5  91.00% ±0.90  90.00%   7.75M (25%)   500 us (0.25×)       67.5k",
        "              8  50.00% ±0.90          2.79M (9.0%)   180 us (0.09×)       24.3k",
    ]


def test_wider_tables_have_more_columns_and_narrower_ones_fewer(study: optuna.Study) -> None:
    header = {width: lines(study, width)[0].split() for width in (120, 80, 60, 50)}
    assert header[120] == ["trial", "accuracy", "test", "FLOPs", "latency", "parameters", "size", "origin"]
    assert header[80] == ["trial", "accuracy", "test", "FLOPs", "latency", "parameters"]
    assert header[60] == ["trial", "accuracy", "FLOPs", "latency"]
    assert header[50] == ["trial", "accuracy", "FLOPs"]
    assert all(len(line) <= width for width in header for line in lines(study, width))


def test_plain_text_has_no_escape_codes_and_a_terminal_marks_the_best(study: optuna.Study) -> None:
    def output(terminal: bool) -> str:
        file = io.StringIO()
        console = Console(file=file, width=80, force_terminal=terminal, _environ={"TERM": "xterm"})
        console.print(front_table(front(study), summary(study)))
        return file.getvalue()

    assert "\x1b" not in output(False)
    best = next(line for line in output(True).splitlines() if "best" in line)
    assert best.startswith("\x1b[1m")


def test_without_trials_only_the_original_model_is_shown() -> None:
    shown = lines(create(InMemoryStorage()))
    assert shown[2].split() == ["original", "97.00%", "31.0M", "(100%)", "2.00", "ms", "(1.00×)", "270k"]
    assert shown[3] == "no pruned model within the budget yet"


def test_the_original_model_on_the_front_has_one_row() -> None:
    study = create(InMemoryStorage())
    trial = study.ask()
    costs = {"flops": 31_000_000, "flops_ratio": 1.0, "parameters": 10, "size": 40}
    for key, value in {"origin": "original", "widths": {"stem": 16}, **costs}.items():
        trial.set_user_attr(key, value)
    study.tell(trial, [0.97, 31e6])
    tell(study, 0.5, 0.9)
    shown = lines(study)
    assert len(shown) == 4
    assert shown[2].startswith("original, best")
    assert shown[3].split()[0] == "1"


def test_headline_names_limits_and_counts(study: optuna.Study) -> None:
    assert headline(summary(study)).splitlines() == [
        "digits: digits_resnet, flops 18.6M, latency 1.50 ms",
        "10 trials: 8 evaluated, 1 over budget, 1 failed; also 1 running",
    ]


def test_csv_reads_back_equal(study: optuna.Study) -> None:
    frame = front(study)
    again = pd.read_csv(io.StringIO(to_csv(frame)))
    pd.testing.assert_frame_equal(again, frame, check_dtype=False, rtol=0, atol=0)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\r=1", "a\n=1"])
def test_csv_has_no_formulas(study: optuna.Study, text: str) -> None:
    written = {"\r=1": "\\r=1", "a\n=1": "a\\n=1"}.get(text, f"'{text}")
    frame = front(study)
    frame["origin"] = text
    again = pd.read_csv(io.StringIO(to_csv(frame.rename(columns={"flops": text}))), dtype={"origin": str})
    assert set(again["origin"]) == {written}
    assert written in again.columns
    # Numbers stay numbers.
    assert to_csv(pd.DataFrame({"change": [-1.5]})) == "change\n-1.5\n"


def test_json_reads_back_equal_and_unknown_is_null(study: optuna.Study) -> None:
    frame = front(study)
    rows = json.loads(to_json(frame))
    assert rows[0]["latency_ms"] is None
    pd.testing.assert_frame_equal(pd.DataFrame(rows), frame, check_dtype=False, rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (quality_text("accuracy", 0.9611, 0.0052), "96.11% ±0.52"),
        (quality_text("accuracy", 0.9611, float("nan")), "96.11%"),
        (quality_text("mse", 0.0123456), "0.01235"),
        (quality_text("mse", 12.3, 0.456), "12.3 ±0.46"),
        (share_text(0.5), "50%"),
        (share_text(0.0996), "10%"),
        (share_text(0.0123), "1.2%"),
        (
            limits_text({"params": 1e6, "size": 4e6, "latency": 0.002}),
            "params 1.00M, size 4.00 MB, latency 2.00 ms",
        ),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert text == expected
