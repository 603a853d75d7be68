import torch
from torch import Tensor

from autoprune.criteria import Ranking
from autoprune.criteria.mixture import Mixture, places


def ranking(name: str, **groups: list[float]) -> Ranking:
    return Ranking(name, {group: torch.tensor(values) for group, values in groups.items()})


def literal_places(scores: Tensor) -> list[float]:
    """The share of units below, equal ones counted by half."""
    values = scores.tolist()
    return [
        (sum(other < value for other in values) + sum(other == value for other in values) / 2) / len(values)
        for value in values
    ]


def test_places_count_the_units_below() -> None:
    torch.manual_seed(0)
    for scores in (torch.rand(9), torch.randint(0, 4, (12,)).double(), torch.zeros(5)):
        assert torch.allclose(places(scores), torch.tensor(literal_places(scores), dtype=torch.float64))


def test_one_criterion_alone_keeps_its_own_order() -> None:
    torch.manual_seed(1)
    rankings = {
        "a": ranking("a", x=torch.randint(0, 6, (20,)).tolist(), y=[1.0, 2.0]),
        "b": ranking("b", x=torch.rand(20).tolist(), y=[2.0, 1.0]),
    }
    mixed = Mixture({"x": {"a": 3.0, "b": 0.0}, "y": {"b": 1.0}}).ranking(rankings)
    for width in range(1, 21):
        assert mixed.keep("x", width) == rankings["a"].keep("x", width)
    assert mixed.keep("y", 1) == rankings["b"].keep("y", 1)


def test_weights_are_shares_of_the_mean_place_whatever_the_scale_of_the_scores() -> None:
    rankings = {"a": ranking("a", x=[1e9, 2e9, 3e9]), "b": ranking("b", x=[3e-9, 1e-9, 2e-9])}
    mixed = Mixture({"x": {"a": 1.0, "b": 3.0}}).ranking(rankings)
    expected = 0.25 * places(rankings["a"].scores["x"]) + 0.75 * places(rankings["b"].scores["x"])
    assert torch.allclose(mixed.scores["x"], expected)
    assert mixed.keep("x", 1) == (0,)
