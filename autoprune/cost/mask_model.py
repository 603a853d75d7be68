"""The costs of masked weights: what falls is the number of non-zero parameters and the compressed size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from autoprune.cost.encodings import Encoded, smallest
from autoprune.cost.model import CostModel, Costs
from autoprune.errors import PlanError
from autoprune.structure.discovery import traced_structure
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.masks import MaskGroup, MaskStructure


@dataclass(frozen=True)
class MaskCosts(Costs):
    """What one choice of widths costs.

    ``flops`` and ``parameters`` are those of the dense model, which masks leave as they are. ``size`` is the
    compressed size: each weight by its smallest encoding, everything else dense.

    Attributes:
        nonzero: parameters that are not masked: all biases and normalisations, and what stays of the
            weights.
        effective_multiply_adds: ``flops`` without the multiplications by masked weights. A runtime saves
            them only if it skips zeros, which ordinary ones do not.
    """

    nonzero: int
    effective_multiply_adds: int


@dataclass(frozen=True, eq=False)
class MaskCostModel:
    """Costs of every choice of widths. Made by :meth:`of`.

    Attributes:
        groups: the weights that may be masked.
        itemsizes: group name -> bytes of a value.
        dense: FLOPs, parameters and bytes of the dense model.
    """

    groups: tuple[MaskGroup, ...]
    itemsizes: Mapping[str, int]
    dense: Costs

    @classmethod
    def of(cls, structure: MaskStructure, model: nn.Module, example_inputs: ExampleInputs) -> MaskCostModel:
        """Count the dense model, for one call with these inputs.

        Raises ModelError when its FLOPs cannot be counted because ``torch.export`` cannot follow it.
        """
        itemsizes = {g.name: model.get_parameter(g.weight.name).element_size() for g in structure.groups}
        traced = traced_structure(model, example_inputs)
        return cls(structure.groups, itemsizes, CostModel.of(traced, model).original(model))

    def costs(self, widths: Mapping[str, int]) -> MaskCosts:
        """Costs when so many units of every group stay. Raises PlanError if the widths do not fit."""
        masked = {group.name: self._masked(group, widths) for group in self.groups}
        saved = sum(
            self.itemsizes[g.name] * g.weight.size - self._encoded(g, widths).size for g in self.groups
        )
        return MaskCosts(
            flops=self.dense.flops,
            parameters=self.dense.parameters,
            size=self.dense.size - saved,
            nonzero=self.dense.parameters - sum(masked.values()),
            effective_multiply_adds=self.dense.flops - sum(masked[g.name] * g.uses for g in self.groups),
        )

    def original(self, model: nn.Module) -> MaskCosts:
        """Costs of the dense model."""
        return self.costs({group.name: group.width for group in self.groups})

    def encoded(self, widths: Mapping[str, int]) -> dict[str, Encoded]:
        """The smallest encoding of every weight."""
        return {group.name: self._encoded(group, widths) for group in self.groups}

    def _encoded(self, group: MaskGroup, widths: Mapping[str, int]) -> Encoded:
        return smallest(group, widths[group.name], self.itemsizes[group.name])

    def _masked(self, group: MaskGroup, widths: Mapping[str, int]) -> int:
        """Entries of the weight that are zero."""
        width = widths.get(group.name, -1)
        if not 0 <= width <= group.width:
            raise PlanError(f"the width of group {group.name} is missing or not from 0 to {group.width}")
        return (group.width - width) * group.entries
