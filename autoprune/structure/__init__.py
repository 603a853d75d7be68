"""What can be cut in a model, and how: trace, labels, groups, plans, surgery, proof."""

from autoprune.structure.control import restrict
from autoprune.structure.discovery import Sharing, discover
from autoprune.structure.groups import Extent, Group, Operation, Slice, Structure
from autoprune.structure.plan import Plan
from autoprune.structure.sharing import untie
from autoprune.structure.surgery import apply

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
