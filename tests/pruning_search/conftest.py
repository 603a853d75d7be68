from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune.api import Study
from autoprune.config.settings import load_config
from autoprune.pruning_search import Problem, create_study, prepare, run
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.sensitivity import sensitivity
from autoprune.recovery import Recipe, finetune
from autoprune.review import Listener
from autoprune.tasks import Data, load_data


class TinyNet(nn.Module):
    """A residual network of 4 groups that learns digits in a second."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.conv1 = nn.Conv2d(12, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 12, 3, padding=1)
        self.down = nn.Sequential(nn.Conv2d(12, 20, 3, stride=2), nn.BatchNorm2d(20), nn.ReLU())
        self.hidden = nn.Linear(20, 24)
        self.head = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return self.head(torch.relu(self.hidden(self.down(x).mean((2, 3)))))


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture(scope="session")
def tiny(digits: Data) -> nn.Module:
    torch.manual_seed(0)
    model = TinyNet()
    finetune(model, digits, Recipe(steps=120, lr=0.1, batch_size=64, schedule="onecycle"), seed=0)
    return model.eval()


@pytest.fixture
def make_problem(tiny: nn.Module, digits: Data, tmp_path: Path) -> Callable[..., Problem]:
    def make(**settings: object) -> Problem:
        given = {
            "budget": ("flops=50%", "trials=6"),
            "storage": f"sqlite:///{tmp_path}/study.db",
            "finetune_steps": 4,
            "latency": False,
            "calibration_batches": 2,
        }
        return prepare(load_config(None, given | settings), Listener(), model=tiny, data=digits)

    return make


@pytest.fixture
def make_study(make_problem: Callable[..., Problem]) -> Callable[..., Study]:
    """Searches to its end what :func:`make_problem` makes."""

    def make(**settings: object) -> Study:
        problem = make_problem(**settings)
        found = create_study(problem)
        run(problem, found, WeightStore.beside(problem.config.storage, found.study_name), Listener())
        return Study(found, problem)

    return make


@pytest.fixture
def curves_of() -> Callable[[Problem], dict[str, Curve]]:
    """Measures the sensitivity curves of a problem."""
    return lambda problem: sensitivity(problem, create_study(problem), Listener())
