"""Setting weights to zero once, without a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from autoprune.config.granularity import is_n_of_m
from autoprune.criteria import score_masks
from autoprune.criteria.selection import Scope
from autoprune.errors import PlanError
from autoprune.structure.graph.values import ExampleInputs, check_inputs
from autoprune.structure.masks import MaskStructure, discover_masks, masked
from autoprune.structure.wrappers import unwrapped
from autoprune.tasks import Data
from autoprune.utils.arguments import check_type
from autoprune.workflows.prune import Selection, calibration, check_cut, given_data


def mask(
    model: nn.Module,
    example_inputs: ExampleInputs,
    sparsity: float | Mapping[str, float] | None = None,
    *,
    granularity: str = "weights",
    scope: Scope = "local",
    criterion: str = "l1",
    data: Data | Mapping[str, Any] | None = None,
    structure: MaskStructure | None = None,
) -> nn.Module:
    """Set weights of a model to zero once, without search or recovery.

    Nothing gets smaller or, in an ordinary runtime, faster: tensors keep their shapes. What falls is the
    number of non-zero parameters and the size of a file that is compressed.

    Args:
        model: left as it is.
        example_inputs: a tensor, or the positional arguments of ``forward``.
        sparsity: share of the units to mask, in [0, 1): one for all layers, or one for each named layer (the
            others stay dense); 0.5 when none is given. N:M takes none: it is 1 - N/M.
        granularity: ``"weights"``, ``"N:M"`` such as ``"2:4"``, ``"block:RxC"`` such as ``"block:4x4"``,
            ``"kernels"`` of convolutions, or ``"neurons"``: rows of fully connected layers.
        scope: ``"local"``: that share of every layer; ``"global"``: of the whole model, by one threshold.
            Magnitudes are divided by their layer's mean for that, first-order scores are not.
        criterion: ``"l1"``, ``"l2"``, ``"taylor"`` (takes data) or ``"random"``.
        data: for ``"taylor"``; as :func:`autoprune.search` takes it.
        structure: result of :func:`autoprune.structure.masks.discover_masks`, to save time.

    Returns:
        A new model that can be fine-tuned: its zeros stay zero. :func:`autoprune.fold` makes it a plain one.

    Raises:
        ArgumentError: for an argument of another type.
        PlanError: for a sparsity out of range, an unknown layer, or when nothing would be masked.
        ModelError: when the model does not run, or none of its weights fits the pattern.
        UserError: for an unknown granularity.
        CriterionError: when the criterion is unknown or lacks data.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> masked = autoprune.mask(network, torch.randn(1, 20), granularity="2:4")
        >>> int(torch.count_nonzero(masked[0].weight)), masked[0].weight.numel()
        (80, 160)
    """
    check_cut(model, sparsity, criterion)
    check_type("granularity", granularity, str, "a string such as 'weights' or '2:4'")
    check_type("structure", structure, (MaskStructure, type(None)), "what discover_masks returned")
    if structure is None:
        check_inputs(example_inputs)
    model = unwrapped(model)
    structure = structure or discover_masks(model, example_inputs, granularity)
    structure.require_groups()
    batches, loss = calibration(given_data(data))
    scores = score_masks(criterion, model, structure, batches=batches, loss=loss)
    if not is_n_of_m(str(structure.pattern)):
        widths = Selection(0.5 if sparsity is None else sparsity, None, scope).widths(scores.ranking)
    elif sparsity is None:
        widths = {group.name: group.least for group in structure.groups}
    else:
        raise PlanError(f"{structure.pattern} already sets how much stays: omit the sparsity")
    scores.plan(widths).check(structure)
    return masked(model, scores.masks(widths))
