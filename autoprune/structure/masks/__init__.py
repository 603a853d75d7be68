"""Weights set to zero, in patterns: the tensors keep their shapes, and with them dense FLOPs and latency."""

from autoprune.structure.masks.apply import fold, masked, zeroed
from autoprune.structure.masks.parametrization import held_zeros
from autoprune.structure.masks.patterns import Pattern, parse_pattern
from autoprune.structure.masks.plan import LayerMask, MaskPlan, is_mask_plan, mask_hash
from autoprune.structure.masks.structure import MaskGroup, MaskStructure, discover_masks, restrict_masks
from autoprune.structure.masks.weights import Weight

__all__ = [
    "LayerMask",
    "MaskGroup",
    "MaskPlan",
    "MaskStructure",
    "Pattern",
    "Weight",
    "discover_masks",
    "fold",
    "held_zeros",
    "is_mask_plan",
    "mask_hash",
    "masked",
    "parse_pattern",
    "restrict_masks",
    "zeroed",
]
