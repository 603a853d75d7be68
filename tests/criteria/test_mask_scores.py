import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.criteria import MaskScores, score_masks
from autoprune.criteria.selection import ranked_widths
from autoprune.errors import CriterionError, CriterionWarning
from autoprune.structure.masks import discover_masks

X = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(16) % 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def scored(model: nn.Module, granularity: str, criterion: str, **given: object) -> MaskScores:
    structure = discover_masks(model, X[:1], granularity)
    return score_masks(criterion, model, structure, **given)  # type: ignore[arg-type]


def batches() -> list[tuple[Tensor, Tensor]]:
    return [(X[:8], Y[:8]), (X[8:], Y[8:])]


def test_magnitudes_of_single_weights() -> None:
    model = network()
    for criterion in ("l1", "l2"):
        scores = scored(model, "weights", criterion).scores["0"]
        torch.testing.assert_close(scores, model[0].weight.detach().abs().reshape(1, -1))


def test_norms_of_blocks_and_rows() -> None:
    model = network()
    weight = model[2].weight.detach()
    l2 = scored(model, "block:1x3", "l2").scores["2"]
    torch.testing.assert_close(l2, weight.reshape(6, 3).norm(dim=1).reshape(1, 6))
    rows = scored(model, "neurons", "l1").scores["0"]
    torch.testing.assert_close(rows, model[0].weight.detach().abs().sum(1).reshape(1, 6))


def test_first_order_scores_are_weight_times_mean_gradient() -> None:
    model = network()
    loss = functional.cross_entropy(model(X), Y)
    expected = (torch.autograd.grad(loss, model[0].weight)[0] * model[0].weight).abs().detach()
    found = scored(model, "weights", "taylor", batches=batches, loss=functional.cross_entropy)
    torch.testing.assert_close(found.scores["0"], expected.reshape(1, -1))
    assert model[0].weight.grad is None


def test_random_scores_follow_the_seed() -> None:
    first, again, other = (
        scored(network(), "weights", "random", seed=seed).scores["0"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_places_of_n_of_m_are_worth_the_mean_at_that_place() -> None:
    model = network()
    found = scored(model, "2:4", "l1")
    expected = model[0].weight.detach().abs().sort(dim=1)[0].mean(0)
    torch.testing.assert_close(found.ranking.scores["0"], expected)


def test_one_threshold_for_the_whole_model() -> None:
    model = network()
    with torch.no_grad():
        model[2].weight.mul_(100)
        model[2].weight[:, :3].mul_(1e-4)
    magnitude = ranked_widths(scored(model, "weights", "l1").ranking)(0.5)
    sizes = [model[layer].weight.detach().abs().flatten() for layer in (0, 2)]
    best = torch.cat([size / size.mean() for size in sizes]).topk(21).indices
    assert magnitude == {"0": int((best < 24).sum()), "2": int((best >= 24).sum())}
    assert magnitude["2"] <= 9
    first_order = scored(model, "weights", "taylor", batches=batches, loss=functional.cross_entropy)
    kept = ranked_widths(first_order.ranking)(0.5)
    every = torch.cat([first_order.scores[name][0] for name in ("0", "2")])
    best = every.topk(21).indices
    assert kept == {"0": int((best < 24).sum()), "2": int((best >= 24).sum())}


def test_masks_and_plan_of_widths() -> None:
    found = scored(network(), "weights", "l1")
    masks = found.masks({"0": 5, "2": 18})
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"0.weight": 5}
    plan = found.plan({"0": 5, "2": 18}, model="net")
    assert {name: layer.kept for name, layer in plan.layers.items()} == {"0": 5}
    plan.check(found.structure)
    plan.check_masks(masks, found.structure)


@pytest.mark.parametrize(
    ("criterion", "given", "message"),
    [
        ("taylor", {}, "needs calibration data"),
        ("taylor", {"batches": list, "loss": functional.cross_entropy}, "no calibration batches"),
        ("entropy", {}, "does not judge single weights: use l1, l2, random, taylor"),
    ],
)
def test_mistakes(criterion: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(CriterionError, match=message):
        scored(network(), "weights", criterion, **given)


def test_weights_that_are_not_finite_are_reported() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(CriterionError, match="scores of '0' are not all finite"):
        scored(model, "weights", "l1")


def test_scores_that_are_all_equal_are_an_error_and_those_of_one_layer_are_reported() -> None:
    model = network()
    with torch.no_grad():
        model[0].weight.fill_(0.5)
    with pytest.warns(CriterionWarning, match="criterion l2 finds all units of 0 equally important"):
        scored(model, "weights", "l2")
    with torch.no_grad():
        model[2].weight.zero_()
    with pytest.raises(CriterionError, match="criterion l2 finds all units of every group equally important"):
        scored(model, "weights", "l2")
