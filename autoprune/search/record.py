"""What a finished trial carries for people and programs to read."""

from __future__ import annotations

import math
from typing import Any

import optuna

from autoprune.cost import Latency, MaskCosts
from autoprune.search.evaluate import Candidate
from autoprune.search.problem import Problem
from autoprune.tasks import Score


def attributes(problem: Problem, candidate: Candidate) -> dict[str, Any]:
    """User attributes of an evaluated trial, seconds by stage."""
    full = problem.baseline.costs
    costs = candidate.costs
    recorded: dict[str, Any] = {
        "plan": candidate.plan.hash if candidate.plan else "uncut",
        "widths": candidate.widths,
        "flops": costs.flops,
        "parameters": costs.parameters,
        "size": costs.size,
        "flops_ratio": round(costs.flops / full.flops, 6),
        "quality": candidate.score.value,
        "quality_error": standard_error(candidate.score, problem.data.task.metric),
        "loss": candidate.score.loss,
        "seconds": {stage: round(seconds, 4) for stage, seconds in candidate.seconds.items()},
    }
    if isinstance(costs, MaskCosts):
        recorded |= {
            "nonzero": costs.nonzero,
            "nonzero_ratio": round(costs.nonzero / full.parameters, 6),
            "effective_multiply_adds": costs.effective_multiply_adds,
        }
    if candidate.latency is not None:
        recorded |= latency_attributes(problem, candidate.latency)
    return recorded


def latency_attributes(problem: Problem, latency: Latency) -> dict[str, float]:
    """Latency in milliseconds, and relative to the uncut model's with the bounds of its interval.

    The milliseconds are those that the ratio makes of the study's one measurement of the uncut model: in
    another hour the machine may be half as fast, but the ratio stays.
    """
    uncut = problem.baseline.latency or latency.reference_seconds
    return {
        "latency_ms": latency.ratio * uncut * 1e3,
        "latency_ratio": latency.ratio,
        "latency_low": latency.ratio_low,
        "latency_high": latency.ratio_high,
    }


def values(problem: Problem, recorded: dict[str, Any]) -> list[float]:
    """Objective values in the order of ``problem.objectives``."""
    return [recorded["quality"], *(recorded[name] for name in problem.objectives[1:])]


def standard_error(score: Score, metric: str) -> float | None:
    """Binomial standard error of an accuracy; None for other metrics."""
    if metric != "accuracy":
        return None
    return math.sqrt(score.value * (1 - score.value) / score.samples)


def write(trial: optuna.Trial, recorded: dict[str, Any]) -> None:
    """Set the user attributes."""
    for key, value in recorded.items():
        if value is not None:
            trial.set_user_attr(key, value)
