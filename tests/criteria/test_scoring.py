from __future__ import annotations

import dataclasses
import warnings

import pytest
import torch
from torch import Tensor

from autoprune.criteria import Context, criterion, rankings
from autoprune.errors import CriterionError, CriterionWarning


class _Fixed:
    def __init__(self, **scores: Tensor) -> None:
        self._scores = scores

    def scores(self, context: Context) -> dict[str, Tensor]:
        return self._scores


def test_scores_that_are_all_equal_are_an_error(context: Context) -> None:
    equal = _Fixed(stem=torch.ones(4), a=torch.zeros(6))
    with pytest.raises(
        CriterionError, match="criterion mine finds all units of every group equally important"
    ):
        rankings({"mine": equal}, context)


def test_scores_that_are_not_finite_name_the_criterion(context: Context) -> None:
    broken = _Fixed(stem=torch.ones(4), a=torch.full((6,), float("nan")))
    with pytest.raises(CriterionError, match=r"^criterion mine: scores of group 'a' are not all finite"):
        rankings({"l2": criterion("l2"), "mine": broken}, context)
    without = dataclasses.replace(context, batches=None)
    with pytest.raises(CriterionError, match=r"^criterion taylor needs calibration data"):
        rankings({"taylor": criterion("taylor")}, without)


def test_group_of_equal_scores_is_reported_and_goes_in_order(context: Context) -> None:
    partly = _Fixed(stem=torch.ones(4), a=torch.arange(6.0))
    with pytest.warns(CriterionWarning, match="criterion mine finds all units of stem equally important"):
        found = rankings({"mine": partly}, context)["mine"]
    assert found.keep("stem", 2) == (2, 3)


def test_scores_that_differ_are_not_reported(context: Context) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rankings({name: criterion(name) for name in ("l2", "taylor", "apoz")}, context)


def test_rankings_know_whether_groups_compare_as_they_are(context: Context) -> None:
    specs = ("l2", "taylor", "bn-scale", "fisher", "group-norm:normalize=none")
    found = rankings({name: criterion(name) for name in specs}, context)
    assert [found[name].relative for name in specs] == [True, True, False, False, False]
