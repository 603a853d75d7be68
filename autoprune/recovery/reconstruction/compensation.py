"""Weight compensation: what reads removed units is fitted to the units that stay.

The removed inputs of a layer are predicted from the kept ones by least squares, and the weights of the kept
ones take the prediction over: ``W_K + W_P G_PK (G_KK + λI)⁻¹`` with the second moments ``G`` of the inputs.
The layer's output is thus the best linear reconstruction of what it was, without any training. The idea
is that of Hassibi and Stork, "Second Order Derivatives for Network Pruning: Optimal Brain Surgeon" (1992),
and, for channels, of He et al., "Channel Pruning for Accelerating Very Deep Neural Networks" (2017).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.recovery.reconstruction.input_moments import Consumer, Moments
from autoprune.recovery.reconstruction.weight_matrix import (
    Fitted,
    Positions,
    as_matrix,
    bias_kept,
    from_matrix,
    own,
    part_of,
    rows_kept,
    write,
)
from autoprune.structure.groups import Structure
from autoprune.structure.plan import Plan
from autoprune.structure.surgery.apply import kept_positions
from autoprune.structure.surgery.untie import described

RIDGE = 1e-2
"""λ, as a share of the mean second moment of a kept input.

A ResNet-20 at a quarter of its FLOPs gave the same accuracy, within its noise, from 1e-4 to 1e-1."""
CACHE_BYTES = 256 * 2**20
"""Most memory that fitted weights are kept in."""


class Compensator:
    """Compensates cut copies of one model; made once, used for every candidate.

    What was fitted is remembered, so that plans which leave a layer the same inputs share the work.

    Args:
        model: the original model that was given to :func:`autoprune.discover`.
        structure: its structure.
        moments: from :func:`autoprune.recovery.collect_moments` for both.
        ridge: see :data:`RIDGE`; more keeps the weights closer to what they were.
    """

    def __init__(
        self, model: nn.Module, structure: Structure, moments: Moments, *, ridge: float = RIDGE
    ) -> None:
        self.structure = structure
        self.moments = moments
        self._ridge = ridge
        self._tensors: Mapping[str, Tensor] = dict(described(model, structure).named_parameters())
        self._cache = _Cache(CACHE_BYTES)

    def __call__(self, pruned: nn.Module, plan: Plan) -> tuple[str, ...]:
        """Fit `pruned`, which is ``apply(model, plan, structure)``, in place; the original is not changed.

        BatchNorm statistics need recalibration afterwards, see :func:`autoprune.recovery.recalibrate`.
        Equal plans give equal weights.

        Returns:
            State-dict names of the weights that were fitted. Other weights that lost inputs are in
            ``moments.left_out`` with the reason.
        """
        kept = kept_positions(plan, self.structure)
        present = dict(pruned.named_parameters())
        narrowed = [
            (place, consumer)
            for place, consumer in enumerate(self.moments.consumers)
            if consumer.weight in present and consumer.axis in kept.get(consumer.weight, {})
        ]
        own(pruned, {name for _, each in narrowed for name in (each.weight, each.bias) if name})
        for place, consumer in narrowed:
            every = self._fit(place, consumer, kept[consumer.weight][consumer.axis])
            rows = rows_kept(consumer, kept[consumer.weight], self._tensors[consumer.weight])
            bias = bias_kept(consumer, self._tensors, rows)
            write(pruned, consumer, _chosen(consumer, every, rows.index), bias, rows.begin)
        return tuple(dict.fromkeys(consumer.weight for _, consumer in narrowed))

    def _fit(self, place: int, consumer: Consumer, inputs: Positions) -> Fitted:
        key = place, inputs.tobytes()
        known = self._cache.get(key)
        if known is None:
            known = fit(consumer, part_of(consumer, self._tensors[consumer.weight]), inputs, self._ridge)
            self._cache.put(key, known)
        return known


def fit(consumer: Consumer, part: Tensor, inputs: Positions, ridge: float) -> Fitted:
    """The rows `part` of an original weight for the positions `inputs` of its input axis alone."""
    matrix = as_matrix(consumer, part)
    each = matrix.shape[2] // part.shape[consumer.axis]
    kept = (inputs[:, None] * each + np.arange(each)).reshape(-1)
    gone = np.setdiff1d(np.arange(matrix.shape[2]), kept)
    keep, drop = (torch.from_numpy(index).to(part.device) for index in (kept, gone))
    rows = consumer.moments_of(keep)
    removed = matrix.index_select(2, drop)
    extra = solve(rows.index_select(2, keep), rows.index_select(2, drop), removed, ridge)
    means = consumer.mean.unsqueeze(2)
    shift = removed @ means.index_select(1, drop) - extra @ means.index_select(1, keep)
    fitted = from_matrix(consumer, matrix.index_select(2, keep) + extra, shift.squeeze(2), part)
    return replace(fitted, weight=fitted.weight.to(part.dtype))


def solve(among: Tensor, across: Tensor, removed: Tensor, ridge: float) -> Tensor:
    """``W_P G_PK (G_KK + λI)⁻¹``, ``[groups, rows, k]``.

    Inputs that are always zero neither give nor take anything.

    Args:
        among: ``G_KK`` ``[groups, k, k]``.
        across: ``G_KP`` ``[groups, k, p]``.
        removed: ``W_P`` ``[groups, rows, p]``.
        ridge: λ as a share of the mean diagonal element of ``G_KK``.
    """
    factor = factorized(among, ridge)
    if removed.shape[2] < removed.shape[1]:
        prediction: Tensor = torch.cholesky_solve(across, factor).mT
        return removed @ prediction
    taken_over: Tensor = torch.cholesky_solve(across @ removed.mT, factor).mT
    return taken_over


def factorized(among: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of ``G + λI`` ``[groups, k, k]``, λ as a share of the mean diagonal element of ``G``.

    Where rounding leaves the matrix indefinite, λ grows until it is not.
    """
    diagonal = among.diagonal(dim1=1, dim2=2).mean(1)
    scale = torch.where(diagonal > 0, diagonal, torch.ones_like(diagonal))
    penalty = scale[:, None, None] * torch.eye(among.shape[1], dtype=among.dtype, device=among.device)
    share = max(ridge, _LEAST_RIDGE)
    factor, failed = torch.linalg.cholesky_ex(among + share * penalty)
    while bool(failed.any()):
        share *= 10
        factor, failed = torch.linalg.cholesky_ex(among + share * penalty)
    lower: Tensor = factor
    return lower


_LEAST_RIDGE = 1e-12


def _chosen(consumer: Consumer, fitted: Fitted, index: Tensor) -> Fitted:
    weight = fitted.weight.index_select(1 - consumer.axis, index)
    return Fitted(weight, fitted.shift if consumer.axis == 0 else fitted.shift.index_select(0, index))


class _Cache:
    """Fitted weights, the latest used, up to so many bytes."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._held: OrderedDict[tuple[int, bytes], Fitted] = OrderedDict()

    def get(self, key: tuple[int, bytes]) -> Fitted | None:
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: tuple[int, bytes], fitted: Fitted) -> None:
        self._held[key] = fitted
        self._bytes += fitted.weight.nbytes
        while self._bytes > self._most and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].weight.nbytes
