"""What can be cut: groups of interchangeable units and the parameter slices that hang on each unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autoprune.structure.overview import Overview, frozen_text, groups_text

AttentionUnit = Literal["heads", "width"]
"""What a unit of an attention is: a whole head, or one position in the width of every head."""

Role = Literal["out", "in", "pass"]
"""How a slice serves its unit: it produces it, consumes it, or carries it along (BatchNorm, depthwise)."""
ROLES: tuple[Role, ...] = ("out", "in", "pass")

ATTENTION_KINDS = ("heads", "head width")
"""Kinds of the groups of an attention: its heads, or equal positions in the width of every head."""


def layer_of(parameter: str) -> str:
    """Module path of a state-dict name."""
    return parameter.rpartition(".")[0] or parameter


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

    @property
    def layer(self) -> str:
        """Path of the module that owns the parameter."""
        return layer_of(self.parameter)


@dataclass(frozen=True, eq=False)
class Block:
    """A residual module that can be taken out of the model whole.

    Attributes:
        module: path of the module.
        argument: name of the argument of its ``forward`` that it hands on unchanged when it is taken out.
        position: where that argument stands in a call; -1 where it can only be given by name.
        ends: parameters that silence every branch when they are zero: all that is left is the input.
        tensors: the state-dict names that go with the module.
    """

    module: str
    argument: str
    position: int
    ends: tuple[str, ...]
    tensors: frozenset[str]


@dataclass(frozen=True, eq=False)
class Group:
    """Units with the same footprint: any of them may go, and each costs the same.

    Attributes:
        name: module path of the first layer that produces the units, or of the block.
        kind: what a unit is, for example ``"channels"``; a ``"block"`` is one unit, which may go.
        width: number of units in the original model.
        slices: everything that shrinks together when a unit is removed.
        exact: false where a normalisation runs over the cut axis, so that removing a unit also
            changes the statistics of those that stay.
        contracted: a product of activations sums over the units, as attention does over the width of its
            heads: a unit is silent when what produces it is zero, too.
        block: the module to take out, for groups of the kind ``"block"``.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> group = autoprune.discover(network, torch.randn(1, 20)).groups[0]
        >>> group.name, group.kind, group.width
        ('0', 'channels', 8)
        >>> [(part.parameter, part.axis) for part in group.slices]
        [('0.weight', 0), ('0.bias', 0), ('2.weight', 1)]
    """

    name: str
    kind: str
    width: int
    slices: tuple[Slice, ...] = field(repr=False)
    exact: bool = True
    contracted: bool = False
    block: Block | None = field(default=None, repr=False)

    @property
    def least(self) -> int:
        """Fewest units that a plan may keep: a block may go whole, anything else is never emptied."""
        return 0 if self.block is not None else 1


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
        block: name of the block that it goes with, or empty.
        equation: of an einsum, otherwise empty.
    """

    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    block: str = ""
    equation: str = ""


@dataclass(frozen=True)
class Untying:
    """Which shared weights get copies, so that each use can be cut alone.

    Attributes:
        apart: names of the tensors that become copies; the same tensor stays under its first used name.
        repeats: path of a module that is called several times -> number of calls and copies, in the order
            in which they are replaced.
    """

    apart: tuple[str, ...]
    repeats: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Structure(Overview):
    """Result of :func:`autoprune.discover`: everything about a model that does not depend on its weights.

    Attributes:
        groups: what can be cut, in the order of the forward pass.
        frozen: layer name -> why its output units cannot be removed.
        operations: the traced operators, for counting costs.
        tensors: state-dict name -> symbolic shape, parameters and buffers, aliases listed once.
        parameters: the names in ``tensors`` that are parameters (not buffers).
        first: layers that read the model's input.
        numbers: module path and name of every attribute that follows a cut -> what it amounts to.
        untying: how shared weights of the model are copied before anything is cut; None when they are not.
        attention: what a unit of an attention is.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> structure = autoprune.discover(network, torch.randn(1, 20))
        >>> structure
        Structure
          groups      1 (channels)
          units       8
          parameters  186, 99% of them in tensors that can be cut
          frozen      1 of 2 layers (50%), all: reaches the model's output
    """

    groups: tuple[Group, ...]
    frozen: Mapping[str, str]
    operations: tuple[Operation, ...]
    tensors: Mapping[str, Shape]
    parameters: frozenset[str]
    first: frozenset[str] = frozenset()
    numbers: Mapping[tuple[str | int, ...], Extent] = field(default_factory=dict)
    untying: Untying | None = None
    attention: AttentionUnit = "heads"

    @property
    def widths(self) -> dict[str, int]:
        """Width (units) of every group in the original model."""
        return {group.name: group.width for group in self.groups}

    @property
    def blocks(self) -> frozenset[str]:
        """Names of the groups that are whole blocks."""
        return frozenset(group.name for group in self.groups if group.block is not None)

    @property
    def block_of(self) -> dict[str, str]:
        """State-dict name -> the group of the block that it goes with; other tensors are left out."""
        return {name: g.name for g in self.groups if g.block is not None for name in g.block.tensors}

    def canonical(self, widths: Mapping[str, int]) -> dict[str, int]:
        """The widths, with groups that lie wholly within a removed block at full width.

        Widths that settle to the same give the same model: what is taken out has no width of its own.
        """
        block_of = self.block_of
        canonical = dict(widths)
        for group in self.groups:
            around = {block_of.get(part.parameter) for part in group.slices}
            if around and all(name is not None and widths[name] == 0 for name in around):
                canonical[group.name] = group.width
        return canonical

    def without(self, reasons: Mapping[str, str]) -> Structure:
        """The structure with the named groups frozen, each with the reason given."""
        if not reasons:
            return self
        lost = {name: width for name, width in self.widths.items() if name in reasons}

        def fold(shape: Shape) -> Shape:
            return tuple(extent.without(lost) for extent in shape)

        return replace(
            self,
            groups=tuple(group for group in self.groups if group.name not in lost),
            frozen={**self.frozen, **reasons},
            operations=tuple(
                replace(
                    op,
                    inputs=tuple(map(fold, op.inputs)),
                    output=fold(op.output),
                    block="" if op.block in lost else op.block,
                )
                for op in self.operations
            ),
            tensors={name: fold(shape) for name, shape in self.tensors.items()},
            numbers={number: extent.without(lost) for number, extent in self.numbers.items()},
        )

    def group(self, name: str) -> Group:
        """The group of that name. Raises KeyError when there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def _overview(self) -> dict[str, str]:
        widths = self.widths
        sizes = {
            name: prod(extent.at(widths) for extent in self.tensors[name]) for name in sorted(self.parameters)
        }
        slices = [part for group in self.groups for part in group.slices]
        cut = {part.parameter for part in slices} | set(self.block_of)
        total, prunable = sum(sizes.values()), sum(size for name, size in sizes.items() if name in cut)
        return {
            "groups": groups_text(self.groups),
            "units": f"{sum(widths.values()):,}",
            "parameters": f"{total:,}, {prunable / max(total, 1):.0%} of them in tensors that can be cut",
            "frozen": frozen_text({part.layer for part in slices if part.role == "out"}, self.frozen),
        }
