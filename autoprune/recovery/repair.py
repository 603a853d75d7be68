"""Repair of a cut model without training: compensation, layers fitted in turn, and BatchNorm statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.reconstruction.compensation import Compensator
from autoprune.recovery.reconstruction.input_moments import collect_moments
from autoprune.recovery.reconstruction.layerwise import Rebuilder
from autoprune.structure import Plan, Structure
from autoprune.structure.plans import AnyPlan

Stage = Callable[[str], AbstractContextManager[object]]
"""What surrounds each part of a repair, by its name, such as a stopwatch."""


@dataclass(frozen=True, eq=False)
class Repair:
    """Repairs cut copies of one model; made once, used for every candidate.

    Attributes:
        model: the model before the cut; left as it is.
        structure: of that model; None where its weights are masked, so that no layer loses inputs.
        inputs: calibration batches ``[N, ...]``.
        compensates: whether layers that read removed units are fitted to those that stay.
    """

    model: nn.Module
    structure: Structure | None
    inputs: Sequence[Tensor]
    compensates: bool = True

    def __call__(
        self, pruned: nn.Module, plan: AnyPlan, *, rebuild: bool = False, stage: Stage = nullcontext
    ) -> None:
        """Repair a model that was cut by a plan, in place; with `rebuild`, fit all its layers one by one."""
        self.compensate(pruned, plan, stage)
        if rebuild and isinstance(plan, Plan) and self.rebuilder is not None:
            with stage("rebuild"):
                self.rebuilder(pruned, plan)
        with stage("recalibrate"):
            recalibrate(pruned, self.inputs)

    def compensate(self, pruned: nn.Module, plan: AnyPlan, stage: Stage = nullcontext) -> None:
        """Fit what reads the removed units to those that stay, in place, where that is to be done."""
        if self.compensates and isinstance(plan, Plan):
            with stage("compensate"):
                if self.compensator is not None:
                    self.compensator(pruned, plan)

    @cached_property
    def compensator(self) -> Compensator | None:
        """Fits what reads removed units; None where nothing is removed."""
        if self.structure is None:
            return None
        moments = collect_moments(self.model, self.structure, self.inputs)
        return Compensator(self.model, self.structure, moments)

    @cached_property
    def rebuilder(self) -> Rebuilder | None:
        """Fits layers to what a cut model feeds them; None where nothing is removed."""
        if self.structure is None or self.compensator is None:
            return None
        return Rebuilder(self.model, self.structure, self.compensator.moments, self.inputs)
