"""What can be cut: groups of interchangeable units and the parameter slices that hang on each unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["out", "in", "pass"]
"""How a slice serves its unit: it produces it, consumes it, or carries it along (BatchNorm, depthwise)."""
ROLES: tuple[Role, ...] = ("out", "in", "pass")


@dataclass(frozen=True, eq=False)
class Slice:
    """The entries of one parameter axis that belong to the units of one group.

    Attributes:
        parameter: name in ``model.state_dict()`` (a parameter or a buffer).
        axis: the axis of that tensor which is cut.
        role: what the tensor does with the units.
        index: integers of shape ``[width, k]``; row ``u`` lists the ``k`` positions of unit ``u``.
    """

    parameter: str
    axis: int
    role: Role
    index: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Group:
    """Units with the same footprint: any of them may go, and each costs the same.

    Attributes:
        name: module path of the first layer that produces the units.
        kind: what a unit is, for example ``"channels"``.
        width: number of units in the uncut model.
        slices: everything that shrinks together when a unit is removed.
        exact: false where a normalisation runs over the cut axis, so that removing a unit also
            changes the statistics of those that stay.
    """

    name: str
    kind: str
    width: int
    slices: tuple[Slice, ...]
    exact: bool = True


@dataclass(frozen=True)
class Extent:
    """Length of one tensor axis as a function of group widths: ``fixed + sum(k * width)``."""

    fixed: int
    per_group: tuple[tuple[str, int], ...] = ()

    def without(self, lost: Mapping[str, int]) -> Extent:
        """The same length when the groups in `lost` keep the width given there for good."""
        kept = tuple((name, k) for name, k in self.per_group if name not in lost)
        return Extent(self.fixed + sum(k * lost[name] for name, k in self.per_group if name in lost), kept)

    def at(self, widths: Mapping[str, int]) -> int:
        """Length of the axis when the groups have these widths (in units)."""
        return self.fixed + sum(k * widths[name] for name, k in self.per_group)


Shape = tuple[Extent, ...]


@dataclass(frozen=True)
class Operation:
    """One operator of the traced graph with its symbolic tensor shapes.

    Attributes:
        kind: ATen name without overload and trailing underscore, such as ``"conv2d"``.
        inputs: shapes of the tensor arguments in schema order (absent optional tensors are left out).
        output: shape of the (first) result.
    """

    kind: str
    inputs: tuple[Shape, ...]
    output: Shape


@dataclass(frozen=True, eq=False)
class Structure:
    """Result of :func:`autoprune.discover`: everything about a model that does not depend on its weights.

    Attributes:
        groups: what can be cut, in the order of the forward pass.
        frozen: layer name -> why its output units cannot be removed.
        operations: the traced operators, for counting costs.
        tensors: state-dict name -> symbolic shape, parameters and buffers, aliases listed once.
        parameters: the names in ``tensors`` that are parameters (not buffers).
    """

    groups: tuple[Group, ...]
    frozen: Mapping[str, str]
    operations: tuple[Operation, ...] = field(repr=False)
    tensors: Mapping[str, Shape] = field(repr=False)
    parameters: frozenset[str] = field(repr=False)

    @property
    def widths(self) -> dict[str, int]:
        """Width (units) of every group in the uncut model."""
        return {group.name: group.width for group in self.groups}

    def without(self, reasons: Mapping[str, str]) -> Structure:
        """The structure with the named groups frozen, each with the reason given."""
        if not reasons:
            return self
        lost = {name: width for name, width in self.widths.items() if name in reasons}

        def fold(shape: Shape) -> Shape:
            return tuple(extent.without(lost) for extent in shape)

        return Structure(
            groups=tuple(group for group in self.groups if group.name not in lost),
            frozen={**self.frozen, **reasons},
            operations=tuple(
                Operation(op.kind, tuple(map(fold, op.inputs)), fold(op.output)) for op in self.operations
            ),
            tensors={name: fold(shape) for name, shape in self.tensors.items()},
            parameters=self.parameters,
        )

    def group(self, name: str) -> Group:
        """The group of that name. Raises KeyError when there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)
