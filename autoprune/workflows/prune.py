"""Cutting once, without a search: by a share of units, by a score threshold, or by a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast, get_args

from torch import nn

from autoprune.cost import CostModel
from autoprune.cost.unit_prices import unit_prices
from autoprune.criteria import Context, Ranking, rankings
from autoprune.criteria import criterion as criterion_named
from autoprune.criteria.base import Batches, Loss
from autoprune.criteria.selection import Scope, plan_of, widths_above, widths_at_sparsity
from autoprune.errors import PlanError
from autoprune.recovery import Repair
from autoprune.structure import Structure, apply, discover
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.plans import Widths
from autoprune.structure.wrappers import unwrapped
from autoprune.tasks import Data, data_of
from autoprune.utils.arguments import check_share, check_type

CALIBRATION_BATCHES, BATCH_SIZE = 8, 128
DATA = (
    "a mapping {'train': ..., 'validation': ..., 'test': ...} of DataLoaders, data sets or pairs of tensors, "
    "or an autoprune.Data"
)
"""What data may be in Python, for messages."""


@dataclass(frozen=True)
class Selection:
    """How much is removed.

    Attributes:
        sparsity: share of units to remove, in [0, 1): one for all groups, or one for each named group
            (the others stay whole); None when a threshold decides.
        threshold: units whose score relative to the mean is below it go; None when `sparsity` decides.
        scope: ``"local"`` compares a unit with its group, ``"global"`` with the whole model.
    """

    sparsity: float | Mapping[str, float] | None = None
    threshold: float | None = None
    scope: Scope = "local"

    def __post_init__(self) -> None:
        if (self.sparsity is None) == (self.threshold is None):
            raise PlanError("say how much to remove: either a sparsity or a threshold")
        checked_scope(self.scope)
        if self.scope == "global" and isinstance(self.sparsity, Mapping):
            raise PlanError("a sparsity for each group leaves nothing to compare globally: use scope 'local'")

    def widths(self, ranking: Ranking) -> Widths:
        """Units that stay in each group; at least one everywhere.

        Raises PlanError for a sparsity out of range or an unknown group.
        """
        return {name: max(1, width) for name, width in self._widths(ranking).items()}

    def _widths(self, ranking: Ranking) -> Widths:
        if self.threshold is not None:
            return widths_above(ranking, self.threshold, self.scope)
        if isinstance(self.sparsity, Mapping):
            full = {name: len(scores) for name, scores in ranking.scores.items()}
            return full | {name: self._one(ranking, name, share) for name, share in self.sparsity.items()}
        assert self.sparsity is not None
        return widths_at_sparsity(ranking, _checked(self.sparsity, "all groups"), self.scope)

    @staticmethod
    def _one(ranking: Ranking, name: str, share: float) -> int:
        if name not in ranking.scores:
            raise PlanError(f"there is no group {name!r}: see [g.name for g in structure.groups]")
        width = len(ranking.scores[name])
        return width - round(_checked(share, repr(name)) * width)


def checked_scope(scope: str) -> Scope:
    """The scope, if it is one. Raises PlanError for another word."""
    if scope not in get_args(Scope):
        raise PlanError(f"scope {scope!r} is unknown: use 'local' or 'global'")
    return scope  # type: ignore[return-value]


def prune(
    model: nn.Module,
    example_inputs: ExampleInputs,
    sparsity: float | Mapping[str, float] | None = None,
    *,
    threshold: float | None = None,
    scope: Scope = "local",
    criterion: str = "l2",
    data: Data | Mapping[str, Any] | None = None,
    structure: Structure | None = None,
    compensate: bool = True,
) -> nn.Module:
    """Cut a model once, without a search or training.

    With data, layers that read removed units are fitted to the units that stay, and BatchNorm statistics are
    recalibrated; without data the weights that stay are the given ones.

    Args:
        model: left as it is.
        example_inputs: a tensor, or the positional arguments of ``forward``.
        sparsity: see :class:`Selection`; 0.5 when neither it nor a threshold is given. A block of a
            structure discovered with ``depth`` stays unless it is named with a sparsity of 1.
        threshold: see :class:`Selection`.
        scope: see :class:`Selection`.
        criterion: what ranks the units.
        data: for criteria that need it, and to recover the cut model; as :func:`autoprune.search` takes it.
        structure: result of :func:`discover` or :func:`restrict`, to save time or to say what may be cut.
        compensate: whether the cut model is repaired where there is data.

    Returns:
        A new, smaller model in the training mode of the given one. At least one unit of every group stays.

    Raises:
        ArgumentError: for an argument of another type.
        PlanError: for a sparsity out of range, an unknown group, or when nothing would be removed.
        ModelError: when the model cannot be traced.
        CriterionError: when the criterion is unknown or lacks data.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> smaller = autoprune.prune(network, torch.randn(1, 20), 0.5)
        >>> smaller[0].out_features, smaller[2].in_features
        (4, 4)
    """
    check_type("structure", structure, (Structure, type(None)), "what autoprune.discover returned")
    check_cut(model, sparsity, criterion)
    known = given_data(data)
    check_share("threshold", threshold, "a number")
    if sparsity is None and threshold is None:
        sparsity = 0.5
    model = unwrapped(model)
    structure = structure or discover(model, example_inputs)
    if not structure.groups:
        reasons = "; ".join(list(dict.fromkeys(structure.frozen.values()))[:2])
        raise PlanError(f"nothing in {type(model).__name__} can be cut: {reasons or 'it has no weights'}")
    blocks: list[str] = []
    if isinstance(sparsity, Mapping):
        blocks = _blocks_to_take_out(sparsity, structure)
        sparsity = {name: share for name, share in sparsity.items() if name not in structure.blocks}
    selection = Selection(sparsity, threshold, scope)
    ranking = rank(model, structure, criterion, known)
    widths = structure.widths | selection.widths(ranking) | dict.fromkeys(blocks, 0)
    plan = plan_of(ranking, widths, structure)
    pruned = apply(model, plan, structure)
    batches, _ = calibration(known)
    if batches is not None and compensate:
        Repair(model, structure, [inputs for inputs, _ in batches()])(pruned, plan)
    return pruned


def check_cut(model: object, sparsity: object, criterion: object) -> None:
    """Raise ArgumentError for what :func:`prune` and :func:`autoprune.mask` cannot take of these."""
    check_type("model", model, nn.Module, "a torch.nn.Module", is_made=True)
    check_share("sparsity", sparsity, "a number from 0 to 1, or a mapping of groups to such numbers")
    check_type("criterion", criterion, str, "its name, or a text path/file.py:function")


def given_data(data: object) -> Data | None:
    """Data that are given in Python, but for a name. Raises ArgumentError for something else."""
    if isinstance(data, Mapping):
        return data_of("data", data)
    check_type("data", data, (Data, type(None)), DATA, is_made=True)
    return cast(Data | None, data)


def _blocks_to_take_out(sparsity: Mapping[str, float], structure: Structure) -> list[str]:
    named = {name: share for name, share in sparsity.items() if name in structure.blocks}
    for name, share in named.items():
        if share not in (0, 1):
            raise PlanError(f"{name!r} is a whole block: give it a sparsity of 0 or 1, not {share}")
    return [name for name, share in named.items() if share == 1]


def rank(model: nn.Module, structure: Structure, criterion: str, data: Data | None) -> Ranking:
    """Scores of one criterion. Raises CriterionError when it is unknown or lacks data."""
    batches, loss = calibration(data)
    prices = unit_prices(CostModel.of(structure, model))
    context = Context(model, structure, batches, loss, prices=prices)
    return rankings({criterion: criterion_named(criterion)}, context)[criterion]


def calibration(data: Data | None) -> tuple[Batches | None, Loss | None]:
    """The first training batches and the task's loss, for criteria that need them."""
    if data is None:
        return None, None
    return lambda: islice(data.train.batches(BATCH_SIZE), CALIBRATION_BATCHES), data.task.loss


def _checked(sparsity: float, where: str) -> float:
    if not 0 <= sparsity < 1:
        raise PlanError(f"the sparsity of {where} must be at least 0 and below 1, not {sparsity}")
    return sparsity
