"""The costs of a plan, compiled once from a structure and evaluated in microseconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from autoprune.cost.extents import ExtentTable, canonical
from autoprune.cost.flops import Term, flop_terms
from autoprune.errors import ModelError, PlanError
from autoprune.structure.groups import Structure
from autoprune.structure.surgery.untie import described

_LARGEST_EXACT_FLOAT = 2**53
_LARGEST_INT64 = 2**63 - 1


@dataclass(frozen=True)
class Costs:
    """What one choice of widths costs: FLOPs, number of parameters, bytes of parameters and buffers."""

    flops: int
    parameters: int
    size: int


@dataclass(frozen=True, eq=False)
class BatchCosts:
    """The same for ``n`` choices of widths: three int64 arrays of shape ``[n]``."""

    flops: NDArray[np.int64]
    parameters: NDArray[np.int64]
    size: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CostModel:
    """FLOPs, parameters and size as closed forms over group widths. Made by :meth:`of`.

    Every cost is a sum of coefficients times products of extents, and every extent is linear in the widths.

    Attributes:
        groups: names of the groups; the order of the columns of :meth:`batch`.
        full: widths of the original model, shape ``[groups]``.
        slopes: units to extents, shape ``[groups, extents]``; integers kept as float64.
        offsets: fixed part of every extent, shape ``[extents]``; the first extent is the constant 1.
        factors: extents that every term multiplies, shape ``[degree, terms]``.
        coefficients: coefficient of every term in FLOPs, parameters and size, shape ``[3, terms]``.
    """

    groups: tuple[str, ...]
    full: NDArray[np.int64]
    slopes: NDArray[np.float64]
    offsets: NDArray[np.float64]
    factors: NDArray[np.intp]
    coefficients: NDArray[np.int64]

    @classmethod
    def of(cls, structure: Structure, model: nn.Module) -> CostModel:
        """Compile the costs of the model that ``structure`` was discovered on.

        Where shared weights are untied, every copy counts.

        Raises ModelError if the model lacks a tensor of the structure, or is too large for exact counts.
        """
        itemsizes = _itemsizes(structure, described(model, structure))
        tensors, block_of = structure.tensors, structure.block_of
        builder = _TermBuilder(structure.widths)
        builder.add(0, flop_terms(structure))
        counts = {name: Term(1, shape).within(block_of.get(name)) for name, shape in tensors.items()}
        builder.add(1, (term for name, term in counts.items() if name in structure.parameters))
        builder.add(2, (Term(itemsizes[name], term.extents) for name, term in counts.items()))
        return builder.build()

    def costs(self, widths: Mapping[str, int]) -> Costs:
        """Costs with these widths (units), one for every group. Raises PlanError if they do not fit."""
        flops, parameters, size = self._evaluate(self._vector(widths)).tolist()
        return Costs(flops, parameters, size)

    def original(self, model: nn.Module) -> Costs:
        """Costs of the original model as it is: weights that plans untie count once."""
        tensors = [*model.parameters(), *model.buffers()]
        parameters = sum(parameter.numel() for parameter in model.parameters())
        full = dict(zip(self.groups, self.full.tolist(), strict=True))
        return Costs(self.flops(full), parameters, sum(t.numel() * t.element_size() for t in tensors))

    def flops(self, widths: Mapping[str, int]) -> int:
        """FLOPs (one multiply-add is one) of one call with the example inputs."""
        return self.costs(widths).flops

    def parameters(self, widths: Mapping[str, int]) -> int:
        """Number of parameters, shared ones once."""
        return self.costs(widths).parameters

    def size(self, widths: Mapping[str, int]) -> int:
        """Bytes of all parameters and buffers."""
        return self.costs(widths).size

    def batch(self, widths: NDArray[np.int64]) -> BatchCosts:
        """Costs of many width vectors, shape ``[n, groups]``. Raises PlanError for widths that do not fit."""
        if widths.ndim != 2 or widths.shape[1] != len(self.groups):
            raise PlanError(f"widths have shape {list(widths.shape)}: pass [n, {len(self.groups)}]")
        self._check(widths)
        flops, parameters, size = self._evaluate(widths)
        return BatchCosts(flops, parameters, size)

    def _evaluate(self, widths: NDArray[np.int64]) -> NDArray[np.int64]:
        # Extents stay below 2**53 (checked when built), so the float product is exact, and BLAS is fast.
        extents = (widths.astype(np.float64) @ self.slopes + self.offsets).astype(np.int64)
        products = extents[..., self.factors[0]]
        for index in self.factors[1:]:
            products *= extents[..., index]
        return self.coefficients @ products.T

    def _vector(self, widths: Mapping[str, int]) -> NDArray[np.int64]:
        if len(widths) != len(self.groups) or not all(name in widths for name in self.groups):
            odd = sorted(set(self.groups).symmetric_difference(widths))
            raise PlanError(f"give a width for every group and no other: look at {', '.join(odd)}")
        vector = np.array([widths[name] for name in self.groups], dtype=None if self.groups else np.int64)
        self._check(vector)
        return vector

    def _check(self, widths: NDArray[np.int64]) -> None:
        if widths.dtype.kind not in "iu":
            raise PlanError("widths are not whole numbers: give the number of units that stay in each group")
        wrong = (widths < 0) | (widths > self.full)
        if wrong.any():
            column = int(np.argwhere(wrong)[0, -1])
            name, most = self.groups[column], int(self.full[column])
            raise PlanError(f"a width of group {name} is out of range: give one from 0 to {most}")


def _itemsizes(structure: Structure, model: nn.Module) -> dict[str, int]:
    held: dict[str, Tensor] = {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }
    missing = [name for name in structure.tensors if name not in held]
    if missing:
        raise ModelError(f"the model has no tensor {missing[0]}: discover the structure on this model again")
    return {name: held[name].element_size() for name in structure.tensors}


class _TermBuilder:
    """Gathers terms with equal factors, folding constants into the coefficients."""

    def __init__(self, widths: Mapping[str, int]) -> None:
        self._widths = dict(widths)
        self._extents = ExtentTable()
        self._terms: dict[tuple[int, ...], list[int]] = {}

    def add(self, row: int, terms: Iterable[Term]) -> None:
        for term in terms:
            coefficient = term.coefficient
            factors = []
            for extent in term.extents:
                fixed, per_group = canonical(extent)
                if per_group:
                    factors.append(self._extents.number(extent))
                else:
                    coefficient *= fixed
            self._terms.setdefault(tuple(sorted(factors)), [0, 0, 0])[row] += coefficient

    def build(self) -> CostModel:
        groups, full = tuple(self._widths), np.array(list(self._widths.values()), dtype=np.int64)
        slopes, offsets = self._extents.slopes(groups), self._extents.offsets()
        terms = self._terms or {(): [0, 0, 0]}
        _require_exact(terms, np.abs(offsets) + full @ np.abs(slopes))
        degree = max(1, *(len(factors) for factors in terms))
        padded = [factors + (0,) * (degree - len(factors)) for factors in terms]
        return CostModel(
            groups=groups,
            full=full,
            slopes=slopes,
            offsets=offsets,
            factors=np.ascontiguousarray(np.array(padded, dtype=np.intp).T),
            coefficients=np.array(list(terms.values()), dtype=np.int64).T,
        )


def _require_exact(terms: Mapping[tuple[int, ...], list[int]], bounds: NDArray[np.float64]) -> None:
    """Raise ModelError where extents up to these bounds give costs beyond what is counted exactly."""
    if bounds.max() < _LARGEST_EXACT_FLOAT:
        largest = [int(bound) for bound in bounds]
        products = [math.prod(largest[factor] for factor in factors) for factors in terms]
        rows = zip(*terms.values(), strict=True)
        totals = [sum(k * product for k, product in zip(row, products, strict=True)) for row in rows]
        if max(totals) <= _LARGEST_INT64:
            return
    raise ModelError("the model's costs do not fit into 64 bits: use smaller example inputs")
