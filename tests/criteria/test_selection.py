import pytest
import torch

from autoprune.criteria import Ranking
from autoprune.criteria.selection import ranked_widths, widths_above, widths_at_sparsity

RANKING = Ranking(
    "made",
    {
        "a": torch.tensor([1.0, 2.0, 3.0, 2.0], dtype=torch.float64),
        "b": torch.tensor([10.0, 30.0], dtype=torch.float64),
    },
)


def test_the_best_of_the_whole_model_stay_whatever_the_scale_of_their_group() -> None:
    at = ranked_widths(RANKING)
    # Relative to the means 2 and 20 the order is a2 = b1 (1.5), a1 = a3 (1), a0 = b0 (0.5).
    assert [at(count / 6) for count in (0, 2, 4, 6)] == [
        {"a": 0, "b": 0},
        {"a": 1, "b": 1},
        {"a": 3, "b": 1},
        {"a": 4, "b": 2},
    ]


def test_a_sparsity_within_groups_or_across_the_model() -> None:
    assert widths_at_sparsity(RANKING, 0.5, "local") == {"a": 2, "b": 1}
    assert widths_at_sparsity(RANKING, 2 / 3, "global") == {"a": 1, "b": 1}


@pytest.mark.parametrize(
    ("threshold", "scope", "widths"),
    [
        (0.6, "local", {"a": 3, "b": 1}),
        (1.0, "local", {"a": 3, "b": 1}),
        (1.1, "local", {"a": 1, "b": 1}),
        # The mean of all scores is 8.
        (0.3, "global", {"a": 1, "b": 2}),
        (1.5, "global", {"a": 0, "b": 1}),
    ],
)
def test_a_threshold_relative_to_a_mean(threshold: float, scope: str, widths: dict[str, int]) -> None:
    assert widths_above(RANKING, threshold, scope) == widths  # type: ignore[arg-type]


def test_scores_below_zero_compare_by_the_mean_of_their_sizes() -> None:
    minus = {name: -scores for name, scores in RANKING.scores.items()}
    assert ranked_widths(Ranking("made", minus))(2 / 6) == {"a": 1, "b": 1}
    assert widths_above(Ranking("made", minus), -1.0, "local") == {"a": 3, "b": 1}
    centred = Ranking("made", {"a": torch.tensor([-2.0, 2.0]), "b": torch.tensor([-30.0, 30.0, 0.0])})
    # Relative to the mean sizes 2 and 20: b1 (1.5), a1 (1), b2 (0), a0 (-1), b0 (-1.5).
    assert ranked_widths(centred)(3 / 5) == {"a": 1, "b": 2}
    assert ranked_widths(centred)(4 / 5) == {"a": 2, "b": 2}
