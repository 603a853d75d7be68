from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.criteria import Ranking, ranking
from autoprune.errors import PlanError

# Time limits would fail on a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_least_important_first() -> None:
    order = ranking({"a": torch.tensor([0.3, 0.1, 0.2]), "b": torch.tensor([5.0])})
    assert {name: units.tolist() for name, units in order.items()} == {"a": [1, 2, 0], "b": [0]}


def test_of_equals_the_lower_index_goes_first() -> None:
    scores = torch.tensor([1.0, 0.0] * 50)
    assert ranking({"a": scores})["a"].tolist() == [*range(1, 100, 2), *range(0, 100, 2)]
    assert Ranking("l2", {"a": torch.ones(4)}).keep("a", 2) == (2, 3)


@patient
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_kept_units_are_the_best_sorted_and_nested(values: list[int]) -> None:
    best = Ranking("l2", {"a": torch.tensor(values, dtype=torch.float64)})
    kept = [best.keep("a", width) for width in range(1, len(values) + 1)]
    assert kept[-1] == tuple(range(len(values)))
    for width, units in enumerate(kept, start=1):
        assert len(units) == width
        assert list(units) == sorted(units)
        assert sorted(values[unit] for unit in units) == sorted(values)[-width:]
    assert all(set(small) < set(large) for small, large in pairwise(kept))


@pytest.mark.parametrize("width", [0, -1, 4])
def test_width_out_of_range(width: int) -> None:
    with pytest.raises(PlanError, match="has 3 units: keep 1 to 3, not"):
        Ranking("l2", {"a": torch.ones(3)}).keep("a", width)


def test_unknown_group() -> None:
    with pytest.raises(KeyError):
        Ranking("l2", {"a": torch.ones(3)}).keep("b", 1)
