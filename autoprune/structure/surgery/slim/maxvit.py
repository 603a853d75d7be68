"""Attention with relative positions (Tu et al., MaxViT, 2022) as torchvision lays it out."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SlimRelativeAttention(nn.Module):
    """Attention within windows or grids, with any number of heads, width of a head and width of its input.

    Attributes:
        n_heads: number of heads.
        scale_factor: factor of the scores.
    """

    n_heads: int
    scale_factor: float
    max_seq_len: int
    to_qkv: nn.Linear
    merge: nn.Linear
    relative_position_bias_table: Tensor
    relative_position_index: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """From ``[N, windows, tokens, C]`` to the same shape."""
        q, k, v = self.to_qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(3, 0, 1, 4, 2, 5).unbind(0)
        scores = torch.einsum("nwhqc,nwhkc->nwhqk", q, k * self.scale_factor)
        weights = functional.softmax(scores + self._position_bias(), -1)
        mixed = torch.einsum("nwhqk,nwhkc->nwhqc", weights, v)
        return self.merge(mixed.transpose(2, 3).flatten(3))  # type: ignore[no-any-return]

    def _position_bias(self) -> Tensor:
        """``[1, heads, tokens, tokens]``."""
        tokens = self.max_seq_len
        table = self.relative_position_bias_table[self.relative_position_index.flatten()]
        return table.view(tokens, tokens, -1).permute(2, 0, 1).unsqueeze(0)


def slim_relative_attention(module: nn.Module) -> None:
    """Turn torchvision's ``RelativePositionalMultiHeadAttention`` into its slim form."""
    module.__class__ = SlimRelativeAttention
