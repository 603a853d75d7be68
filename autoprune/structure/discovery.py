"""What can be cut in a model."""

from __future__ import annotations

from torch import nn

import autoprune.structure.rules  # noqa: F401 - fills the table of operator rules
from autoprune.structure.groups import Structure
from autoprune.structure.proof import prove
from autoprune.structure.propagate import Propagation
from autoprune.structure.trace import ExampleInputs, trace
from autoprune.structure.units import assemble


def discover(model: nn.Module, example_inputs: ExampleInputs) -> Structure:
    """Find the groups of units that can be removed, and prove each of them by running a cut.

    Args:
        model: any module that ``torch.export`` can follow; it is not changed.
        example_inputs: a tensor, or the tuple of positional arguments of ``forward``. FLOPs are
            counted for inputs of exactly this shape, so give a batch of one sample.

    Returns:
        The groups, and for every layer that must stay as it is, the reason.

    Raises:
        ModelError: when the model does not run on the inputs or cannot be traced.
    """
    propagation = Propagation(trace(model, example_inputs))
    propagation.run()
    return prove(model, assemble(propagation), example_inputs)
