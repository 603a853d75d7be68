import pytest
import torch

from autoprune.errors import DataError
from autoprune.tasks import classification, regression, task_by_name


def test_classification_measures_the_share_of_correct_samples():
    task = classification(3)
    metric = task.new_metric()
    metric.update(torch.tensor([[9.0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 9, 0]]), torch.tensor([0, 0, 0, 2]))

    assert float(metric.compute()) == 0.5
    assert task.higher_is_better


def test_regression_is_better_when_lower():
    task = regression()
    assert not task.higher_is_better
    assert float(task.loss(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))) == 2.0


def test_metrics_are_not_shared():
    task = classification(2)
    task.new_metric().update(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    fresh = task.new_metric()
    fresh.update(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
    assert float(fresh.compute()) == 1.0


@pytest.mark.parametrize(
    ("name", "classes"), [("ranking", 3), ("classification", None), ("classification", 1)]
)
def test_tasks_that_cannot_be_made(name, classes):
    with pytest.raises(DataError):
        task_by_name(name, classes)


def test_task_by_name():
    assert task_by_name("regression").metric == "mse"
    assert task_by_name("classification", 4).metric == "accuracy"
