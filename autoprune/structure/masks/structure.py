"""What can be masked in a model: a group of units for every weight that the pattern fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from autoprune.errors import ModelError
from autoprune.structure.admission import require_prunable
from autoprune.structure.graph.trace import canonical_names
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.masks.patterns import Neurons, Pattern, parse_pattern
from autoprune.structure.masks.uses import find_uses
from autoprune.structure.masks.weights import Weight, weights_of
from autoprune.structure.overview import Overview, frozen_text, groups_text
from autoprune.structure.restriction import matches, require_match
from autoprune.structure.wrappers import unwrapped

NOT_A_LAYER = "it is no weight of a convolution, linear, attention or recurrent layer"
AT_OUTPUT = "its neurons are the model's outputs"


@dataclass(frozen=True)
class MaskGroup:
    """The units of one weight.

    Attributes:
        name: path of the layer, or the weight's name where a layer has several.
        weight: the tensor.
        pattern: what the units are.
        uses: how often each entry is multiplied in one call with the example inputs; 0 when unknown.
    """

    name: str
    weight: Weight
    pattern: Pattern
    uses: int

    @property
    def kind(self) -> str:
        """What a unit is."""
        return self.pattern.kind

    @property
    def width(self) -> int:
        """Units of the dense weight: for N:M the M places."""
        return self.pattern.shape(self.weight)[1]

    @property
    def entries(self) -> int:
        """Entries of the weight that are zero for every unit that goes."""
        return self.weight.size // self.width

    @property
    def least(self) -> int:
        """Fewest units that a plan may keep."""
        return self.pattern.least


@dataclass(frozen=True, eq=False, repr=False)
class MaskStructure(Overview):
    """Result of :func:`discover_masks`.

    Attributes:
        pattern: what is masked.
        groups: one for every weight that the pattern fits, in the order of the forward pass.
        frozen: layer -> why it stays dense; biases and normalisations are never masked and not listed.
        ends: the layers whose weights the forward pass reads first and last.
    """

    pattern: Pattern
    groups: tuple[MaskGroup, ...]
    frozen: Mapping[str, str]
    ends: frozenset[str]

    @property
    def widths(self) -> dict[str, int]:
        """Width (units) of every group without a mask."""
        return {group.name: group.width for group in self.groups}

    @property
    def blocks(self) -> frozenset[str]:
        """Groups that can go whole: none."""
        return frozenset()

    def canonical(self, widths: Mapping[str, int]) -> dict[str, int]:
        """The widths as they are: no group depends on another."""
        return dict(widths)

    def require_groups(self) -> None:
        """Raise ModelError, with the reasons, when there is nothing to mask."""
        if not self.groups:
            reasons = "; ".join(list(dict.fromkeys(self.frozen.values()))[:2]) or "there is none"
            raise ModelError(f"no weight can be masked by {self.pattern}: {reasons}")

    def group(self, name: str) -> MaskGroup:
        """The group of that name. Raises KeyError when there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    def _overview(self) -> dict[str, str]:
        return {
            "groups": groups_text(self.groups),
            "granularity": str(self.pattern),
            "units": f"{sum(self.widths.values()):,}",
            "parameters": f"{sum(group.weight.size for group in self.groups):,} that can be masked",
            "frozen": frozen_text(set(self.widths), self.frozen),
        }


@torch.compiler.set_stance("force_eager")  # type: ignore[untyped-decorator]
def discover_masks(model: nn.Module, example_inputs: ExampleInputs, granularity: str) -> MaskStructure:
    """The weights of a model that a pattern fits, and why the others stay dense.

    Args:
        model: is run once, and not changed.
        example_inputs: a tensor, or the positional arguments of ``forward``, of one sample.
        granularity: ``"weights"``, ``"N:M"``, ``"block:RxC"``, ``"kernels"`` or ``"neurons"``. N:M and
            blocks run over the matrix of outputs by inputs, for convolutions ``in_channels * kernel``.

    Raises:
        UserError: for an unknown granularity.
        ModelError: when the model does not run on the inputs.
    """
    model, pattern = unwrapped(model), parse_pattern(granularity)
    require_prunable(model)
    weights = weights_of(model)
    uses = find_uses(model, weights, example_inputs)
    read = list(uses.counts)
    last = uses.outputs.union(read[-1:])
    frozen: dict[str, str] = {}
    groups = []
    for weight in sorted(weights, key=lambda w: read.index(w.name) if w.name in uses.counts else len(read)):
        reason = "" if weight.name in uses.counts else "forward never reads it"
        reason = reason or pattern.refusal(weight)
        if not reason and isinstance(pattern, Neurons) and weight.name in last:
            reason = AT_OUTPUT
        if reason:
            frozen[weight.group] = reason
        else:
            groups.append(MaskGroup(weight.group, weight, pattern, uses.counts[weight.name]))
    ends = frozenset(weight.group for weight in weights if weight.name in last.union(read[:1]))
    return MaskStructure(pattern, tuple(groups), frozen | _others(model, weights), ends)


def restrict_masks(
    structure: MaskStructure, *, skip: Sequence[str] = (), only: Sequence[str] = (), keep_ends: bool = False
) -> MaskStructure:
    """The structure with fewer groups; those left out are frozen with the reason.

    Args:
        structure: what could be masked.
        skip: globs of module paths whose weights stay dense.
        only: globs of the module paths that alone may be masked.
        keep_ends: leave the first and the last weight that the forward pass reads dense.

    Raises:
        UserError: for a pattern that matches nothing.
    """
    known = sorted({group.name for group in structure.groups} | set(structure.frozen))
    for pattern in (*skip, *only):
        require_match(pattern, known)
    reasons: dict[str, str] = {}
    for group in structure.groups:
        skipped = next((pattern for pattern in skip if matches(group.name, pattern)), None)
        if skipped is not None:
            reasons[group.name] = f"kept by skip={skipped}"
        elif only and not any(matches(group.name, pattern) for pattern in only):
            reasons[group.name] = f"kept: not in only={','.join(only)}"
        elif keep_ends and group.name in structure.ends:
            reasons[group.name] = "kept: at the model's input or output"
    groups = tuple(group for group in structure.groups if group.name not in reasons)
    return replace(structure, groups=groups, frozen={**structure.frozen, **reasons})


def _others(model: nn.Module, weights: Sequence[Weight]) -> dict[str, str]:
    """Parameters of two axes or more that no pattern is laid on."""
    names = canonical_names(model)
    known = {names[weight.name] for weight in weights}
    parameters = model.named_parameters()
    others = (name for name, tensor in parameters if tensor.ndim > 1 and name not in known)
    return {name.removesuffix(".weight"): NOT_A_LAYER for name in others}
