"""autoprune: searches per-layer sparsity for a trained PyTorch model.

Names are loaded when they are first used, so that ``autoprune --help`` does not wait for PyTorch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.api import Study, export, search
    from autoprune.criteria import register as register_criterion
    from autoprune.structure import Group, Plan, Structure, apply, discover, restrict
    from autoprune.structure.masks import fold
    from autoprune.tasks import Data
    from autoprune.workflows.mask import mask
    from autoprune.workflows.prune import prune

_HOME = {
    "Data": ("autoprune.tasks", "Data"),
    "Group": ("autoprune.structure", "Group"),
    "Plan": ("autoprune.structure", "Plan"),
    "Structure": ("autoprune.structure", "Structure"),
    "Study": ("autoprune.api", "Study"),
    "apply": ("autoprune.structure", "apply"),
    "discover": ("autoprune.structure", "discover"),
    "export": ("autoprune.api", "export"),
    "fold": ("autoprune.structure.masks", "fold"),
    "mask": ("autoprune.workflows.mask", "mask"),
    "prune": ("autoprune.workflows.prune", "prune"),
    "restrict": ("autoprune.structure", "restrict"),
    "register_criterion": ("autoprune.criteria", "register"),
    "search": ("autoprune.api", "search"),
}

__all__ = [
    "Data",
    "Group",
    "Plan",
    "Structure",
    "Study",
    "apply",
    "discover",
    "export",
    "fold",
    "mask",
    "prune",
    "register_criterion",
    "restrict",
    "search",
]


def _lazy(home: str, attribute: str) -> property:
    def load(_: ModuleType) -> Any:
        return getattr(import_module(home), attribute)

    def ignore(_: ModuleType, value: Any) -> None:
        """Importing a subpackage sets it on its parent; the public name stays what it is."""

    return property(load, ignore)


# Properties rather than a module-level __getattr__: `search` and `export` are also subpackages, and
# would become those as soon as something imports them.
_public = {name: _lazy(*place) for name, place in _HOME.items()}
sys.modules[__name__].__class__ = type("_Package", (ModuleType,), _public)
