"""Second moments of what layers read, collected in one pass over calibration data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from autoprune.recovery.reconstruction.layer_inputs import InputWatch, Reading, names_in, watchable
from autoprune.structure.groups import Structure
from autoprune.structure.surgery.untie import described
from autoprune.tasks.evaluate import call, device_of

MOST_FEATURES = 1200
"""Convolutions whose kernel covers more inputs than this are seen a position at a time."""
MOST_SAMPLES = 2048
"""Samples of a layer's input that are taken from a batch."""


@dataclass(frozen=True, eq=False)
class Consumer:
    """A layer, or some rows of its weight, with the moments of its input.

    Its ``d`` features are the positions along the weight's input axis, times the elements of the kernel
    where the input is unfolded.

    Attributes:
        weight: state-dict name of the weight.
        rows: the rows of it that read this input, from the first to before the second.
        axis: the axis of the weight that is summed over.
        groups: of a grouped convolution; each has moments of its own.
        unfolded: whether the elements of a convolution's kernel are features of their own.
        bias: state-dict name of the bias that belongs to these rows alone, or None.
        normalised: whether a batch normalisation takes the mean out of the result.
        second: mean of ``x xᵀ``, ``[groups, d, d]``, float64.
        mean: mean of ``x``, ``[groups, d]``, float64.
        samples: number of ``x``.
    """

    weight: str
    rows: tuple[int, int]
    axis: int
    groups: int
    unfolded: bool
    bias: str | None
    normalised: bool
    second: Tensor
    mean: Tensor
    samples: int

    @property
    def centred(self) -> bool:
        """Whether a constant shift of the result can be made up for: by the bias, or by the normalisation."""
        return self.bias is not None or self.normalised

    def moments_of(self, features: Tensor) -> Tensor:
        """Moments to fit with, of these features with all: about the mean where `centred`, else about zero.

        ``[groups, len(features), d]``.
        """
        second = self.second.index_select(1, features)
        if not self.centred:
            return second
        return second - self.mean.index_select(1, features).unsqueeze(2) * self.mean.unsqueeze(1)


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of the inputs of every layer that reads units of a group.

    Attributes:
        consumers: in the order in which they run first.
        left_out: state-dict name of a weight that reads units -> why there are no moments for it.
    """

    consumers: tuple[Consumer, ...]
    left_out: Mapping[str, str]


class Accumulator:
    """Running sums of ``x xᵀ`` and ``x`` in float64, of one batch after another."""

    def __init__(self) -> None:
        self._second: Tensor | None = None
        self._total: Tensor | None = None
        self.samples = 0

    def add(self, x: Tensor, other: Tensor | None = None) -> None:
        """Add samples ``[groups, n, d]``; with `other` ``[groups, n, e]`` the product is ``x otherᵀ``."""
        product = (x.transpose(1, 2) @ (x if other is None else other)).double()
        total = x.sum(1, dtype=torch.float64)
        self._second = product if self._second is None else self._second + product
        self._total = total if self._total is None else self._total + total
        self.samples += x.shape[1]

    @property
    def second(self) -> Tensor:
        """Mean of the products, ``[groups, d, e]``."""
        assert self._second is not None
        return self._second / self.samples

    @property
    def mean(self) -> Tensor:
        """Mean of the samples, ``[groups, d]``."""
        assert self._total is not None
        return self._total / self.samples


Place = tuple[str, tuple[int, int]]
"""A weight and its rows."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """What is known of one place while batches come in; `reading` is one without its inputs."""

    reading: Reading
    unfolded: bool
    biases: set[str | None]
    sums: Accumulator


class _Collector:
    """Adds up what is read with certain weights."""

    def __init__(self, axes: Mapping[str, int], most_features: int, most_samples: int) -> None:
        self.seen: dict[Place, _Seen] = {}
        self.complex: set[str] = set()
        """Weights that read complex numbers, of which no moments are taken."""
        self.batch = 0
        self._axes = axes
        self._most_features, self._most_samples = most_features, most_samples

    def see(self, reading: Reading) -> bool:
        """Add one reading, if it sums over the axis that holds units."""
        if self._axes.get(reading.weight) != reading.axis:
            return False
        if reading.inputs.is_complex():
            self.complex.add(reading.weight)
            return False
        place = reading.weight, reading.rows
        known = self.seen.get(place)
        if known is None:
            shape = replace(reading, inputs=reading.inputs.new_empty(0))
            known = _Seen(shape, _is_unfolded(reading, self._most_features), set(), Accumulator())
            self.seen[place] = known
        known.biases.add(reading.bias)
        known.sums.add(reading.samples(known.unfolded, self._most_samples, self.batch))
        return False


def collect_moments(
    model: nn.Module,
    structure: Structure,
    batches: Iterable[Tensor],
    *,
    most_features: int = MOST_FEATURES,
    most_samples: int = MOST_SAMPLES,
) -> Moments:
    """Moments of what reads units of any group, from one run over `batches`; nothing else is kept of them.

    The original runs in evaluation mode and is not changed. Linear layers, plain, grouped and transposed
    convolutions, the projections of attention, and input and recurrent weights of recurrent layers are seen.

    Args:
        model: the original model.
        structure: result of :func:`autoprune.discover` for it.
        batches: inputs ``[N, ...]``.
        most_features: see :data:`MOST_FEATURES`; 0 sees every convolution a position at a time.
        most_samples: see :data:`MOST_SAMPLES`.

    Raises:
        DataError: when the model cannot take a batch.
        ModelError: when the model cannot be copied.
    """
    model = watchable(described(model, structure))
    wanted = _reading_axes(structure)
    collector = _Collector(wanted, most_features, most_samples)
    watch, device = InputWatch(names_in(model), collector.see), device_of(model)
    with torch.no_grad(), watch:
        for inputs in batches:
            call(model, inputs.to(device))
            collector.batch += 1
    seen = collector.seen
    left_out = _left_out(structure, wanted, seen, watch) | dict.fromkeys(
        sorted(collector.complex), "it reads complex numbers"
    )
    biases = _own_biases(seen, watch)
    consumers = (
        _consumer(known, biases.get(place), place[0] in watch.normalised)
        for place, known in seen.items()
        if place[0] not in left_out
    )
    return Moments(tuple(consumers), left_out)


def _reading_axes(structure: Structure) -> dict[str, int]:
    """State-dict name of every tensor that consumes units of some group -> the axis that does."""
    return {
        part.parameter: part.axis for group in structure.groups for part in group.slices if part.role == "in"
    }


def _is_unfolded(reading: Reading, most_features: int) -> bool:
    """Whether the elements of the kernel are to be features of their own."""
    if reading.window is None or reading.window.transposed:
        return False
    return reading.inputs.shape[1] // reading.groups * reading.elements <= most_features


def _consumer(known: _Seen, bias: str | None, normalised: bool) -> Consumer:
    reading, sums = known.reading, known.sums
    return Consumer(
        weight=reading.weight,
        rows=reading.rows,
        axis=reading.axis,
        groups=reading.groups,
        unfolded=known.unfolded,
        bias=bias,
        normalised=normalised,
        second=sums.second,
        mean=sums.mean,
        samples=sums.samples,
    )


def _own_biases(seen: Mapping[Place, _Seen], watch: InputWatch) -> dict[Place, str]:
    """Place -> the bias that is added to the results of these rows and to nothing else."""
    uses = Counter((bias, place[1]) for place, known in seen.items() for bias in known.biases)
    own: dict[Place, str] = {}
    for place, known in seen.items():
        bias = next(iter(known.biases))
        alone = len(known.biases) == 1 and uses[bias, place[1]] == 1
        if bias is not None and alone and bias not in watch.otherwise and known.reading.axis == 1:
            own[place] = bias
    return own


def _left_out(
    structure: Structure, wanted: Mapping[str, int], seen: Mapping[Place, _Seen], watch: InputWatch
) -> dict[str, str]:
    """Weight -> why it is not compensated."""
    others = (part for group in structure.groups for part in group.slices if part.role != "in")
    producing = {(part.parameter, part.axis) for part in others}
    reasons: dict[str, str] = {}
    for name, axis in wanted.items():
        known = {rows: part for (weight, rows), part in seen.items() if weight == name}
        reason = _fault(known, structure.tensors[name][0].at(structure.widths))
        if (name, axis) in producing:
            reason = "the same axis of it makes units"
        elif name in watch.otherwise:
            reason = f"used by {', '.join(sorted(watch.otherwise[name]))}"
        if reason:
            reasons[name] = reason
    return reasons


def _fault(known: Mapping[tuple[int, int], _Seen], rows: int) -> str:
    """What is wrong with what was seen of a weight of so many rows; empty if nothing is."""
    if not known:
        return "no linear, convolutional or recurrent layer was seen to read with it"
    if not _cover(sorted(known), rows):
        return "some of its rows are used in several ways or not at all"
    if any(part.reading.axis == 0 and part.reading.groups > 1 for part in known.values()):
        return "a grouped transposed convolution"
    if not all(bool(part.sums.second.isfinite().all()) for part in known.values()):
        return "its input is not finite"
    return ""


def _cover(parts: list[tuple[int, int]], length: int) -> bool:
    """Whether sorted ranges follow each other from 0 to `length`."""
    ends = [0, *(stop for _, stop in parts)]
    return ends == [*(start for start, _ in parts), length]
