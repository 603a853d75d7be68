"""Torch-Pruning's one-shot methods, each cut to every level and recovered alike.

Install it with ``pip install torch-pruning==1.6.1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch_pruning as tp
from subject import LEVELS, Run, bisected, copy_of
from torch import nn


@dataclass(frozen=True)
class Method:
    """How units are ranked, and whether those of all layers compete."""

    name: str
    importance: Callable[[], tp.importance.Importance]
    everywhere: bool = False
    isomorphic: bool = False
    gradients: bool = False


METHODS = (
    Method("uniform L2", lambda: tp.importance.MagnitudeImportance(p=2)),
    Method(
        "global L2, isomorphic",
        lambda: tp.importance.MagnitudeImportance(p=2),
        everywhere=True,
        isomorphic=True,
    ),
    Method("global Taylor", lambda: tp.importance.TaylorImportance(), everywhere=True, gradients=True),
    Method("group norm", lambda: tp.importance.GroupMagnitudeImportance(p=2), everywhere=True),
)


def run(run: Run) -> None:
    """Every method at every level, the middle ones first."""
    for level, method in product((0.5, 0.25, 0.35, 0.7), METHODS):
        if run.over:
            return
        ratio = bisected(lambda ratio, m=method: _share(run, m, ratio), level)
        run.both(f"Torch-Pruning {method.name}", _cut(run, method, ratio))


def _share(run: Run, method: Method, ratio: float) -> float:
    return run.multiply_adds(_cut(run, method, ratio)) / run.original


def _cut(run: Run, method: Method, ratio: float) -> nn.Module:
    model = copy_of(run.problem.model).eval()
    if method.gradients:
        for inputs, targets in run.calibration():
            run.problem.data.task.loss(model(inputs), targets).backward()
    classifiers = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    pruner = tp.pruner.BasePruner(
        model,
        run.problem.data.example(1),
        importance=method.importance(),
        global_pruning=method.everywhere,
        isomorphic=method.isomorphic,
        pruning_ratio=ratio,
        max_pruning_ratio=0.95,
        ignored_layers=classifiers,
    )
    pruner.step()
    model.zero_grad(set_to_none=True)
    return model


assert set(LEVELS) == {0.5, 0.25, 0.35, 0.7}
