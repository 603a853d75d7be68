"""Models that cannot be pruned as they are: each is refused in one line that says what to do."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from autoprune.errors import ModelError

QUANTISED = (
    "torch.ao.nn.quantized",
    "torch.ao.nn.intrinsic.quantized",
    "torch.ao.nn.sparse",
    "bitsandbytes.",
)
"""Where layers live whose weights are quantised."""
IMITATING = ("torch.ao.nn.qat", "torch.ao.nn.intrinsic.qat", "torchao.quantization.qat")
"""Where layers live that imitate quantised ones while they train."""
OBSERVING = ("FakeQuantizeBase", "ObserverBase")
"""Base classes, of ``torch.ao.quantization``, of modules that imitate quantised activations or watch them."""
_OLD_NORMS = {WeightNorm: "weight_norm", SpectralNorm: "spectral_norm"}


def require_prunable(model: nn.Module) -> None:
    """Raise ModelError, with module and remedy, for what cannot be copied, traced or cut."""
    for path, module in model.named_modules():
        fault = _module_fault(path, module)
        if fault:
            raise ModelError(fault)
    for listing in (model.named_parameters, model.named_buffers):
        for name, tensor in listing():
            fault = _tensor_fault(name, tensor)
            if fault:
                raise ModelError(fault)


def copying_remedy(model: nn.Module) -> str:
    """What to do about a model that cannot be copied for the history of a tensor; empty if there is none."""
    for path, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            kind = _OLD_NORMS.get(type(hook))
            if kind is not None:
                return (
                    f"{_named(path)} has torch.nn.utils.{kind}: use torch.nn.utils.parametrizations.{kind} "
                    f"instead, or make its weight plain with "
                    f"torch.nn.utils.remove_{kind}({_expression(path)}, {hook.name!r})"
                )
        for name, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                return f"{name} of {_named(path)} is the result of a computation: keep {name}.detach() there"
    return ""


def plain_remedies(model: nn.Module) -> dict[str, str]:
    """Layer, as structures name it -> what makes the weight that it computes plain."""
    remedies: dict[str, str] = {}
    for path, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            kind = _OLD_NORMS.get(type(hook))
            if kind is not None:
                remedies[path] = f"torch.nn.utils.remove_{kind}({_expression(path)}, {hook.name!r})"
        for leaf in getattr(module, "parametrizations", None) or ():
            removal = "torch.nn.utils.parametrize.remove_parametrizations"
            inside = f"{path}.parametrizations.{leaf}".lstrip(".")
            remedies[inside] = f"{removal}({_expression(path)}, {leaf!r})"
    return remedies


def _module_fault(path: str, module: nn.Module) -> str:
    where, kind = type(module).__module__, f"{type(module).__module__}.{type(module).__name__}"
    if isinstance(module, torch.jit.ScriptModule):
        return f"{_named(path)} is TorchScript, which cannot be cut: prune the Python model behind it"
    if isinstance(module, torch.fx.GraphModule) and "train" in vars(module):
        return f"{_named(path)} was made by torch.export, which fixes its sizes: prune the original model"
    if isinstance(module, DistributedDataParallel):
        return f"{_named(path)} is wrapped in DistributedDataParallel: prune its .module, then wrap that"
    if where.startswith(QUANTISED):
        return (
            f"{_named(path)} holds quantised weights ({kind}), which cannot be cut: "
            "prune the float model, then quantise the pruned one"
        )
    if where.startswith(IMITATING) or any(base.__name__ in OBSERVING for base in type(module).__mro__):
        return (
            f"{_named(path)} is there to quantise the model ({kind}): prune the float model first, then "
            "prepare the pruned one for quantisation and train it"
        )
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod):
            return (
                f"{_named(path)} has a mask of torch.nn.utils.prune: make it permanent with "
                f"torch.nn.utils.prune.remove({_expression(path)}, {hook._tensor_name!r})"
            )
    return ""


def _tensor_fault(name: str, tensor: Tensor) -> str:
    if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
        return f"{name} is of a lazy layer that never ran: call the model once on real input first"
    if tensor.is_meta:
        return (
            f"{name} is on the meta device, where tensors hold no values: "
            "load its weights first, or call model.to_empty(device='cpu')"
        )
    if tensor.is_quantized:
        return f"{name} is quantised, and cannot be cut: prune the float model, then quantise the pruned one"
    if tensor.layout != torch.strided:
        return f"{name} is stored as {tensor.layout}, and cannot be cut: store it dense, with .to_dense()"
    if is_traceable_wrapper_subclass(tensor):
        return (
            f"{name} is a {type(tensor).__module__}.{type(tensor).__name__}, which cannot be cut: "
            "prune the model with plain tensors, then quantise or distribute the pruned one"
        )
    return ""


def _named(path: str) -> str:
    return f"module {path!r}" if path else "the model"


def _expression(path: str) -> str:
    return f"model.get_submodule({path!r})" if path else "model"
