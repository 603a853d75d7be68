"""The page on criteria names all of them, and its times are those that were recorded."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import get_args

from autoprune.criteria import criterion, names
from autoprune.criteria.scores.magnitude import Normalisation, Over, Reduction, Scaling

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "criteria.md").read_text(encoding="utf-8")
FORMULAS, COSTS = PAGE.split("## What they cost to compute")
PASSES = dict(re.findall(r"^\| `([^`]+)` \| ([\d.]+) \|$", COSTS, re.MULTILINE))


def test_every_criterion_has_a_line_with_what_a_unit_is_worth() -> None:
    first = [line.split("|")[1] for line in FORMULAS.splitlines() if line.startswith("| `")]
    told = {name for cell in first for name in re.findall(r"`([\w-]+)`", cell)}
    assert set(names()) - {"random"} <= told
    assert "`random`" in FORMULAS


def test_every_choice_of_the_group_norm_is_named() -> None:
    for choices in (Reduction, Scaling, Normalisation, Over):
        for choice in get_args(choices):
            assert f"`{choice}`" in FORMULAS, choice


def test_criteria_in_the_text_can_be_made() -> None:
    for spec in re.findall(r"`((?:group-norm|taylor|fisher)[:/][^`]+)`", FORMULAS):
        criterion(spec)


def test_times_are_those_that_were_recorded_and_within_the_goal() -> None:
    with (ROOT / "studies" / "criteria" / "timing.csv").open(newline="") as file:
        recorded = {row["criterion"]: float(row["passes"]) for row in csv.DictReader(file)}
    assert set(names()) <= set(recorded)
    assert {name: f"{passes:.2f}" for name, passes in recorded.items()} == PASSES
    assert max(recorded.values()) <= 10
