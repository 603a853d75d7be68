from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune.criteria import Context, criterion, names, register, score_units
from autoprune.errors import CriterionError

OWN = """
import torch

def by_index(context):
    return {group.name: torch.arange(group.width) for group in context.structure.groups}

class ByIndex:
    def scores(self, context):
        return by_index(context)

instance = ByIndex()

class WithArgument(ByIndex):
    def __init__(self, exponent):
        self.exponent = exponent

def broken(context):
    return {}["no"]

class NoCriterion:
    pass

number = 3
"""


class _Fixed:
    def __init__(self, scores: Any) -> None:
        self._scores = scores

    def scores(self, context: Context) -> dict[str, Tensor]:
        scores: dict[str, Tensor] = self._scores
        return scores


@pytest.fixture
def own(tmp_path: Path) -> Path:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    return file


def test_names() -> None:
    assert {"l1", "l2", "taylor", "random"} <= set(names())


@pytest.mark.parametrize("name", ["l1", "l2", "taylor", "random"])
def test_registered_criteria_score_every_unit(context: Context, name: str) -> None:
    scores = score_units(criterion(name), context)
    assert {name: len(values) for name, values in scores.items()} == context.structure.widths
    assert all(values.dtype == torch.float64 for values in scores.values())


def test_unknown_name() -> None:
    with pytest.raises(
        CriterionError, match=r"unknown criterion 'tailor', did you mean taylor\? there are activation, apoz"
    ):
        criterion("tailor")
    with pytest.raises(CriterionError, match=r"unknown criterion 'zzz': there are activation, apoz"):
        criterion("zzz")


@pytest.mark.parametrize("attribute", ["by_index", "ByIndex", "instance"])
def test_own_criterion_from_a_file(context: Context, own: Path, attribute: str) -> None:
    scores = score_units(criterion(f"{own}:{attribute}"), context)
    assert scores["a"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert scores["stem"].dtype == torch.float64


def test_own_criterion_from_a_module() -> None:
    module = "autoprune.criteria.scores.magnitude"
    assert criterion(f"{module}:L2").__class__ is criterion("l2").__class__


@pytest.mark.parametrize("attribute", ["NoCriterion", "number"])
def test_reference_to_something_else(own: Path, attribute: str) -> None:
    with pytest.raises(CriterionError, match="neither a function"):
        criterion(f"{own}:{attribute}")


def test_class_with_arguments(own: Path) -> None:
    with pytest.raises(CriterionError, match="must take no arguments"):
        criterion(f"{own}:WithArgument")


@pytest.mark.parametrize("spec", ["gone.py:score", "no_such_package.module:score", "autoprune.criteria:gone"])
def test_reference_that_leads_nowhere_is_one_line(spec: str) -> None:
    with pytest.raises(CriterionError) as caught:
        criterion(spec)
    assert "\n" not in str(caught.value)


def test_criterion_that_fails_is_one_line(context: Context, own: Path) -> None:
    with pytest.raises(CriterionError, match="the criterion failed: KeyError: 'no'"):
        score_units(criterion(f"{own}:broken"), context)


def test_name_taken() -> None:
    with pytest.raises(CriterionError, match="'l2' is registered already"):
        register("l2")(lambda context: {})


@pytest.mark.parametrize(
    ("scores", "reason"),
    [
        ({"stem": torch.ones(4)}, "no scores for group 'a'"),
        ({"stem": torch.ones(4), "a": torch.ones(6), "b": torch.ones(1)}, "'b', which is no group"),
        ({"stem": torch.ones(4), "a": torch.ones(5)}, r"must be a tensor \[6\], not \[5\]"),
        ({"stem": torch.ones(4), "a": torch.ones(6, 1)}, r"must be a tensor \[6\], not \[6, 1\]"),
        ({"stem": torch.ones(4), "a": [1.0] * 6}, r"must be a tensor \[6\], not list"),
        ({"stem": torch.ones(4), "a": torch.full((6,), float("nan"))}, "not all finite"),
        ({"stem": torch.tensor([1, 2, 3, float("inf")]), "a": torch.ones(6)}, "not all finite"),
        (None, "not NoneType"),
    ],
)
def test_scores_are_checked(context: Context, scores: Any, reason: str) -> None:
    with pytest.raises(CriterionError, match=reason) as caught:
        score_units(_Fixed(scores), context)
    assert "\n" not in str(caught.value)


def test_scores_come_in_the_groups_order_without_gradient(context: Context) -> None:
    given = {"a": torch.ones(6, requires_grad=True), "stem": torch.ones(4)}
    scores = score_units(_Fixed(given), context)
    assert list(scores) == ["stem", "a"]
    assert not scores["a"].requires_grad
