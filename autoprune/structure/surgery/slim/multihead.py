"""nn.MultiheadAttention with any number of heads, width of a head and width of its input."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SlimMultiheadAttention(nn.MultiheadAttention):
    """:class:`torch.nn.MultiheadAttention` whose projections need not be as wide as its input.

    Attributes:
        num_heads: number of heads.
        scale: factor of the scores.
    """

    scale: float

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Arguments, results and errors as those of :class:`torch.nn.MultiheadAttention`."""
        if is_causal and attn_mask is None:
            raise RuntimeError("is_causal is a hint about attn_mask: pass the mask, too")
        causal = is_causal and key_padding_mask is None and not need_weights
        mask = None if causal else _additive(attn_mask, query)
        padding = _additive(key_padding_mask, query)
        batched = query.dim() == 3
        q, k, v = self._projected(query, key, value)
        if not batched:
            q, k, v = q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0)
            padding = None if padding is None else padding.unsqueeze(0)
        elif not self.batch_first:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1)], 1)
        q, k, v = (self._by_heads(part) for part in (q, k, v))
        if self.add_zero_attn:
            k, v = functional.pad(k, (0, 0, 0, 1)), functional.pad(v, (0, 0, 0, 1))
        mask = self._merged(mask, padding, len(q), k.shape[2])
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = self._weights(q, k, mask, dropout)
            mixed = weights @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, mask, dropout, causal, scale=self.scale)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output[0], None if weights is None else weights[0]
        return output if self.batch_first else output.transpose(0, 1), weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bias = self.in_proj_bias
        if self.in_proj_weight is not None and query is key and key is value:
            q, k, v = functional.linear(query, self.in_proj_weight, bias).chunk(3, -1)
            return q, k, v
        weights = (
            self.in_proj_weight.chunk(3)
            if self.in_proj_weight is not None
            else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        )
        biases = (None, None, None) if bias is None else bias.chunk(3)
        q, k, v = (
            functional.linear(*each) for each in zip((query, key, value), weights, biases, strict=True)
        )
        return q, k, v

    def _by_heads(self, projected: Tensor) -> Tensor:
        """``[N, L, heads * width]`` to ``[N, heads, L, width]``."""
        return torch.unflatten(projected, -1, (self.num_heads, -1)).transpose(1, 2)

    def _merged(self, mask: Tensor | None, padding: Tensor | None, batch: int, keys: int) -> Tensor | None:
        """Both masks in one, ``[1 or N, 1 or heads, 1 or L, keys]``; positions that were added are open."""
        if mask is not None:
            mask = mask[None, None] if mask.dim() == 2 else torch.unflatten(mask, 0, (batch, self.num_heads))
            mask = functional.pad(mask, (0, keys - mask.shape[-1]))
        if padding is not None:
            padding = functional.pad(padding, (0, keys - padding.shape[-1]))[:, None, None, :]
        if mask is None or padding is None:
            return mask if padding is None else padding
        return mask + padding

    def _weights(self, q: Tensor, k: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
        scores = (q * self.scale) @ k.transpose(-2, -1)
        weights = functional.softmax(scores if mask is None else scores + mask, -1)
        return functional.dropout(weights, dropout) if dropout > 0.0 else weights


def slim_multihead_attention(module: nn.Module) -> None:
    """Turn a :class:`torch.nn.MultiheadAttention` into its slim form."""
    assert isinstance(module, nn.MultiheadAttention)
    scale = module.head_dim**-0.5
    module.__class__ = SlimMultiheadAttention
    module.scale = scale
    # The encoder layer around it asks for this before it takes its fused path, which wants equal widths.
    module._qkv_same_embed_dim = False


def _additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask to be added to scores: where a boolean one is true, minus infinity."""
    if mask is None or mask.dtype != torch.bool:
        return None if mask is None else mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, float("-inf"))
