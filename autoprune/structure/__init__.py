"""What can be cut in a model, and how: trace, labels, groups, plans, surgery, proof."""

from autoprune.structure.discovery import Sharing, discover
from autoprune.structure.groups import Extent, Group, Operation, Slice, Structure
from autoprune.structure.plan import Plan
from autoprune.structure.restriction import restrict
from autoprune.structure.surgery.apply import apply
from autoprune.structure.surgery.untie import untie

__all__ = [
    "Extent",
    "Group",
    "Operation",
    "Plan",
    "Sharing",
    "Slice",
    "Structure",
    "apply",
    "discover",
    "restrict",
    "untie",
]
