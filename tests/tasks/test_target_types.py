"""Every metric takes targets of every type that its task's loss takes, and gives the same value."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import DataError
from autoprune.tasks import Task, TensorSplit, evaluate, task_by_name

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8)
TRUTHS = (*INTEGERS, torch.bool, torch.float32, torch.float64, torch.bfloat16)
OUTPUTS = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(24) % 3
CASES = {
    "classification": (OUTPUTS, CLASSES, INTEGERS, ("accuracy", "top2", "f1", "auroc")),
    "binary": (OUTPUTS[:, 0], CLASSES % 2, TRUTHS, ("accuracy", "f1", "auroc")),
    "multilabel": (OUTPUTS, nn.functional.one_hot(CLASSES, 3), TRUTHS, ("accuracy", "f1", "auroc")),
    "regression": (OUTPUTS, OUTPUTS.round().abs(), TRUTHS, ("mse", "rmse", "mae", "r2")),
    "sequence": (OUTPUTS.reshape(8, 3, 3), CLASSES.reshape(8, 3), INTEGERS, ("perplexity", "accuracy")),
}


def score(task: Task, outputs: Tensor, targets: Tensor) -> tuple[float, float]:
    found = evaluate(nn.Identity(), TensorSplit(outputs, targets), task, batch_size=7)
    return found.value, found.loss


@pytest.mark.parametrize("kind", CASES)
def test_the_type_of_targets_changes_nothing(kind: str) -> None:
    outputs, targets, types, metrics = CASES[kind]
    for metric in metrics:
        task = task_by_name(kind, 3).measured_by(metric)
        for dtype in types:
            same = targets.bool() if dtype is torch.bool else targets
            value, loss = score(task, outputs, same.to(dtype))
            expected, expected_loss = score(task, outputs, same.to(types[0]))
            assert value == pytest.approx(expected, rel=1e-5), (metric, dtype)
            assert loss == pytest.approx(expected_loss, rel=1e-5), (metric, dtype)
            leaf = outputs.clone().requires_grad_()
            torch.autograd.backward(task.loss(leaf, same.to(dtype)))
            assert leaf.grad is not None


@pytest.mark.parametrize("metric", ["accuracy", "f1", "auroc"])
def test_targets_between_0_and_1_are_no_labels_to_count(metric: str) -> None:
    task = task_by_name("multilabel", 3).measured_by(metric)
    with pytest.raises(DataError, match=r"targets must be 0 or 1, got 0\.25"):
        score(task, OUTPUTS, torch.full((24, 3), 0.25))


def test_auroc_leaves_out_classes_without_samples() -> None:
    known = CLASSES % 2
    two = score(task_by_name("classification", 2).measured_by("auroc"), OUTPUTS[:, :2], known)[0]
    # A third class whose logit is far below the others changes no order.
    outputs = torch.cat([OUTPUTS[:, :2], torch.full((24, 1), -99.0)], 1)
    assert score(task_by_name("classification", 3).measured_by("auroc"), outputs, known)[0] == pytest.approx(
        two
    )


@pytest.mark.parametrize("kind", ["classification", "binary", "multilabel"])
def test_auroc_of_one_class_is_no_number(kind: str) -> None:
    outputs, targets, _, _ = CASES[kind]
    task = task_by_name(kind, 3).measured_by("auroc")
    assert math.isnan(score(task, outputs, torch.zeros_like(targets))[0])


def test_regression_pairs_no_output_with_another_target() -> None:
    with pytest.raises(DataError, match="one shape"):
        score(task_by_name("regression"), OUTPUTS[:, :1], OUTPUTS[:, 0])
