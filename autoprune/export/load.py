"""A pruned model from its plan and weights."""

from __future__ import annotations

import copy
from pathlib import Path

from torch import nn

from autoprune.errors import UserError
from autoprune.structure import Plan, Sharing, apply, discover
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.masks import MaskPlan, discover_masks
from autoprune.structure.plans import read_plan
from autoprune.structure.wrappers import unwrapped
from autoprune.tasks import load_weights
from autoprune.utils.untrusted import read_text

PLAN_FILE = "plan.json"
WEIGHTS_FILE = "model.safetensors"


def load_exported(folder: str | Path, model: nn.Module, example_inputs: ExampleInputs) -> nn.Module:
    """Rebuild the pruned model of an export folder in the ``state`` format.

    Args:
        folder: contains ``plan.json`` and ``model.safetensors``.
        model: the original model with any weights; it is not modified.
        example_inputs: one sample in a batch, as for :func:`autoprune.discover`.

    Returns:
        The pruned model in evaluation mode.

    Raises:
        PlanError: if the plan is invalid or does not fit the model, or weights that it masks are not zero.
        ModelError: if the model cannot be traced, or the weights are missing or do not fit.
        UserError: if there is no plan in the folder.
    """
    plan = read_plan(read_text(Path(folder) / PLAN_FILE, "plan", UserError))
    model = unwrapped(model)
    # An exported original model has a plan without groups; masks change no shape.
    if isinstance(plan, Plan) and plan.keep:
        shared: Sharing = "untie" if plan.untied else "joint"
        structure = discover(model, example_inputs, attention=plan.attention, depth=plan.depth, shared=shared)
        pruned = apply(model, plan, structure)
    else:
        pruned = copy.deepcopy(model)
    load_weights(pruned, Path(folder) / WEIGHTS_FILE)
    if isinstance(plan, MaskPlan) and plan.layers:
        plan.check_zeros(pruned, discover_masks(pruned, example_inputs, plan.granularity))
    return pruned.eval()
