"""What can be cut in a model and what it would save, without data or search."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from autoprune.config.references import LIBRARIES, Named
from autoprune.config.settings import Config
from autoprune.config.weights_file import read_weights_name
from autoprune.cost import CostModel, Costs
from autoprune.cost.latency.group_shares import LatencyShare, Shares, cost_shares, latency_shares
from autoprune.cost.latency.setting import Inputs
from autoprune.errors import ConfigError
from autoprune.pruning_search.problem.latency import setting_of
from autoprune.pruning_search.problem.subject.configured_model import build_model, model_spec, named_model
from autoprune.pruning_search.problem.unit_pruning import discover_for
from autoprune.pruning_search.problem.width_grid import grids_of
from autoprune.structure import Structure
from autoprune.structure.graph.trace import shell
from autoprune.structure.restriction import owners
from autoprune.structure.wrappers import unwrapped
from autoprune.study.listener import Listener
from autoprune.tasks import Data, load_weights
from autoprune.tasks.datasets.sources import load_named_data
from autoprune.tasks.inputs import IMAGE, make_inputs

SECONDS_A_GROUP = 0.2
"""Of timing, unless the settings say another length: an inspection is there to be looked at."""


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
    shares: Mapping[str, Shares] = field(repr=False)
    latency: Mapping[str, LatencyShare] = field(repr=False)
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
    config: Config,
    inputs: Sequence[str] | Inputs,
    listener: Listener,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
) -> Inspection:
    """Discover what can be cut in the configured model.

    Args:
        config: names the model, what may be cut in it, and whether to measure latency.
        inputs: tensors, or texts for :func:`autoprune.tasks.inputs.make_inputs`; without any, a sample of the
            data, or for a model of torchvision or timm an image.
        listener: receives progress.
        model: in place of the configured one.
        data: in place of the configured ones.

    Raises:
        UserError: when the model cannot be built, traced, or called, or its weights do not fit.
    """
    name = name_of(config, model)
    listener.phase("structure", name)
    if "latency_seconds" not in config.model_fields_set:
        config = config.model_copy(update={"latency_seconds": SECONDS_A_GROUP})
    model, example = model_and_inputs(config, inputs, listener, data, model)
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


def name_of(config: Config, model: nn.Module | None) -> str:
    """What a model is called: an object by its class, else by the text that names it."""
    return model_spec(config) if model is None else type(unwrapped(model)).__name__


def model_and_inputs(
    config: Config,
    inputs: Sequence[str] | Inputs,
    listener: Listener,
    data: Data | None = None,
    model: nn.Module | None = None,
) -> tuple[nn.Module, Inputs]:
    """The model as a search builds it, in evaluation mode, and what to call it with.

    A configured model has the configured weights, or random ones. Raises ConfigError when nothing says what
    its inputs look like, and ModelError for weights that do not fit.
    """
    reference = config.references.data
    if data is None and reference is not None:
        data = load_named_data(reference, config.permit)
    if data is None and not inputs and not (model is None and _is_from_library(config)):
        raise ConfigError(
            f"what does {name_of(config, model)} take? Give --input {IMAGE}, or --data (in Python "
            "example_inputs= or data=)"
        )
    built = build_model(config, data) if model is None else unwrapped(model)
    if config.weights is not None:
        if model is not None:
            built = copy.deepcopy(built)
        load_weights(built, read_weights_name(config.weights), listener.note)
    if inputs or data is None:
        return shell(built).eval(), _tensors(inputs or (IMAGE,))
    return shell(built).eval(), (data.example(1),)


def _is_from_library(config: Config) -> bool:
    name = named_model(config)
    return isinstance(name, Named) and name.name in LIBRARIES


def _tensors(inputs: Sequence[str] | Inputs) -> Inputs:
    texts = [given for given in inputs if isinstance(given, str)]
    return make_inputs(texts) if texts else tuple(given for given in inputs if isinstance(given, Tensor))
