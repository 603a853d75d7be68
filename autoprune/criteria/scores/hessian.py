"""Second-order expansion of the loss, with the diagonal of the Hessian estimated by Hutchinson's method.

LeCun et al., "Optimal Brain Damage" (1990), on the loss of a weight's removal; Hutchinson (1989) and Bekas et
al., "An estimator for the diagonal of a matrix" (2007), on ``diag(H) = E[v * Hv]`` for random signs ``v``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from autoprune.criteria.base import Context
from autoprune.criteria.options import check_choice
from autoprune.criteria.registry import register
from autoprune.criteria.scores.gradients import (
    PRODUCING,
    differentiable,
    gated_by,
    gradients_enabled,
    over_unit,
    require_gradient,
)
from autoprune.criteria.slices import inner
from autoprune.errors import CriterionError
from autoprune.structure.groups import Group, Role

Diagonal = Literal["units", "weights"]


@register("hessian")
@dataclass(frozen=True)
class Hessian:
    """Estimated increase of the loss when a unit is removed, to the second order.

    ``units``: of the loss as a function of one gate a unit on the weights that consume it (that produce it,
    where none does): ``-g + h / 2`` with the gate's derivatives ``g`` and ``h``; what the weights of a unit
    do together is in ``h``. ``weights``: ``sum(w ** 2 * h) / 2`` over the weights that produce the unit, each
    with its own second derivative, as in Optimal Brain Damage.

    Attributes:
        diagonal: whose second derivatives are estimated.
        probes: vectors of random signs for each batch.
    """

    relative: ClassVar[bool] = False

    diagonal: Diagonal = "units"
    probes: int = 2

    def __post_init__(self) -> None:
        check_choice("diagonal", self.diagonal, get_args(Diagonal))
        if self.probes < 1:
            raise CriterionError(f"probes={self.probes}: give at least 1")

    def scores(self, context: Context) -> dict[str, Tensor]:
        """Scores of every unit.

        Raises CriterionError without data or loss, or for a model that cannot be differentiated twice.
        """
        data, loss = context.labelled("hessian")
        model = differentiable(context.model)
        named = dict(model.named_parameters(remove_duplicate=False))
        distinct = list(dict.fromkeys(named.values()))
        groups = context.structure.groups
        roles = {group.name: self._roles(group) for group in groups}
        generator = torch.Generator().manual_seed(context.seed)
        scores = {group.name: torch.zeros(group.width, dtype=torch.float64) for group in groups}
        count = 0
        for inputs, targets in data:
            count += 1
            with gradients_enabled(model), _twice():
                value = loss(model(inputs.to(distinct[0].device, copy=True)), targets.to(distinct[0].device))
                require_gradient(value)
                first = torch.autograd.grad(value, distinct, create_graph=True, allow_unused=True)
                used = {id(p): g for p, g in zip(distinct, first, strict=True) if g is not None}
                weights = {name: p.detach() for name, p in named.items() if id(p) in used}
                gradients = {name: used[id(named[name])].detach() for name in weights}
                for _ in range(self.probes):
                    signs, probe = self._probe(groups, roles, weights, generator)
                    curvature = _product(used, named, probe)
                    for group in groups:
                        scores[group.name] += (
                            self._second(group, roles[group.name], signs, weights, probe, curvature)
                            / self.probes
                        )
            if self.diagonal == "units":
                products = {name: inner(gradients[name], weights[name]) for name in weights}
                for group in groups:
                    scores[group.name] -= over_unit(group, products, roles[group.name])
        return {name: value / count for name, value in scores.items()}

    def _roles(self, group: Group) -> tuple[Role, ...]:
        return gated_by(group) if self.diagonal == "units" else PRODUCING

    def _probe(
        self,
        groups: tuple[Group, ...],
        roles: Mapping[str, tuple[Role, ...]],
        weights: Mapping[str, Tensor],
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Random signs of the units, and the direction in which all weights go with them."""
        if self.diagonal == "weights":
            return {}, {name: _signs(weight.shape, generator).to(weight) for name, weight in weights.items()}
        signs = {group.name: _signs((group.width,), generator) for group in groups}
        probe: dict[str, Tensor] = {}
        for group in groups:
            for part in group.slices:
                if part.role not in roles[group.name] or part.parameter not in weights:
                    continue
                weight = weights[part.parameter]
                along = torch.zeros(weight.shape[part.axis])
                along[torch.from_numpy(part.index)] = signs[group.name][:, None]
                shape = [-1 if axis == part.axis else 1 for axis in range(weight.dim())]
                direction = weight * along.to(weight).reshape(shape)
                probe[part.parameter] = probe.get(part.parameter, 0) + direction
        return signs, probe

    def _second(
        self,
        group: Group,
        roles: tuple[Role, ...],
        signs: Mapping[str, Tensor],
        weights: Mapping[str, Tensor],
        probe: Mapping[str, Tensor],
        curvature: Mapping[str, Tensor],
    ) -> Tensor:
        """Half the second derivative that one probe estimates: ``[width]``."""
        if self.diagonal == "units":
            products = {name: inner(curve, weights[name]) for name, curve in curvature.items()}
            return over_unit(group, products, roles) * signs[group.name] / 2
        products = {
            name: weights[name].abs().square() * inner(curve, probe[name])
            for name, curve in curvature.items()
        }
        return over_unit(group, products, roles) / 2


def _signs(shape: torch.Size | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, tuple(shape), generator=generator) * 2.0 - 1.0


def _product(
    gradients: Mapping[int, Tensor], named: Mapping[str, nn.Parameter], probe: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The Hessian times a direction: parameter name -> tensor; what does not depend on it is left out."""
    along = {id(named[name]): direction for name, direction in probe.items()}
    slope = sum(inner(gradients[key], direction).sum() for key, direction in along.items())
    if not isinstance(slope, Tensor) or not slope.requires_grad:
        return {}
    parameters = [parameter for parameter in dict.fromkeys(named.values()) if id(parameter) in gradients]
    try:
        curves = torch.autograd.grad(slope, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise CriterionError(
            f"the model cannot be differentiated twice ({str(error).splitlines()[0]}): use criterion fisher"
        ) from error
    found = {id(p): curve for p, curve in zip(parameters, curves, strict=True) if curve is not None}
    return {name: found[id(parameter)] for name, parameter in named.items() if id(parameter) in found}


@contextmanager
def _twice() -> Iterator[None]:
    """Only operators that can be differentiated twice are chosen meanwhile."""
    with sdpa_kernel(SDPBackend.MATH):
        yield
