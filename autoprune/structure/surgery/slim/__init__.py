"""Modules that can lose what the original class cannot: attention and recurrent ones.

A module turns into its slim form in place: the same parameters under the same names, the same attributes, the
same call and results; sizes come from the tensors, and the scale of the scores stays that of the
original module. The number of heads is an attribute, which is set with the others that follow a cut.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from autoprune.structure.surgery.slim.maxvit import slim_relative_attention
from autoprune.structure.surgery.slim.multihead import SlimMultiheadAttention, slim_multihead_attention
from autoprune.structure.surgery.slim.swin import slim_window_attention, slim_window_attention_v2

__all__ = ["SlimMultiheadAttention", "slim"]

_SLIM: dict[str, Callable[[nn.Module], None]] = {
    "torch.nn.modules.activation.MultiheadAttention": slim_multihead_attention,
    "torchvision.models.swin_transformer.ShiftedWindowAttention": slim_window_attention,
    "torchvision.models.swin_transformer.ShiftedWindowAttentionV2": slim_window_attention_v2,
    "torchvision.models.maxvit.RelativePositionalMultiHeadAttention": slim_relative_attention,
}


def slim(module: nn.Module) -> None:
    """Turn a module whose tensors were cut into its slim form; other classes stay what they are."""
    kind = type(module)
    turn = _SLIM.get(f"{kind.__module__}.{kind.__qualname__}")
    if turn is not None:
        turn(module)
