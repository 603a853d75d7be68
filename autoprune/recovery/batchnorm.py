"""BatchNorm recalibration: statistics that fit the pruned network, without training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.tasks.evaluate import call, device_of, training_mode
from autoprune.tasks.layout import fast_layout


def recalibrate(model: nn.Module, batches: Iterable[Tensor]) -> int:
    """Re-estimate the running statistics of all BatchNorm modules of ``model``, in place.

    They become the average over ``batches`` (inputs ``[N, ...]``), as in Li et al., "EagleEye" (2020).
    A batch of one sample, of which some layers have no variance, is left out where there are larger ones;
    where there are none, samples of one shape make a batch. Momentum and training flags are left as they
    were. Returns the number of BatchNorm modules; without any, no batch is read.

    Raises DataError when the model cannot take a batch.
    """
    modules = [
        module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats
    ]
    if not modules:
        return 0
    device = device_of(model)
    momenta = [module.momentum for module in modules]
    with training_mode(model, False), fast_layout(model) as settle, torch.no_grad():
        try:
            for module in modules:
                module.reset_running_stats()
                module.momentum = None
                module.training = True
            for inputs in several(batches):
                inputs = inputs.to(device)
                settle(inputs)
                call(model, inputs)
        finally:
            for module, momentum in zip(modules, momenta, strict=True):
                module.momentum = momentum
    return len(modules)


def several(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Batches ``[N, ...]`` of at least two samples, where that can be: see :func:`recalibrate`."""
    singles, larger = [], False
    for inputs in batches:
        if len(inputs) > 1:
            larger = True
            yield inputs
        elif not larger:
            singles.append(inputs)
    if not larger:
        for _, alike in groupby(singles, key=lambda inputs: inputs.shape):
            yield torch.cat(list(alike))


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Meanwhile every BatchNorm of ``model`` normalises each batch by that batch's own statistics.

    One pass over some hundred samples then says about what recalibration and another pass would. The running
    statistics are not touched.
    """
    modules = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    running = [(module.running_mean, module.running_var) for module in modules]
    try:
        for module in modules:
            module.running_mean = module.running_var = None
        yield
    finally:
        for module, (mean, variance) in zip(modules, running, strict=True):
            module.running_mean, module.running_var = mean, variance
