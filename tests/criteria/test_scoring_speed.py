"""Run with ``-m benchmark_suite --benchmark-enable``; goal: ten passes forward and backward over the data.

In CPU time of one thread, which other work on the machine hardly changes. ``studies/criteria/timing.py``
records the same.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator

import pytest
import torch
import torchvision
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn import functional as F

from autoprune.cost import CostModel
from autoprune.cost.prices import unit_prices
from autoprune.criteria import Context, criterion, names, score_units
from autoprune.structure import discover

pytestmark = pytest.mark.benchmark_suite
MOST_PASSES = 10
SPECS = (
    *names(),
    "entropy:rule=min",
    "group-norm:p=1,reduce=prod,normalize=gaussian",
    "hessian:diagonal=weights",
    "robustness:noise=salt-and-pepper",
    "taylor/flops^0.5",
)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def resnet(one_thread: None) -> Context:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None).eval()
    structure = discover(model, torch.zeros(1, 3, 224, 224))
    data = [(torch.randn(4, 3, 224, 224), torch.randint(0, 1000, (4,))) for _ in range(2)]
    prices = unit_prices(CostModel.of(structure, model))
    return Context(model, structure, lambda: data, F.cross_entropy, prices=prices)


@pytest.fixture(scope="module")
def one_pass(resnet: Context) -> float:
    """Seconds of one pass forward and backward over the data, the least of three."""

    def run() -> float:
        start = time.process_time()
        for inputs, targets in resnet.data("none"):
            loss = F.cross_entropy(resnet.model(inputs), targets)
            torch.autograd.grad(loss, list(resnet.model.parameters()))
        return time.process_time() - start

    return min(run() for _ in range(3))


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("spec", SPECS)
def test_scoring_resnet18(benchmark: BenchmarkFixture, resnet: Context, one_pass: float, spec: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = benchmark.pedantic(score_units, (criterion(spec), resnet), rounds=1)
    passes = benchmark.stats.stats.min / one_pass
    benchmark.extra_info["passes"] = round(passes, 2)
    assert set(scores) == set(resnet.structure.widths)
    assert passes <= MOST_PASSES
