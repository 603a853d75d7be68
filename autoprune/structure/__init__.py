"""What can be cut in a model, and how: trace, labels, groups, plans, surgery, proof."""

from autoprune.structure.discovery import discover
from autoprune.structure.groups import Extent, Group, Operation, Slice, Structure
from autoprune.structure.plan import Plan
from autoprune.structure.surgery import apply

__all__ = ["Extent", "Group", "Operation", "Plan", "Slice", "Structure", "apply", "discover"]
