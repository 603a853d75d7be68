"""Sequential compensation: every layer is fitted to what the cut network really feeds it.

Compensation by the uncut model's moments takes the inputs of every layer for what they were. Here the layers
are fitted one after the other, in the order in which they run, each to give what it gave in the uncut model
from what now comes in, as in He et al., "Channel Pruning for Accelerating Very Deep Neural Networks" (2017):
errors made further up are mended, too. It takes two runs over the data for every layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.recovery.compensation import RIDGE, factorized
from autoprune.recovery.matrices import Fitted, as_matrix, from_matrix, part_of, rows_kept, write
from autoprune.recovery.moments import MOST_SAMPLES, Accumulator, Consumer, Moments
from autoprune.recovery.reading import Reading, Watch, names_in, watchable
from autoprune.structure.groups import Structure
from autoprune.structure.plan import Plan
from autoprune.structure.sharing import described
from autoprune.structure.surgery import kept_positions
from autoprune.tasks.evaluate import call, device_of

Batches = Callable[[], Iterable[Tensor]]
"""Gives the same inputs ``[N, ...]`` every time."""


@dataclass(frozen=True, eq=False)
class _Comparison:
    """What a layer reads in the uncut model (``x``) and in the cut one (``z``)."""

    across: Accumulator = field(default_factory=Accumulator)
    now: Accumulator = field(default_factory=Accumulator)

    def add(self, x: Tensor, z: Tensor) -> None:
        self.across.add(x, z)
        self.now.add(z)

    def moments(self, centred: bool) -> tuple[Tensor, Tensor]:
        """Means of ``x zᵀ`` and ``z zᵀ``, about the means where `centred`."""
        across, now = self.across.second, self.now.second
        if centred:
            across = across - self.across.mean.unsqueeze(2) * self.now.mean.unsqueeze(1)
            now = now - self.now.mean.unsqueeze(2) * self.now.mean.unsqueeze(1)
        return across, now


def rebuild(
    model: nn.Module,
    pruned: nn.Module,
    plan: Plan,
    structure: Structure,
    moments: Moments,
    batches: Batches,
    *,
    ridge: float = RIDGE,
    most_samples: int = MOST_SAMPLES,
) -> tuple[str, ...]:
    """Fit the layers of `pruned` to the outputs of the uncut model's, one after the other, in place.

    Meant for a network that was compensated before; λ keeps the weights close to what they are. BatchNorm
    layers of the cut network use the statistics of each batch meanwhile, and are to be estimated anew
    afterwards, see :func:`autoprune.recovery.recalibrate`.

    Args:
        model: the uncut model; left as it is.
        pruned: ``apply(model, plan, structure)``, compensated.
        plan: the units that stay.
        structure: the uncut model's.
        moments: from :func:`autoprune.recovery.collect_moments`: which layers can be fitted, and how.
        batches: calibration inputs.
        ridge: λ as a share of the mean second moment of an input.
        most_samples: samples of a layer's input that are taken from a batch.

    Returns:
        State-dict names of the weights that were fitted.
    """
    base = described(model, structure)
    tensors = dict(base.named_parameters())
    kept = kept_positions(plan, structure)
    fitted: list[str] = []
    for consumer in moments.consumers:
        if consumer.weight not in dict(pruned.named_parameters()):
            continue
        weight = tensors[consumer.weight]
        rows = rows_kept(consumer, kept.get(consumer.weight, {}), weight)
        axis, count = 1 - consumer.axis, len(rows.index)
        place = (rows.begin, rows.begin + count) if axis == 0 else None
        seen = _compare((base, pruned), consumer, place, batches, most_samples)
        if seen is None:
            continue
        part = part_of(consumer, weight).index_select(axis, rows.index)
        own = pruned.get_parameter(consumer.weight).detach().narrow(axis, rows.begin, count)
        bias = None if consumer.bias is None else part_of(consumer, tensors[consumer.bias])[rows.index]
        write(pruned, consumer, _refit(consumer, part, own, seen, ridge), bias, rows.begin)
        fitted.append(consumer.weight)
    return tuple(dict.fromkeys(fitted))


def _refit(consumer: Consumer, part: Tensor, own: Tensor, seen: _Comparison, ridge: float) -> Fitted:
    """The rows that are to give what `part` gave in the uncut model, close to `own` in the cut one."""
    wanted, present = as_matrix(consumer, part), as_matrix(consumer, own)
    across, now = seen.moments(consumer.centred)
    missing = wanted @ across - present @ now
    change = torch.cholesky_solve(missing.transpose(1, 2), factorized(now, ridge)).transpose(1, 2)
    matrix = present + change
    shift = wanted @ seen.across.mean.unsqueeze(2) - matrix @ seen.now.mean.unsqueeze(2)
    return from_matrix(consumer, matrix, shift.squeeze(2), own)


class _Enough(Exception):  # noqa: N818 - ends a run early
    """All that was asked for has been seen."""


def _compare(
    models: tuple[nn.Module, nn.Module],
    consumer: Consumer,
    place: tuple[int, int] | None,
    batches: Batches,
    most: int,
) -> _Comparison | None:
    """Moments between what a layer reads in the uncut and in the cut model.

    None where the cut model calls it less often, because a block was taken out.

    Args:
        models: uncut and cut.
        consumer: the layer.
        place: its rows in the cut model; None for all.
        batches: calibration inputs.
        most: samples a batch.
    """
    seen = _Comparison()
    base, pruned = (watchable(model) for model in models)
    for module in pruned.modules():
        if isinstance(module, _BatchNorm):
            # Without running statistics it uses those of each batch.
            module.running_mean = module.running_var = None
            module.track_running_stats = False
    calls: dict[nn.Module, int] = {}
    for seed, inputs in enumerate(batches()):
        found = []
        for module, rows in ((base, consumer.rows if place else None), (pruned, place)):
            samples = _read(module, consumer, rows, inputs, (most, seed), calls.get(module, 0))
            calls[module] = len(samples)
            found.append(samples)
        if len(found[0]) != len(found[1]):
            return None
        for x, z in zip(*found, strict=True):
            seen.add(x, z)
    return seen if seen.now.samples else None


def _read(
    model: nn.Module,
    consumer: Consumer,
    rows: tuple[int, int] | None,
    inputs: Tensor,
    draw: tuple[int, int],
    calls: int,
) -> list[Tensor]:
    """Samples of what the layer reads from one batch, one tensor a call; stops after so many calls if any."""
    found: list[Tensor] = []

    def see(reading: Reading) -> None:
        if reading.weight == consumer.weight and rows in (None, reading.rows):
            found.append(reading.samples(consumer.unfolded, *draw))
            if len(found) == calls:
                raise _Enough

    try:
        with torch.no_grad(), Watch(names_in(model), see):
            call(model, inputs.to(device_of(model)))
    except _Enough:
        pass
    return found
