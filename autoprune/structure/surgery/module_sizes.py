"""Module attributes that state a size follow the tensors after a cut."""

from __future__ import annotations

from typing import Any

from torch import nn

from autoprune.structure.surgery.slim import SlimMultiheadAttention, slim
from autoprune.structure.surgery.slim.recurrent import resize

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def follow(original: nn.Module, pruned: nn.Module) -> None:
    """Set the size attributes of every layer of `pruned` whose own tensors differ in shape."""
    for before, after in zip(original.modules(), pruned.modules(), strict=True):
        own = zip(_own_tensors(before), _own_tensors(after), strict=True)
        if any(old.shape != new.shape for old, new in own):
            _set_sizes(before, after)
        shapes = [[tensor.shape for tensor in module.parameters()] for module in (before, after)]
        if shapes[0] != shapes[1]:
            slim(after)
    for module in pruned.modules():
        if isinstance(module, nn.TransformerEncoder) and _has_slim_attention(module):
            # Nested tensors are for the fused layers alone.
            module.enable_nested_tensor = module.use_nested_tensor = False


def _has_slim_attention(module: nn.Module) -> bool:
    return any(isinstance(inner, SlimMultiheadAttention) for inner in module.modules())


def _own_tensors(module: nn.Module) -> list[Any]:
    tensors = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return [tensor for tensor in tensors if tensor is not None]


def _set_sizes(before: nn.Module, module: nn.Module) -> None:
    if isinstance(module, _CONVOLUTIONS) and isinstance(before, _CONVOLUTIONS):
        depthwise = before.groups > 1 and before.weight.shape[1] == 1
        if depthwise:
            module.groups = module.weight.shape[0] // (before.out_channels // before.groups)
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, _TRANSPOSED) and isinstance(before, _TRANSPOSED):
        if before.groups > 1 and before.groups == before.in_channels:
            module.groups = module.weight.shape[0]
        module.in_channels = module.weight.shape[0]
        module.out_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = _own_tensors(module)[0].shape[0]
    elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
        module.normalized_shape = tuple(module.weight.shape)
    elif isinstance(module, nn.GroupNorm):
        if module.num_groups == module.num_channels:
            module.num_groups = module.weight.shape[0]
        module.num_channels = module.weight.shape[0]
    elif isinstance(module, nn.RNNBase):
        resize(module)
    elif isinstance(module, nn.RNNCellBase):
        module.hidden_size, module.input_size = module.weight_hh.shape[1], module.weight_ih.shape[1]
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        module.embedding_dim = module.weight.shape[1]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.shape[0]
