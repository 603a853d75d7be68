import pytest
import torch

from autoprune.config.references import parse_quality
from autoprune.config.user_code import Permit
from autoprune.errors import DataError
from autoprune.tasks import TensorSplit, classification
from autoprune.tasks.corruption import Corruption
from autoprune.tasks.noise import counts_samples
from autoprune.tasks.objective import Objective, objective_of


def parse_objective(text):
    quality = parse_quality(text)
    return objective_of(quality, Permit.naming(quality))


def test_a_metric_and_its_noise_are_read():
    assert parse_objective("f1") == Objective("f1")
    assert parse_objective("accuracy@gaussian:0.1") == Objective("accuracy", Corruption("gaussian", 0.1))
    own = parse_objective("path/file.py:Metric@salt-pepper:0.05")
    assert own == Objective("path/file.py:Metric", Corruption("salt-and-pepper", 0.05))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accuracy@", "write gaussian:0.1"),
        ("accuracy@gausian:0.1", "did you mean gaussian?"),
        ("accuracy@salt-and-peper:0.1", "did you mean salt-and-pepper?"),
        ("accuracy@gaussian:0", "a number above 0"),
    ],
)
def test_noise_that_there_is_not(text, message):
    with pytest.raises(DataError) as caught:
        parse_objective(text)
    assert message in str(caught.value)


def test_the_task_has_the_name_of_the_whole():
    task = parse_objective("accuracy@salt-pepper:0.05").task(classification(10, "f1"))
    assert task.metric == "accuracy@salt-and-pepper:0.05"
    assert task.higher_is_better
    assert counts_samples(task)
    assert parse_objective("@gaussian:1").task(classification(10, "f1")).metric == "f1@gaussian:1"
    with pytest.raises(DataError, match="did you mean accuracy"):
        parse_objective("acuracy@gaussian:1").task(classification(10))


def test_noise_is_the_same_whatever_the_size_of_batches():
    split = TensorSplit(torch.randn(10, 4), torch.arange(10))
    noisy = parse_objective("accuracy@gaussian:0.5").split(split, 3)
    reads = [torch.cat([inputs for inputs, _ in noisy.batches(size)]) for size in (3, 10)]
    assert torch.equal(*reads)
    assert not torch.equal(reads[0], split.inputs)
    other = parse_objective("accuracy@gaussian:0.5").split(split, 4)
    assert not torch.equal(next(other.batches(10))[0], reads[0])
    assert parse_objective("accuracy").split(split, 0) is split
