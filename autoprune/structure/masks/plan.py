"""Mask plans: how many units of each weight stay, and which mask that gave."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.config.granularity import read_pattern
from autoprune.errors import PlanError, UserError
from autoprune.structure.masks.structure import MaskStructure
from autoprune.structure.overview import Overview, kept_text
from autoprune.utils.overview import counted
from autoprune.utils.untrusted import MOST_GROUPS, MOST_TEXT, check_keys, is_text, is_whole, json_object

SCHEMA = 1
_KEYS = frozenset({"schema", "granularity", "criterion", "model", "weights", "layers"})


@dataclass(frozen=True)
class LayerMask:
    """The mask of one weight: units that stay (in each contest), and the SHA-256 of the mask."""

    kept: int
    mask: str


@dataclass(frozen=True, repr=False)
class MaskPlan(Overview):
    """What is masked, without the masks: they follow from weights and criterion, or from the zeros.

    Attributes:
        granularity: the pattern's text, the same for every layer.
        layers: group name -> its mask; a group that is not named stays dense.
        criterion: name of what chose the units.
        model: what the plan was made for, such as ``"torchvision:resnet18"``.
        weights: SHA-256 of the dense weights.
    """

    granularity: str
    layers: Mapping[str, LayerMask]
    criterion: str = ""
    model: str = field(default="", compare=False)
    weights: str = field(default="", compare=False)

    def widths(self, structure: MaskStructure) -> dict[str, int]:
        """Units that stay in every group."""
        kept = {name: layer.kept for name, layer in self.layers.items()}
        return structure.widths | kept

    def check(self, structure: MaskStructure) -> None:
        """Raise PlanError unless the plan fits the structure, removes something and empties nothing."""
        if self.granularity != str(structure.pattern):
            raise PlanError(f"the plan is for granularity {self.granularity}, not {structure.pattern}")
        if not self.layers:
            raise PlanError("the plan masks nothing: lower the width of at least one group")
        groups = {group.name: group for group in structure.groups}
        for name, layer in self.layers.items():
            if name not in groups:
                raise PlanError(f"the plan names the layer {name!r}, which cannot be masked in this model")
            least, most = groups[name].least, groups[name].width - 1
            if not least <= layer.kept <= most:
                raise PlanError(f"the plan keeps {layer.kept} units of {name!r}: keep {least} to {most}")

    def check_masks(self, masks: Mapping[str, Tensor], structure: MaskStructure) -> None:
        """Raise PlanError unless these masks, by the name of their weight, are the plan's."""
        for name, layer in self.layers.items():
            if mask_hash(masks[structure.group(name).weight.name]) != layer.mask:
                raise PlanError(
                    f"the mask of {name!r} comes out differently: use the weights, data and torch version "
                    "that the plan was made with"
                )

    def check_zeros(self, model: nn.Module, structure: MaskStructure) -> None:
        """Raise PlanError unless a model without parametrizations has the zeros that the plan says."""
        self.check(structure)
        for name, layer in self.layers.items():
            group = structure.group(name)
            most = layer.kept * group.entries
            found = int(torch.count_nonzero(model.get_parameter(group.weight.name)))
            if found > most:
                raise PlanError(f"{name!r} has {found} non-zero weights where the plan leaves {most}")

    @property
    def hash(self) -> str:
        """SHA-256 of what is masked; equal plans have equal hashes."""
        layers = {name: self.layers[name].mask for name in sorted(self.layers)}
        return hashlib.sha256(json.dumps([self.granularity, layers]).encode()).hexdigest()

    def to_json(self) -> str:
        """The plan as JSON text with its schema version."""
        document = {
            "schema": SCHEMA,
            "granularity": self.granularity,
            "criterion": self.criterion,
            "model": self.model,
            "weights": self.weights,
            "layers": {n: {"kept": layer.kept, "mask": layer.mask} for n, layer in self.layers.items()},
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> MaskPlan:
        """Read a plan. Raises PlanError naming what is wrong with it."""
        document = json_object(text, "the plan", PlanError)
        if document.get("schema") != SCHEMA or "granularity" not in document:
            raise PlanError(f'a mask plan must be a JSON object with "schema": {SCHEMA} and "granularity"')
        check_keys(document, _KEYS, "the plan", PlanError)
        texts = {key: document.get(key, "") for key in ("granularity", "criterion", "model", "weights")}
        if not all(map(is_text, texts.values())):
            raise PlanError(
                f"{', '.join(texts)} of a mask plan must be texts of at most {MOST_TEXT} characters"
            )
        try:
            read_pattern(texts["granularity"])
        except UserError as error:
            raise PlanError(f"the plan's {error}") from None
        layers = document.get("layers")
        if not isinstance(layers, dict) or not all(map(_is_layer, layers.values())):
            raise PlanError('"layers" must map layer names to objects with "kept" and "mask"')
        if len(layers) > MOST_GROUPS or not all(map(is_text, layers)):
            raise PlanError(
                f"the plan names more than {MOST_GROUPS:,} layers, or one of them at too great length"
            )
        read = {name: LayerMask(layer["kept"], layer["mask"]) for name, layer in layers.items()}
        return cls(layers=read, **texts)

    def _overview(self) -> dict[str, str]:
        kept = {name: layer.kept for name, layer in self.layers.items()}
        return {
            "masks": f"{counted(len(kept), 'weight')}, of which {counted(sum(kept.values()), 'unit')} stay",
            "granularity": self.granularity,
            "widths": kept_text(kept),
            "criterion": self.criterion,
            "model": self.model,
            "weights": self.weights[:12],
        }


def is_mask_plan(text: str) -> bool:
    """Whether a text is the JSON of a mask plan rather than of a plan that removes units."""
    try:
        return "granularity" in json_object(text, "the plan", PlanError)
    except PlanError:
        return False


def mask_hash(mask: Tensor) -> str:
    """SHA-256 of a boolean mask: its shape, then one bit an entry."""
    bits = np.packbits(mask.detach().cpu().numpy().reshape(-1))
    return hashlib.sha256(f"{list(mask.shape)}\n".encode() + bits.tobytes()).hexdigest()


def _is_layer(value: object) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"kept", "mask"}
        and is_whole(value["kept"])
        and is_text(value["mask"])
    )
