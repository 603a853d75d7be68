"""Shifted-window attention (Liu et al., Swin Transformer, 2021; version 2, 2022), as in torchvision."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class SlimWindowAttention(nn.Module):
    """Attention within shifted windows, with any number of heads, width of a head and width of its input.

    Attributes:
        num_heads: number of heads.
        scale: factor of the scores.
    """

    num_heads: int
    scale: float
    window_size: list[int]
    shift_size: list[int]
    attention_dropout: float
    dropout: float
    qkv: nn.Linear
    proj: nn.Linear
    relative_position_index: Tensor
    relative_position_bias_table: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """From ``[N, H, W, C]`` to ``[N, H, W, C]``."""
        _, height, width, _ = x.shape
        rows, columns = self.window_size
        padded = functional.pad(x, (0, 0, 0, -width % columns, 0, -height % rows))
        grid = (padded.shape[1] // rows, padded.shape[2] // columns)
        # A window as large as the image has nowhere to go.
        shift = [0 if count <= 1 else by for count, by in zip(grid, self.shift_size, strict=True)]
        if any(shift):
            padded = padded.roll((-shift[0], -shift[1]), (1, 2))
        mixed = self._attend(self._windows(padded, grid), self._shift_mask(padded, grid, shift))
        merged = torch.unflatten(torch.unflatten(mixed, 0, (-1, *grid)), 3, (rows, columns))
        merged = merged.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        if any(shift):
            merged = merged.roll((shift[0], shift[1]), (1, 2))
        return merged[:, :height, :width].contiguous()

    def _windows(self, image: Tensor, grid: Sequence[int]) -> Tensor:
        """``[N, H, W, C]`` to ``[N * windows, tokens, C]``."""
        rows, columns = self.window_size
        parts = torch.unflatten(torch.unflatten(image, 2, (grid[1], columns)), 1, (grid[0], rows))
        return parts.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def _attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        qkv = functional.linear(x, self.qkv.weight, self._bias())
        q, k, v = torch.unflatten(qkv, -1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        scores = self._scores(q, k) + self._position_bias()
        if mask is not None:
            scores = (torch.unflatten(scores, 0, (-1, len(mask))) + mask.unsqueeze(1)).flatten(0, 1)
        weights = functional.dropout(functional.softmax(scores, -1), self.attention_dropout, self.training)
        mixed = self.proj(weights.matmul(v).transpose(1, 2).flatten(2))
        return functional.dropout(mixed, self.dropout, self.training)

    def _bias(self) -> Tensor | None:
        return self.qkv.bias

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q * self.scale).matmul(k.transpose(-2, -1))

    def _position_bias(self) -> Tensor:
        return self._spread(self.relative_position_bias_table)

    def _spread(self, table: Tensor) -> Tensor:
        """``[offsets, heads]`` to ``[1, heads, tokens, tokens]``."""
        tokens = self.window_size[0] * self.window_size[1]
        return table[self.relative_position_index].view(tokens, tokens, -1).permute(2, 0, 1).unsqueeze(0)

    def _shift_mask(self, image: Tensor, grid: Sequence[int], shift: Sequence[int]) -> Tensor | None:
        """``[windows, tokens, tokens]``: -100 between tokens that a shift has brought into one window."""
        if not any(shift):
            return None
        regions = image.new_zeros(1, *image.shape[1:3], 1)
        for axis, (side, by) in enumerate(zip(self.window_size, shift, strict=True)):
            length = regions.shape[axis + 1]
            place = torch.arange(length, device=image.device)
            part = (place >= length - side).to(image) + (place >= length - by).to(image) * (by > 0)
            regions = regions * 3 + part.reshape([-1 if other == axis + 1 else 1 for other in range(4)])
        labels = self._windows(regions, grid).squeeze(-1)
        return (labels.unsqueeze(1) != labels.unsqueeze(2)).to(image) * -100.0


class SlimWindowAttentionV2(SlimWindowAttention):
    """The second version: cosine scores, and a small network that computes the position bias."""

    cpb_mlp: nn.Sequential
    logit_scale: Tensor
    relative_coords_table: Tensor

    def _bias(self) -> Tensor | None:
        """Keys have no bias."""
        if self.qkv.bias is None:
            return None
        query, key, value = self.qkv.bias.chunk(3)
        return torch.cat([query, torch.zeros_like(key), value])

    def _scores(self, q: Tensor, k: Tensor) -> Tensor:
        cosine = functional.normalize(q, dim=-1).matmul(functional.normalize(k, dim=-1).transpose(-2, -1))
        return cosine * self.logit_scale.clamp(max=math.log(100.0)).exp()

    def _position_bias(self) -> Tensor:
        table = self.cpb_mlp(self.relative_coords_table)
        return 16 * torch.sigmoid(self._spread(table.flatten(0, -2)))


def slim_window_attention(module: nn.Module) -> None:
    """Turn torchvision's ``ShiftedWindowAttention`` into its slim form."""
    _turn(module, SlimWindowAttention)


def slim_window_attention_v2(module: nn.Module) -> None:
    """Turn torchvision's ``ShiftedWindowAttentionV2`` into its slim form."""
    _turn(module, SlimWindowAttentionV2)


def _turn(module: nn.Module, kind: type[SlimWindowAttention]) -> None:
    heads, width = int(module.num_heads), int(module.qkv.out_features) // 3  # type: ignore[arg-type,union-attr]
    module.__class__ = kind
    module.scale = (width // heads) ** -0.5
