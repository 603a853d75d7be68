"""Run with ``-m benchmark_suite --benchmark-enable``; goals on one core: discovery 10 s, surgery 0.3 s."""

from collections.abc import Iterator

import pytest
import torch
import torchvision
from pytest_benchmark.fixture import BenchmarkFixture

from autoprune.structure import apply, discover
from autoprune.structure.verification.verify import half_plan

pytestmark = pytest.mark.benchmark_suite
IMAGE = torch.zeros(1, 3, 224, 224)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_discovery_of_resnet50(benchmark: BenchmarkFixture) -> None:
    model = torchvision.models.resnet50(weights=None)
    structure = benchmark.pedantic(discover, (model, IMAGE), rounds=3)
    assert len(structure.groups) == 37


def test_surgery_on_resnet50(benchmark: BenchmarkFixture) -> None:
    model = torchvision.models.resnet50(weights=None)
    structure = discover(model, IMAGE)
    plan = half_plan(structure, structure.groups)
    pruned = benchmark.pedantic(apply, (model, plan, structure), rounds=10, warmup_rounds=1)
    assert pruned.fc.in_features == 1024
