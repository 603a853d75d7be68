"""autoprune: searches per-layer sparsity for a trained PyTorch model.

Names are loaded when they are first used, so that ``autoprune --help`` does not wait for PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.api import Study, open_study, search
    from autoprune.api.models import inspect, measure
    from autoprune.config.settings import Config
    from autoprune.criteria import register as register_criterion
    from autoprune.structure import Group, Plan, Structure, discover, restrict
    from autoprune.structure.masks import fold
    from autoprune.study.listener import Listener
    from autoprune.tasks import Data
    from autoprune.workflows.apply_plan import apply
    from autoprune.workflows.mask import mask
    from autoprune.workflows.prune import prune

    __version__: str

_HOME = {
    "Config": ("autoprune.config.settings", "Config"),
    "Data": ("autoprune.tasks", "Data"),
    "Group": ("autoprune.structure", "Group"),
    "Listener": ("autoprune.study.listener", "Listener"),
    "Plan": ("autoprune.structure", "Plan"),
    "Structure": ("autoprune.structure", "Structure"),
    "Study": ("autoprune.api", "Study"),
    "apply": ("autoprune.workflows.apply_plan", "apply"),
    "discover": ("autoprune.structure", "discover"),
    "fold": ("autoprune.structure.masks", "fold"),
    "inspect": ("autoprune.api.models", "inspect"),
    "mask": ("autoprune.workflows.mask", "mask"),
    "measure": ("autoprune.api.models", "measure"),
    "open_study": ("autoprune.api", "open_study"),
    "prune": ("autoprune.workflows.prune", "prune"),
    "register_criterion": ("autoprune.criteria", "register"),
    "restrict": ("autoprune.structure", "restrict"),
    "search": ("autoprune.api", "search"),
}

__all__ = [
    "Config",
    "Data",
    "Group",
    "Listener",
    "Plan",
    "Structure",
    "Study",
    "__version__",
    "apply",
    "discover",
    "fold",
    "inspect",
    "mask",
    "measure",
    "open_study",
    "prune",
    "register_criterion",
    "restrict",
    "search",
]


def __getattr__(name: str) -> Any:
    """The public name, loaded when it is first used. No submodule may have one of these names."""
    if name == "__version__":
        from importlib.metadata import version

        return version(__name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
