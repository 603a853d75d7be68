from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import autoprune
from autoprune.recovery import Recipe, finetune
from autoprune.tasks import Data


class TwinNet(nn.Module):
    """One encoder, called for the image and for the image at half its size."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 16, 3), nn.ReLU()
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        large, small = self.encoder(x), self.encoder(functional.avg_pool2d(x, 2))
        return self.head(torch.cat([large.mean((2, 3)), small.mean((2, 3))], 1))


@pytest.fixture(scope="module")
def twin(digits: Data) -> nn.Module:
    torch.manual_seed(0)
    model = TwinNet()
    finetune(model, digits, Recipe(steps=60, lr=0.05, batch_size=64, schedule="onecycle"), seed=0)
    return model.eval()


@pytest.mark.parametrize(("shared", "groups"), [("joint", 2), ("untie", 4)])
def test_a_search_treats_shared_weights_as_told(
    twin: nn.Module, digits: Data, tmp_path: Path, shared: str, groups: int
) -> None:
    study = autoprune.search(
        twin,
        digits,
        budget=["params=90%", "trials=6"],
        storage=f"sqlite:///{tmp_path}/study.db",
        finetune_steps=2,
        latency=False,
        calibration_batches=1,
        shared=shared,
    )
    own = sum(p.numel() for p in twin.parameters())
    assert study.problem.budget_model.original_costs.parameters == own
    assert len(study.problem.structure.groups) == groups
    best = study.best()
    pruned = study.model(best.number)
    assert best.user_attrs["parameters"] == sum(p.numel() for p in pruned.parameters()) <= 0.9 * own
    (tmp_path / "out").mkdir()
    (state,) = study.export(best.number, formats=["state"], to=tmp_path / "out")
    assert state.max_difference < 1e-4


def test_what_frozen_sharing_leaves_is_said(twin: nn.Module, digits: Data) -> None:
    with pytest.raises(autoprune.errors.ModelError, match=r"encoder\.0\.weight is used several times"):
        autoprune.search(twin, digits, latency=False, shared="frozen")
