from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from autoprune.criteria import Context, Ranking, criterion, rankings, score_units
from autoprune.criteria.cost_aware import CostAware
from autoprune.criteria.selection import comparable_scores
from autoprune.errors import CriterionError

PRICES = {"stem": 30.0, "a": 10.0}


@pytest.fixture
def priced(context: Context) -> Context:
    return dataclasses.replace(context, prices={"flops": lambda: PRICES, "size": lambda: {"stem": 0.0}})


@pytest.mark.parametrize(("suffix", "exponent"), [("", 1.0), ("^0.5", 0.5), ("^2", 2.0), ("^0", 0.0)])
def test_formula(priced: Context, suffix: str, exponent: float) -> None:
    scores = score_units(criterion(f"l2/flops{suffix}"), priced)
    plain = score_units(criterion("l2"), priced)
    average = (30 * 4 + 10 * 6) / 10
    for name, values in scores.items():
        expected = plain[name] / plain[name].mean() / (PRICES[name] / average) ** exponent
        torch.testing.assert_close(values, expected)


def test_scores_that_compare_as_they_are_keep_their_scale(priced: Context) -> None:
    scores, plain = (score_units(criterion(spec), priced) for spec in ("fisher/flops", "fisher"))
    torch.testing.assert_close(scores["a"] * 10, plain["a"] * 18)


def test_of_two_units_that_matter_as_much_the_cheaper_one_stays_below_zero_too(priced: Context) -> None:
    class Fixed:
        relative = False

        def scores(self, context: Context) -> dict[str, torch.Tensor]:
            return {
                "stem": torch.tensor([-1.0, 0.0, 1.0, 2.0]),
                "a": torch.tensor([-1.0, 0.0, 1.0, 2.0, 3.0, 4.0]),
            }

    scores = CostAware(Fixed(), "flops").scores(priced)
    # Units of stem cost three times as much as those of a.
    assert scores["a"][0] > scores["stem"][0]
    assert scores["a"][2] > scores["stem"][2]
    assert scores["a"][0] == pytest.approx(-10 / 18)
    assert all(bool((values.diff() > 0).all()) for values in scores.values())


def test_what_a_ranking_compares_across_groups_has_the_price_in_it(priced: Context) -> None:
    found: dict[str, Ranking] = rankings({"c": criterion("l2/flops"), "l2": criterion("l2")}, priced)
    with_price, without = (comparable_scores(found[name]) for name in ("c", "l2"))
    assert with_price["stem"].mean() == pytest.approx(18 / 30)
    assert without["stem"].mean() == pytest.approx(1)


def test_own_criterion_and_options_take_a_price(priced: Context, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\ndef by_index(context):\n"
        "    return {g.name: torch.arange(g.width) + 1.0 for g in context.structure.groups}\n"
    )
    for spec in (f"{tmp_path}/own.py:by_index/flops^0.5", "group-norm:p=1,reduce=max/flops"):
        assert set(score_units(criterion(spec), priced)) == {"stem", "a"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("l2/latency", "what units cost in latency is not known: divide by flops or size"),
        ("l2/size", "a unit of 'stem' saves no size: keep it whole with --skip stem"),
    ],
)
def test_price_that_is_not_known(priced: Context, spec: str, message: str) -> None:
    with pytest.raises(CriterionError, match=message):
        score_units(criterion(spec), priced)


@pytest.mark.parametrize("exponent", ["x", "-1", "inf", "nan"])
def test_exponent_that_is_none(exponent: str) -> None:
    with pytest.raises(CriterionError, match="is no exponent, write l2/flops"):
        criterion(f"l2/flops^{exponent}")
