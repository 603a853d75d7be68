"""Cutting a model by a plan, which may be the file of an export."""

from __future__ import annotations

from pathlib import Path, PurePath

from torch import nn

from autoprune.errors import ArgumentError, PlanError, UserError
from autoprune.structure import Plan, Structure, discover
from autoprune.structure import apply as cut
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.plans import read_plan
from autoprune.utils.arguments import check_type
from autoprune.utils.untrusted import read_text


def apply(
    model: nn.Module,
    plan: Plan | str | PurePath,
    structure: Structure | None = None,
    *,
    example_inputs: ExampleInputs | None = None,
) -> nn.Module:
    """Cut a model as a plan says: a new model without the removed units, and without training.

    Args:
        model: the original model; it is left as it is.
        plan: the units that stay, or the path of a ``plan.json`` that an export wrote.
        structure: result of :func:`discover` for this model; it is discovered as the plan needs it where
            `example_inputs` are given instead.
        example_inputs: a tensor ``[1, ...]``, or the positional arguments of ``forward``.

    Returns:
        The smaller model, with the weights that stay.

    Raises:
        ArgumentError: for an argument of another type, or neither a structure nor inputs.
        UserError: when the file cannot be read.
        PlanError: when the plan does not fit, removes nothing or empties a group, or masks weights.
        ModelError: when the model cannot be traced.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> plan = autoprune.Plan({"0": (0, 2, 5)})
        >>> autoprune.apply(network, plan, example_inputs=torch.randn(1, 20))[0].out_features
        3
    """
    check_type("model", model, nn.Module, "a torch.nn.Module")
    check_type("plan", plan, (Plan, str, PurePath), "an autoprune.Plan, or the path of a plan.json")
    chosen = plan if isinstance(plan, Plan) else _read(Path(plan))
    if structure is None:
        if example_inputs is None:
            raise ArgumentError(
                "structure is None: give what autoprune.discover returned, or example_inputs such as "
                "torch.randn(1, 3, 224, 224)"
            )
        structure = discover(
            model,
            example_inputs,
            attention=chosen.attention,
            depth=chosen.depth,
            shared="untie" if chosen.untied else "joint",
        )
    return cut(model, chosen, structure)


def _read(file: Path) -> Plan:
    plan = read_plan(read_text(file, "plan", UserError))
    if not isinstance(plan, Plan):
        raise PlanError(f"{file}: the plan masks weights: apply it with autoprune apply --plan {file}")
    return plan
