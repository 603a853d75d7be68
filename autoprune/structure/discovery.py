"""What can be cut in a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import nn

import autoprune.structure.propagation.rules  # noqa: F401 - fills the table of operator rules
from autoprune.errors import ModelError, UserError
from autoprune.structure.admission import plain_remedies
from autoprune.structure.blocks import with_blocks
from autoprune.structure.graph.trace import Trace, trace
from autoprune.structure.graph.values import ExampleInputs, check_inputs
from autoprune.structure.groups import AttentionUnit, Structure
from autoprune.structure.propagation.grouping import assemble
from autoprune.structure.propagation.propagate import AT_INPUT, AT_OUTPUT, Propagation
from autoprune.structure.surgery.untie import plan_untying, untied
from autoprune.structure.verification.prove import prove
from autoprune.structure.verification.reference import Reference
from autoprune.structure.wrappers import unwrapped
from autoprune.utils.arguments import check_type

Sharing = Literal["joint", "frozen", "untie"]
"""What becomes of weights that are used several times."""


# Code that compiles itself would be compiled again for every shape that the proof runs it on.
@torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
def discover(
    model: nn.Module,
    example_inputs: ExampleInputs,
    *,
    attention: AttentionUnit = "heads",
    depth: bool = False,
    shared: Sharing = "joint",
) -> Structure:
    """Find the groups of units that can be removed, and prove each of them by running a cut.

    Args:
        model: any module that ``torch.export`` can follow; it is not changed. Of a wrapper, such as
            ``torch.compile`` gives, the model inside is meant, here and in all that takes models.
        example_inputs: a tensor, or the tuple of positional arguments of ``forward``. FLOPs are
            counted for inputs of exactly this shape, so give a batch of one sample.
        attention: what a unit of an attention is: a whole head, or one position in the width of every
            head; where the width is fixed, as by rotary embeddings, heads are the units either way.
        depth: also find the residual blocks that can be taken out whole: groups of the kind
            ``"block"``, each of one unit.
        shared: what becomes of a weight that is used several times. ``"joint"``: all uses are cut
            together; ``"frozen"``: it stays as it is; ``"untie"``: each use gets a copy of its own and
            is cut alone, see :func:`autoprune.structure.untie`. The structure then describes the untied
            model, and its costs count the copies; plans are still applied to the model given here.

    Returns:
        The groups, and for every layer that must stay as it is, the reason.

    Raises:
        ArgumentError: for an argument of another type.
        ModelError: when the model does not run on the inputs or cannot be traced.
        UserError: for an unknown way to treat shared weights.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> structure = autoprune.discover(network, torch.randn(1, 20))
        >>> structure.widths
        {'0': 8}
        >>> structure.frozen
        {'2': "reaches the model's output"}
    """
    check_type("model", model, nn.Module, "a torch.nn.Module")
    check_inputs(example_inputs)
    check_type("depth", depth, bool, "True or False")
    if attention not in get_args(AttentionUnit):
        raise UserError(f"attention={attention!r} is unknown: use 'heads' or 'width'")
    if shared not in get_args(Sharing):
        raise UserError(f"shared={shared!r} is unknown: use {', '.join(map(repr, get_args(Sharing)))}")
    model = unwrapped(model)
    untying = plan_untying(model, example_inputs) if shared == "untie" else None
    model = untied(model, untying) if untying is not None else model
    evaluation = trace(model, example_inputs)
    training, unread = _training_trace(model, example_inputs, evaluation)
    propagation = Propagation(evaluation, attention)
    propagation.run(training)
    structure = assemble(propagation, unread)
    if shared == "frozen":
        structure = structure.without(_reused(structure, evaluation))
    reference = Reference.of(evaluation, propagation)
    structure = prove(model, structure, example_inputs, reference=reference)
    if training is not None:
        reference = Reference.of(training, propagation)
        structure = prove(model, structure, example_inputs, training=True, reference=reference)
    if depth:
        structure = with_blocks(model, structure, propagation, example_inputs)
        if shared == "frozen":
            structure = structure.without(_reused(structure, evaluation))
    return replace(structure, frozen=_with_remedies(model, structure), untying=untying)


def _with_remedies(model: nn.Module, structure: Structure) -> dict[str, str]:
    """The frozen layers; of those that compute their weight, the reason ends with what makes it plain."""
    remedies = plain_remedies(model)
    return {
        layer: f"{reason}; {remedies[layer]} makes its weight plain"
        if layer in remedies and reason not in (AT_INPUT, AT_OUTPUT)
        else reason
        for layer, reason in structure.frozen.items()
    }


def traced_structure(model: nn.Module, example_inputs: ExampleInputs) -> Structure:
    """Groups and operators as the trace gives them, not proved: enough to count what the model costs.

    Raises ModelError when the model does not run on the inputs or cannot be traced.
    """
    propagation = Propagation(trace(unwrapped(model), example_inputs))
    propagation.run()
    return assemble(propagation)


def _reused(structure: Structure, traced: Trace) -> dict[str, str]:
    """Group name -> reason, for groups that reach into a parameter which several operators read."""
    uses: Counter[str] = Counter()
    for node in traced.graph.nodes:
        if node.op == "placeholder" and node.name in traced.state:
            uses[traced.state[node.name]] += len(node.users)
    several = {name for name in traced.parameters if uses[name] > 1}
    reasons = {}
    for group in structure.groups:
        reached = [part.parameter for part in group.slices]
        if group.block is not None:
            reached = sorted(group.block.tensors)
        name = next((name for name in reached if name in several), None)
        if name is not None:
            reasons[group.name] = f"{name} is used several times"
    return reasons


def _training_trace(
    model: nn.Module, example_inputs: ExampleInputs, evaluation: Trace
) -> tuple[Trace | None, str]:
    """The graph in training mode, if it reads parameters that the other graph does not: auxiliary heads.

    Returns:
        The graph or None, and what there is to say of parameters that neither reads.
    """
    if not evaluation.unread:
        return None, ""
    try:
        training = trace(model, example_inputs, training=True)
    except ModelError as error:
        return None, f"read in training mode only, if at all, and may not fit after a cut: there, {error}"
    return training if training.unread < evaluation.unread else None, "forward never reads it"
