"""How much a unit is active: its mean activation, and how often it is not zero."""

from __future__ import annotations

from torch import Tensor

from autoprune.criteria.base import Context
from autoprune.criteria.registry import register
from autoprune.criteria.scores.activations import Activity, activities, over_reads


@register("activation")
def mean_activation(context: Context) -> dict[str, Tensor]:
    """Mean of ``|activation|`` where consumers read it.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference" (2017), take it
    after a ReLU. Where several operators read a unit, each one's means are divided by their average over the
    group first. Raises CriterionError without data.
    """

    def relative(activity: Activity) -> Tensor:
        mean = activity.magnitude.mean()
        return activity.magnitude / mean if mean > 0 else activity.magnitude

    return over_reads(context, activities(context, "activation"), relative)


@register("apoz")
def apoz(context: Context) -> dict[str, Tensor]:
    """One minus the average percentage of zeros among the activations that consumers read.

    Hu et al., "Network Trimming" (2016). The mean over all that read a unit. It differs only behind
    activation functions that give exact zeros, such as ReLU. Raises CriterionError without data.
    """
    return over_reads(context, activities(context, "apoz"), lambda a: 1 - a.zeros / a.entries)
