"""Sequential compensation: every layer is fitted to what the cut network really feeds it.

Compensation by the original model's moments takes the inputs of every layer for what they were. Here the
layers are fitted one after the other, in the order in which they run, each to give what it gave in the
original model from what now comes in, as in He et al., "Channel Pruning for Accelerating Very Deep Neural
Networks" (2017): errors made further up are repaired, too. The inputs in the original model are kept, so that
a cut network runs over the data once: each layer is fitted at the moment when it is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autoprune.recovery.reconstruction.compensation import RIDGE, factorized
from autoprune.recovery.reconstruction.input_moments import Accumulator, Consumer, Moments
from autoprune.recovery.reconstruction.layer_inputs import InputWatch, Reading, names_in, watchable
from autoprune.recovery.reconstruction.weight_matrix import (
    Fitted,
    as_matrix,
    bias_kept,
    from_matrix,
    own,
    part_of,
    rows_kept,
    write,
)
from autoprune.structure.groups import Structure
from autoprune.structure.plan import Plan
from autoprune.structure.surgery.apply import kept_positions
from autoprune.structure.surgery.untie import described
from autoprune.tasks.evaluate import call, device_of

MOST_INPUTS, MOST_INPUT_BYTES = 512, 1 << 25
"""Inputs that the networks run over in one batch; where they take more memory, the first batch alone."""
MOST_SAMPLES = 8192
"""Samples of a layer's input that are kept."""
ALIKE = 64
"""Inputs of which samples are taken at the same positions."""
MOST_BYTES = 1 << 28
"""Memory that the kept samples of all layers may take; fewer are kept where it would be more."""


class Rebuilder:
    """Fits the layers of cut copies of one model one after the other; made once, used for every candidate.

    Args:
        model: the original model that was given to :func:`autoprune.discover`.
        structure: its structure.
        moments: from :func:`autoprune.recovery.collect_moments`: which layers can be fitted, and how.
        batches: calibration inputs ``[N, ...]``; those of the first one's shape are made one batch, see
            :data:`MOST_INPUTS`.
        ridge: λ as a share of the mean second moment of an input; more keeps the weights closer to what
            they are.
    """

    def __init__(
        self,
        model: nn.Module,
        structure: Structure,
        moments: Moments,
        batches: Iterable[Tensor],
        *,
        ridge: float = RIDGE,
    ) -> None:
        self._structure, self._consumers, self._ridge = structure, moments.consumers, ridge
        base = described(model, structure)
        self._tensors = dict(base.named_parameters())
        self._inputs = _one_batch(batches)
        self._samples = _samples_kept(self._consumers)
        self._before = self._read(base)

    def __call__(self, pruned: nn.Module, plan: Plan) -> tuple[str, ...]:
        """Fit `pruned`, which is ``apply(model, plan, structure)``, in place.

        Meant for a network that was compensated before. BatchNorm layers use the statistics of the batch
        meanwhile, and need recalibration afterwards, see :func:`autoprune.recovery.recalibrate`. A
        layer that the cut network calls less often, because a block was taken out, stays as it is.

        Returns:
            State-dict names of the weights that were fitted, in the order of the original model.
        """
        jobs = self._jobs(pruned, plan)
        own(pruned, {name for job in jobs for name in (job.consumer.weight, job.consumer.bias) if name})
        running = watchable(pruned)
        for module in running.modules():
            if isinstance(module, _BatchNorm):
                # Without running statistics it uses those of each batch.
                module.running_mean = module.running_var = None
                module.track_running_stats = False
        fitter = _Fitter(pruned, jobs, self._samples, self._ridge)
        while not self._run(running, fitter):
            pass
        done = [job.consumer.weight for job in jobs if job.done]
        return tuple(dict.fromkeys(done))

    def _run(self, running: nn.Module, fitter: _Fitter) -> bool:
        """Run over the data once; whether that was to the end."""
        fitter.begin()
        try:
            with torch.no_grad(), InputWatch(names_in(running), fitter.see):
                call(running, self._inputs.to(device_of(running)))
        except _Again:
            return False
        return True

    def _read(self, base: nn.Module) -> Mapping[int, list[Tensor]]:
        """Place of a consumer -> what it reads in the original, ``[groups, n, d]``, one tensor a call."""
        places = {(consumer.weight, consumer.rows): at for at, consumer in enumerate(self._consumers)}
        found: dict[int, list[Tensor]] = {}

        def see(reading: Reading) -> bool:
            at = places.get((reading.weight, reading.rows))
            if at is not None:
                samples = _samples_of(reading, self._consumers[at], self._samples)
                found.setdefault(at, []).append(samples)
            return False

        running = watchable(base)
        with torch.no_grad(), InputWatch(names_in(running), see):
            call(running, self._inputs.to(device_of(running)))
        return found

    def _jobs(self, pruned: nn.Module, plan: Plan) -> list[_Job]:
        present, kept = dict(pruned.named_parameters()), kept_positions(plan, self._structure)
        jobs = []
        for at, consumer in enumerate(self._consumers):
            if consumer.weight not in present or at not in self._before:
                continue
            weight = self._tensors[consumer.weight]
            rows = rows_kept(consumer, kept.get(consumer.weight, {}), weight)
            bias = bias_kept(consumer, self._tensors, rows)
            part = part_of(consumer, weight).index_select(1 - consumer.axis, rows.index)
            jobs.append(_Job(consumer, rows.begin, part, bias, self._before[at]))
        return jobs


