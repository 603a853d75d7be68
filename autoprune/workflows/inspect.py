"""What can be cut in a model and what it would save, without data or search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from autoprune.config.references import LIBRARIES, Named
from autoprune.config.settings import Config
from autoprune.config.weights_file import read_weights_name
from autoprune.cost import CostModel, Costs
from autoprune.cost.latency.group_shares import LatencyShare, Shares, cost_shares, latency_shares
from autoprune.errors import ConfigError
from autoprune.pruning_search.problem.latency import setting_of
from autoprune.pruning_search.problem.subject.configured_model import build_model, model_spec, named_model
from autoprune.pruning_search.problem.unit_pruning import discover_for
from autoprune.pruning_search.problem.width_grid import grids_of
from autoprune.structure import Structure
from autoprune.structure.graph.trace import shell
from autoprune.structure.restriction import owners
from autoprune.study.listener import Listener
from autoprune.tasks import Data, load_weights
from autoprune.tasks.datasets.sources import load_named_data
from autoprune.tasks.inputs import IMAGE, make_inputs


@dataclass(frozen=True, eq=False)
class Inspection:
    """What :func:`inspect` found.

    Attributes:
        name: the model.
        structure: groups and frozen parts.
        costs: of the original model.
        shares: group -> the part of FLOPs and parameters that hangs on it.
        latency: group -> the same of measured latency; empty when not measured.
        least: the share of the FLOPs that the narrowest plan keeps which the settings allow.
    """

    name: str
    structure: Structure
    costs: Costs
    shares: Mapping[str, Shares]
    latency: Mapping[str, LatencyShare]
    least: float

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers and texts, for JSON."""
        return {
            "model": self.name,
            "flops": self.costs.flops,
            "parameters": self.costs.parameters,
            "size": self.costs.size,
            "groups": [
                {
                    "name": group.name,
                    "kind": group.kind,
                    "width": group.width,
                    "flops_share": round(self.shares[group.name].flops, 6),
                    "parameters_share": round(self.shares[group.name].parameters, 6),
                    **_latency(self.latency.get(group.name)),
                    "layers": owners(group),
                    "read_by": list(dict.fromkeys(p.layer for p in group.slices if p.role == "in")),
                }
                for group in self.structure.groups
            ],
            "frozen": dict(self.structure.frozen),
        }


def _latency(found: LatencyShare | None) -> dict[str, float | None]:
    """The share with its interval, all None where it was not measured."""
    if found is None:
        return dict.fromkeys(("latency_share", "latency_share_low", "latency_share_high"))
    return {
        "latency_share": found.share,
        "latency_share_low": found.low,
        "latency_share_high": found.high,
    }


def inspect(
    config: Config, inputs: Sequence[str], listener: Listener, *, data: Data | None = None
) -> Inspection:
    """Discover what can be cut in the configured model.

    Args:
        config: names the model, what may be cut in it, and whether to measure latency.
        inputs: texts for :func:`autoprune.tasks.inputs.make_inputs`; without any, a sample of the data, or
            for a model of torchvision or timm an image.
        listener: is told how far it is.
        data: the configured ones, where they are loaded already.

    Raises:
        UserError: when the model cannot be built, traced, or called, or its weights do not fit.
    """
    name = model_spec(config)
    listener.phase("structure", name)
    model, example = model_and_inputs(config, inputs, listener, data)
    structure = discover_for(config, model, example)
    costs = CostModel.of(structure, model)
    narrowest = {name: grid.low for name, grid in grids_of(structure, config).items()}
    full, least = costs.original(model), costs.costs({**structure.widths, **narrowest}).flops
    shares = cost_shares(structure, costs)
    found = Inspection(name, structure, full, shares, {}, least / full.flops if full.flops else 1.0)
    if not config.latency or not structure.groups:
        return found
    listener.phase("latency", "of each group")
    latency: dict[str, LatencyShare] = {}
    for group, share in latency_shares(model, structure, example, setting_of(config)):
        latency[group] = share
        listener.progress(len(latency) / len(structure.groups), group)
    return replace(found, latency=latency)


def model_and_inputs(
    config: Config, inputs: Sequence[str], listener: Listener, data: Data | None = None
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The configured model as a search builds it, in evaluation mode, and what to call it with.

    It has the configured weights, or random ones. Raises ConfigError when nothing says what its inputs look
    like, and ModelError for weights that do not fit.
    """
    name, reference = named_model(config), config.references.data
    if data is None and reference is not None:
        data = load_named_data(reference, config.permit)
    from_library = isinstance(name, Named) and name.name in LIBRARIES
    if data is None and not inputs and not from_library:
        raise ConfigError(f"what does {name} take? Give --input {IMAGE}, or --data")
    model = build_model(config, data)
    if config.weights is not None:
        load_weights(model, read_weights_name(config.weights), listener.note)
    if inputs or data is None:
        return shell(model).eval(), make_inputs(inputs or (IMAGE,))
    return shell(model).eval(), (data.example(1),)
