"""The latency of a whole plan, predicted from what was measured of others: to screen, never to report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import kendalltau

from autoprune.cost.latency.profile import Profile
from autoprune.cost.latency.steps import top_edges
from autoprune.cost.workload import Workload
from autoprune.structure import Structure

FOLDS = 5
RIDGE = 1e-3
"""Weight that keeps coefficients of features that say the same from running away."""
FINEST = 128
"""Most widths of a group that are looked at."""
_CERTAIN = 10.0
"""Weight of the original model, whose ratio is 1 by definition."""

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """How well plans are predicted that the predictor was not fitted on.

    Attributes:
        error: median of the relative errors.
        excess: nine of ten plans take at most this much longer than predicted, relative to the prediction.
        tau: Kendall's rank correlation of predicted and measured latencies.
        plans: how many plans this is known from.
    """

    error: float
    excess: float
    tau: float
    plans: int


@dataclass(frozen=True, eq=False)
class Predictor:
    """Predicts latencies relative to the original model's.

    A plan's latency is a sum over its operators of what each takes for its multiply-adds, for what it reads
    and writes, and for channels that do not fill a kernel's block (see :class:`Workload`). What each of
    these costs on a device is found by non-negative least squares on relative errors (Lawson and Hanson,
    1974) over all that a profile holds: the curves of single groups, and random plans, which show what
    cutting groups together does.

    Attributes:
        workload: the features.
        weights: cost of each feature, shape ``[features]``.
    """

    workload: Workload
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, structure: Structure, profile: Profile) -> Predictor:
        """Fit the profile of a model with that structure."""
        workload = Workload.of(structure)
        features, ratios, _ = _measured(workload, structure, profile)
        return cls(workload, _fitted(features, ratios))

    def ratio(self, widths: Mapping[str, int]) -> float:
        """Predicted latency of a plan, relative to the original model's."""
        return float(self.ratios(self.workload.vector(widths))[0])

    def ratios(self, widths: NDArray[np.int64]) -> NDArray[np.float64]:
        """The same for many plans, widths ``[n, groups]``, in the order of ``workload.groups``."""
        predicted: NDArray[np.float64] = self.workload.features(widths) @ self.weights
        return predicted


def worth_offering(structure: Structure, profile: Profile) -> dict[str, tuple[int, ...]]:
    """Group -> the widths worth having on the profile's device, ascending, the full one last.

    No wider one is predicted to be as fast while all other groups are half as wide. What a group's own curve
    says of blocks is little: a kernel is fast where both of its axes are multiples, and with all else whole
    the steps drown in noise. The fit over all plans separates them. Blocks are left out: they stay or go.
    """
    predictor, full = Predictor.of(structure, profile), structure.widths
    half = structure.canonical({name: max(1, width // 2) for name, width in full.items()})
    least = {group.name: group.least for group in structure.groups}
    offered = {}
    for place, name in enumerate(predictor.workload.groups):
        if not least[name]:
            continue
        widths = np.arange(full[name], 0, -math.ceil(full[name] / FINEST))[::-1]
        rows = np.repeat(predictor.workload.vector(half), len(widths), axis=0)
        rows[:, place] = widths
        offered[name] = top_edges(widths.tolist(), predictor.ratios(rows).tolist())
    return offered


def cross_validated(structure: Structure, profile: Profile) -> Accuracy | None:
    """How well random plans of a profile are predicted from the rest of it; None where it has too few."""
    workload = Workload.of(structure)
    features, ratios, samples = _measured(workload, structure, profile)
    if len(samples) < 2 * FOLDS:
        return None
    predicted = np.empty(len(samples))
    for fold in range(FOLDS):
        held = samples[fold::FOLDS]
        rest = np.setdiff1d(np.arange(len(ratios)), held)
        predicted[fold::FOLDS] = features[held] @ _fitted(features[rest], ratios[rest])
    return accuracy(predicted.tolist(), ratios[samples].tolist())


def accuracy(predicted: Sequence[float], measured: Sequence[float]) -> Accuracy:
    """Compare predicted and measured latencies of the same plans."""
    ratios = np.array(measured) / np.array(predicted)
    excess = max(0.0, float(np.quantile(ratios, 0.9)) - 1)
    tau = float(kendalltau(predicted, measured).statistic)
    return Accuracy(float(np.median(np.abs(1 / ratios - 1))), excess, tau, len(measured))


def _measured(
    workload: Workload, structure: Structure, profile: Profile
) -> tuple[Rows, NDArray[np.float64], NDArray[np.intp]]:
    """Features and ratios of all that was measured, the original model first, and which are random plans."""
    full = structure.widths
    plans: list[tuple[Mapping[str, int], float]] = [(full, 1.0)]
    for name, steps in profile.latency_steps.items():
        curve = zip(steps.widths, steps.ratios, strict=True)
        plans += [({**full, name: width}, ratio) for width, ratio in curve if width < full[name]]
    plans += [(sample.widths, sample.ratio) for sample in profile.samples]
    features = workload.features(np.concatenate([workload.vector(widths) for widths, _ in plans]))
    random = np.arange(len(plans) - len(profile.samples), len(plans))
    return features, np.array([ratio for _, ratio in plans]), random


def _fitted(features: Rows, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = 1 / ratios
    weights[0] = _CERTAIN
    count = features.shape[1]
    rows = np.concatenate([features * weights[:, None], RIDGE * np.eye(count)])
    found, _ = nnls(rows, np.concatenate([weights * ratios, np.zeros(count)]), maxiter=100 * count)
    return np.asarray(found)