@dataclass(frozen=True, eq=False)
class _Comparison:
    """What a layer reads in the original model (``x``) and in the cut one (``z``)."""

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


@dataclass(eq=False)
class _Job:
    """A layer of a cut network that is to be fitted.

    Attributes:
        consumer: the layer.
        begin: where its rows begin in the cut weight.
        part: the rows that stay of the original weight.
        bias: the same of the original bias; None without one.
        before: what the layer reads in the original model, one tensor a call.
        seen: moments between that and what it reads now, of the calls so far.
        calls: how many these are.
        done: whether it was fitted.
    """

    consumer: Consumer
    begin: int
    part: Tensor
    bias: Tensor | None
    before: list[Tensor]
    seen: _Comparison = field(default_factory=_Comparison)
    calls: int = 0
    done: bool = False

    @property
    def rows(self) -> tuple[int, int] | None:
        """Rows of the cut weight; None where all of them are used."""
        if self.consumer.axis == 0:
            return None
        return self.begin, self.begin + len(self.part)


class _Again(BaseException):
    """What ran before a layer was fitted is to run again."""


@dataclass(eq=False)
class _Fitter:
    """Fits the layers of a cut network while it runs."""

    pruned: nn.Module
    jobs: list[_Job]
    samples: int
    ridge: float

    def __post_init__(self) -> None:
        self._places = {(job.consumer.weight, job.rows): job for job in self.jobs}

    def begin(self) -> None:
        """A run from the first layer on begins."""
        for job in self.jobs:
            job.calls, job.seen = 0, _Comparison()

    def see(self, reading: Reading) -> bool:
        """Fit what reads; true where its weight changed. Raises _Again after the last of several calls."""
        job = self._places.get((reading.weight, reading.rows))
        job = job or self._places.get((reading.weight, None))
        if job is None or job.done or job.calls == len(job.before):
            return False
        job.seen.add(job.before[job.calls], _samples_of(reading, job.consumer, self.samples))
        job.calls += 1
        if job.calls < len(job.before):
            return False
        self._fit(job)
        if job.calls > 1:
            raise _Again
        return True

    def _fit(self, job: _Job) -> None:
        axis = 1 - job.consumer.axis
        weight = self.pruned.get_parameter(job.consumer.weight).detach()
        present = weight.narrow(axis, job.begin, job.part.shape[axis])
        fitted = _refit(job.consumer, job.part, present, job.seen, self.ridge)
        write(self.pruned, job.consumer, fitted, job.bias, job.begin)
        job.done, job.seen = True, _Comparison()


def _refit(consumer: Consumer, part: Tensor, present: Tensor, seen: _Comparison, ridge: float) -> Fitted:
    """The rows that are to give what `part` gave in the original model, close to `present` in the cut one."""
    wanted, current = as_matrix(consumer, part), as_matrix(consumer, present)
    across, now = seen.moments(consumer.centred)
    missing = wanted @ across - current @ now
    change = torch.cholesky_solve(missing.transpose(1, 2), factorized(now, ridge)).transpose(1, 2)
    matrix = current + change
    shift = wanted @ seen.across.mean.unsqueeze(2) - matrix @ seen.now.mean.unsqueeze(2)
    return from_matrix(consumer, matrix, shift.squeeze(2), present)


def _samples_of(reading: Reading, consumer: Consumer, most: int) -> Tensor:
    """Samples of what is read, ``[groups, n, d]``: of every :data:`ALIKE` inputs at other positions."""
    parts = torch.split(reading.inputs, ALIKE)
    share = max(1, most // len(parts))
    drawn = (
        replace(reading, inputs=part).samples(consumer.unfolded, share, seed)
        for seed, part in enumerate(parts)
    )
    return torch.cat(list(drawn), 1)


def _one_batch(batches: Iterable[Tensor]) -> Tensor:
    """The inputs that have the shape of the first, as many as are run over."""
    first, *others = batches
    each = first[0].nbytes
    most = max(len(first), min(MOST_INPUTS, MOST_INPUT_BYTES // max(1, each)))
    return torch.cat([first, *(batch for batch in others if batch.shape[1:] == first.shape[1:])])[:most]


def _samples_kept(consumers: Iterable[Consumer]) -> int:
    """How many samples of every layer's input are kept."""
    each = sum(consumer.mean.numel() for consumer in consumers)
    return max(1, min(MOST_SAMPLES, MOST_BYTES // (4 * max(1, each))))
