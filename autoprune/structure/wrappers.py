"""Models without the wrappers that train or run them: torch.compile, DataParallel, Lightning, Accelerate."""

from __future__ import annotations

from torch import nn

_INNER = {
    ("torch", "OptimizedModule"): "_orig_mod",
    ("torch", "DataParallel"): "module",
    ("torch", "DistributedDataParallel"): "module",
    ("lightning", "_FabricModule"): "_original_module",
    ("lightning_fabric", "_FabricModule"): "_original_module",
    ("deepspeed", "DeepSpeedEngine"): "module",
}
"""Package and class of a wrapper -> where it keeps the model; named, so that none has to be imported."""
_COMPILED_CALL = "_compiled_call_impl"
_OWN_FORWARD = "_original_forward"
"""Where Accelerate keeps a model's forward, which it replaces by one in mixed precision."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, or where something inside it is wrapped, a copy of the modules around that.

    The copy shares every tensor; the given model and its modules stay as they are. A model without wrappers
    is returned as it is.
    """
    return _unwrapped(model, {})


def _unwrapped(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    if id(module) not in done:
        done[id(module)] = module  # of a module that holds itself
        done[id(module)] = _without_own(_peeled(module), done)
    return done[id(module)]


def _peeled(module: nn.Module) -> nn.Module:
    while (inner := _inner(module)) is not None:
        module = inner
    return module


def _inner(module: nn.Module) -> nn.Module | None:
    """What a wrapper holds; None for a module that is no wrapper."""
    for kind in type(module).__mro__:
        name = _INNER.get((kind.__module__.partition(".")[0], kind.__name__))
        if name is not None:
            inner = getattr(module, name, None)
            return inner if isinstance(inner, nn.Module) else None
    return None


def _without_own(module: nn.Module, done: dict[int, nn.Module]) -> nn.Module:
    """The module with unwrapped submodules and its own forward, or itself where it has them already."""
    children = {
        name: None if child is None else _unwrapped(child, done) for name, child in module._modules.items()
    }
    changed = any(children[name] is not child for name, child in module._modules.items())
    added = [name for name in (_COMPILED_CALL, _OWN_FORWARD) if vars(module).get(name) is not None]
    if not changed and not added:
        return module
    copied: nn.Module = object.__new__(type(module))
    vars(copied).update({name: value for name, value in vars(module).items() if name not in added})
    vars(copied)["_modules"] = children
    if _OWN_FORWARD in added:
        original = vars(module)[_OWN_FORWARD]
        if getattr(original, "__func__", None) is type(module).forward:
            vars(copied).pop("forward", None)
        else:
            vars(copied)["forward"] = original
    return copied
